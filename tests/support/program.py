"""`dsnt-pose` with the stand-in for the network: `DESCRIPTORS=256 python -m tests.support.program serve --port 0`.

With `HOLD=FILE` the network computes nothing while there is that file.
"""

import os
import resource
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.cli import main as cli
from service.cli import serve
from service.inference.engine import Networks, Outputs
from tests.support.standin import StandIn, wait_until


class HeldStandIn(StandIn):
    """A stand-in that computes nothing while there is a file."""

    def __init__(self, hold: Path) -> None:
        super().__init__()
        self._hold = hold

    def run(self, images: NDArray[np.uint8], wanted: Collection[str], shared: bool = False) -> Outputs:
        wait_until(lambda: not self._hold.exists(), seconds=60)
        return super().run(images, wanted, shared)


if __name__ == "__main__":
    if descriptors := os.environ.get("DESCRIPTORS"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(descriptors), int(descriptors)))
    engine = HeldStandIn(Path(os.environ["HOLD"])) if "HOLD" in os.environ else StandIn()
    serve.open_networks = lambda _: Networks(engine)
    sys.exit(cli.main())
