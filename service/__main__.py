"""The command `dsnt-pose`, or `python -m service`: takes SIGTERM before the imports, which last over a second."""

import os
import signal
import sys
from typing import Final

_TERMINATED: Final = 128 + signal.SIGTERM


def main() -> int:
    """Run the command line; its exit status.

    The first process of a container ignores a signal that it does not handle; any other is ended by SIGTERM as it is.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    from service.cli.main import main as run  # noqa: PLC0415 - after the handler

    return run()


if __name__ == "__main__":
    sys.exit(main())
