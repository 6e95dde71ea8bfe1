"""Memory of this process."""

import contextlib
import ctypes
import math
import re
from pathlib import Path
from typing import Final

_M_ARENA_MAX: Final = -8  # of <malloc.h>


def use_one_heap() -> None:
    """Let all threads allocate from one heap; to be called before there are others.

    glibc gives each thread a heap of its own, and what one of them frees no other can use: a fifth more at the peak.
    """
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def peak_resident_bytes() -> float:
    """The process' peak resident set; `getrusage` would count that of the process that started it as well."""
    return _status_bytes("VmHWM")


def resident_bytes() -> float:
    """The process' resident set at this moment."""
    return _status_bytes("VmRSS")


def _status_bytes(name: str) -> float:
    kib = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return float(kib[1]) * 1024 if kib else math.nan
