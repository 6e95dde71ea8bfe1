"""The command line: `dsnt-pose serve`, `dsnt-pose predict` and `dsnt-pose report`."""

import io
import os
import sys
from collections.abc import Sequence
from typing import Final

from service.cli import predict, report, serve
from service.cli.flags import Parser
from service.errors import ServiceError, StartupError
from service.host import use_one_heap

_COMMANDS: Final = {
    "serve": (serve, "Answer photos over HTTP."),
    "predict": (predict, "Estimate one photo's poses."),
    "report": (report, "Time this machine and print the paper's Table 4."),
}
_EXIT_CODES: Final = (
    "Exit codes: 0 the work is done; 1 the photo or an option of it is refused, or the network fails on it; 2 the "
    "command line, a setting, a file or the model does not allow a start; 130 Ctrl-C."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it did its work, 1 when a photo or an option is refused, 2 when it cannot start.

    Args:
        arguments: The command line; the process' own if left out.

    Raises:
        SystemExit: With 2, when the command line is wrong, and with 0 after its help.
    """
    use_one_heap()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name with letters that the terminal lacks ends nothing
    chosen = build_parser().parse_args(arguments)
    try:
        code = int(chosen.run(chosen))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has read enough; the interpreter would flush the rest at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (StartupError, ServiceError) as error:
        print(f"dsnt-pose: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 1 if isinstance(error, ServiceError) else 2


def build_parser() -> Parser:
    """The parser of all commands; what it returns has the command's `run`."""
    parser = Parser("dsnt-pose", description="Human pose estimation.", epilog=_EXIT_CODES)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, (module, summary) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, epilog=_EXIT_CODES)
        module.add_flags(command)
        command.set_defaults(run=module.run)
    return parser
