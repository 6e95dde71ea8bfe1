"""Processes as the kernel sees them: a server's whole family, what it uses, and functions run in one of their own."""

import multiprocessing
import os
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

_PROC: Final = Path("/proc")

P = ParamSpec("P")
R = TypeVar("R")


def run_apart(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function in a fresh process, which ends with it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(function, *args, **kwargs).result()


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {int(path.parent.name): _fields(path)[1] for path in _PROC.glob("[0-9]*/stat") if _fields(path)}
    found = [pid]
    for member in found:  # grows as it goes
        found += [child for child, parent in parents.items() if int(parent) == member]
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time that a process' family has used so far, in user and in kernel mode."""
    fields = (_fields(_PROC / str(member) / "stat") for member in family(pid))
    return sum(int(found[11]) + int(found[12]) for found in fields if found) / os.sysconf("SC_CLK_TCK")


def peak_resident_mib(pid: int) -> float:
    """The largest resident sets of a family's processes together; pages that they share count for each."""
    found = (re.search(r"VmHWM:\s*(\d+) kB", _text(_PROC / str(member) / "status")) for member in family(pid))
    return sum(int(kib[1]) for kib in found if kib) / 1024


def _fields(path: Path) -> list[str]:
    """Fields of a process' `stat` from the third, its state, on: the second is a name that may hold anything."""
    return _text(path).rpartition(")")[2].split()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended meanwhile
        return ""
