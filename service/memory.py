"""Memory of this process."""

import contextlib
import ctypes
import math
import re
import resource
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/")
_M_ARENA_MAX: Final = -8  # of <malloc.h>


def use_one_heap() -> None:
    """Let all threads allocate from one heap; to be called before there are others.

    glibc gives each thread a heap of its own, and what one of them frees no other can use: a fifth more at the peak.
    """
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def peak_resident_bytes(root: Path = _ROOT) -> float:
    """The process' peak resident set.

    `getrusage` would count that of the process that started it as well, so it is asked only where there is no `/proc`.

    Args:
        root: Where `proc` is looked up.
    """
    told = _status_bytes("VmHWM", root)
    if not math.isnan(told):
        return told
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def resident_bytes(root: Path = _ROOT) -> float:
    """The process' resident set at this moment; nan where there is no `/proc`."""
    return _status_bytes("VmRSS", root)


def _status_bytes(name: str, root: Path) -> float:
    try:
        status = (root / "proc/self/status").read_text()
    except OSError:
        return math.nan
    kib = re.search(rf"{name}:\s*(\d+) kB", status)
    return float(kib[1]) * 1024 if kib else math.nan
