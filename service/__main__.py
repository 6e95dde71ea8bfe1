"""The command `dsnt-pose`, or `python -m service`: takes signals before the imports, which last over a second."""

import os
import signal
import sys


def main() -> int:
    """Run the command line; its exit status.

    Ctrl-C ends the process by the signal, which a shell calls status 130, whatever Python or the runtime do at that
    moment; `serve` takes it as a wish to stop once it has started. The first process of a container ignores a signal
    that it does not handle: there a handler ends it. Any other is ended by SIGTERM as it is.
    """
    is_first = os.getpid() == 1
    for number in (signal.SIGINT, signal.SIGTERM) if is_first else ():
        signal.signal(number, _end)
    if not is_first and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from service.cli.main import main as run  # noqa: PLC0415 - after the handlers

    return run()


def _end(number: int, _: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
