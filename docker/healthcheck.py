"""The image's health check: exits with 0 when the service of this container takes photos.

It connects to its own container, so it uses no proxy of the environment; it runs every 10 s, so it imports little.
"""

import os
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException


def port(environment: Mapping[str, str]) -> int:
    """The port that the service listens on.

    Beside a Service called dsnt-pose Kubernetes sets the variable to tcp://..., which the service takes as unset.
    """
    text = environment.get("DSNT_POSE_PORT", "")
    return int(text) if text.isdecimal() else 8000


def main() -> int | str:
    """Ask for readiness; 0, or what is wrong in one line."""
    connection = HTTPConnection("127.0.0.1", port(os.environ), timeout=4)
    try:
        connection.request("GET", "/healthz/ready")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"no answer: {error}"
    return 0 if status == 200 else f"status {status}"


if __name__ == "__main__":
    sys.exit(main())
