"""The command line without what Windows lacks: `python -m tests.support.windows predict photo.jpg`.

A stand-in: Windows itself has other modules in their place, and its own console.
"""

import asyncio
import builtins
import ctypes
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "uvloop")
OF_OS = ("fork", "getuid", "geteuid", "nice", "sched_getaffinity", "sched_setaffinity", "sysconf")
OF_SIGNAL = ("SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm", "pause", "pthread_sigmask")


def become_windows() -> None:
    """Take away modules, names of modules, `/proc` and `/sys`; whoever needs one of them fails as on Windows."""
    sys.modules.update(dict.fromkeys(MODULES))  # type: ignore[arg-type]  # their import raises ImportError
    for module, names in ((os, OF_OS), (signal, OF_SIGNAL)):
        for name in names:
            delattr(module, name)
    builtins.open = io.open = without_proc(open)  # type: ignore[assignment]
    ctypes.CDLL = NamedLibrary  # type: ignore[misc]
    asyncio.SelectorEventLoop.add_signal_handler = no_signal_handler  # type: ignore[assignment, method-assign]


def without_proc(opened: Callable[..., Any]) -> Callable[..., Any]:
    def open_file(file: Any, *arguments: Any, **options: Any) -> Any:
        if str(file).startswith(("/proc/", "/sys/")):
            raise FileNotFoundError(2, "No such file or directory", str(file))
        return opened(file, *arguments, **options)

    return open_file


class NamedLibrary(ctypes.CDLL):
    """As on Windows, where a library without a name is no name."""

    def __init__(self, name: str | None, *arguments: Any, **options: Any) -> None:
        if name is None:
            raise TypeError("argument of type 'NoneType' is not iterable")
        super().__init__(name, *arguments, **options)


def no_signal_handler(*_: Any) -> None:
    raise NotImplementedError


if __name__ == "__main__":
    become_windows()
    from service.__main__ import main

    sys.exit(main())
