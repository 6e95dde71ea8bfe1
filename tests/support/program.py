"""`dsnt-pose` with the stand-in for the network: `DESCRIPTORS=256 python -m tests.support.program serve --port 0`."""

import os
import resource
import sys

from service.cli import main as cli
from service.cli import serve
from tests.support.standin import StandIn

if __name__ == "__main__":
    if descriptors := os.environ.get("DESCRIPTORS"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(descriptors), int(descriptors)))
    serve.OnnxEngine = lambda _: StandIn()  # type: ignore[assignment, misc, return-value]
    sys.exit(cli.main())
