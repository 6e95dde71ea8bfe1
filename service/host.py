"""The machine that this process runs on, and what it may use of it: processors, memory, GPU.

Linux publishes most of it in `/proc` and `/sys`; where a system does not, the functions say what they return instead.
"""

import contextlib
import ctypes
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)

_ROOT: Final = Path("/")
_M_ARENA_MAX: Final = -8  # of <malloc.h>
_MOST_DESCRIPTORS: Final = 65_536


def usable_cpus(root: Path = _ROOT) -> int:
    """Processors that both the affinity mask and the cgroup's quota allow, at least 1; all where there are neither.

    A quota is rounded down: a thread more than the quota pays for is throttled, and the others wait for it.

    Args:
        root: Where `proc` and `sys` lie.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # neither macOS nor Windows has it
    allowed = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quota = cgroup_quota(root)
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def cgroup_quota(root: Path = _ROOT) -> float | None:
    """The least quota of this process' control groups (`cpu.max` or `cpu.cfs_*_us`) in processors; None without one."""
    quotas = []
    for folder in _group_folders(root):
        version_2 = _words(folder / "cpu.max")
        version_1 = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        for words in (version_2, version_1):
            if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]) > 0:
                quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def memory_limit_bytes(root: Path = _ROOT) -> float:
    """The least of the machine's memory and of the limits of this process' control groups; inf where neither is known.

    Args:
        root: Where `proc` and `sys` lie.
    """
    limits = [_machine_memory_bytes()]
    for folder in _group_folders(root):
        words = _words(folder / "memory.max") or _words(folder / "memory.limit_in_bytes")
        limits += [float(word) for word in words if word.isdigit()]
    return min(limits)


def _machine_memory_bytes() -> float:
    if not hasattr(os, "sysconf"):  # Windows
        return math.inf
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _group_folders(root: Path) -> Iterator[Path]:
    """Folders of this process' control groups and of those above them, as far as a mounted hierarchy shows them.

    Version 2 has one group for all controllers, version 1 one for each; a hybrid system has both.
    """
    mounts = list(_group_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        for mounted, top, folder in mounts:
            if set(controllers.split(",")) <= mounted:
                yield from _path_down(folder, top, group)


def _group_mounts(root: Path) -> Iterator[tuple[set[str], str, Path]]:
    """Of each mounted hierarchy: its controllers ("" for version 2), the group that it begins with, and its folder."""
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, file_system = line.partition(" - ")
        kind, _, options = file_system.split(" ")[:3]
        top, folder = mount.split(" ")[3:5]
        if kind in ("cgroup", "cgroup2"):
            yield set(options.split(",") if kind == "cgroup" else [""]), top, root / folder.lstrip("/")


def _path_down(folder: Path, top: str, group: str) -> Iterator[Path]:
    """A mounted hierarchy's folder, and those below it down to a group's.

    Version 1 shows a container only its own part, which begins with the group `top`, and names groups from the root.
    """
    yield folder
    path = PurePosixPath(group)
    for name in path.relative_to(top).parts if path.is_relative_to(top) else ():
        folder /= name
        yield folder


def has_native_bf16(root: Path = _ROOT) -> bool:
    """Whether the processor multiplies bfloat16 itself; where it does not, emulation is many times slower."""
    flags = set(_words(root / "proc/cpuinfo"))
    return bool(flags & {"amx_bf16", "avx512_bf16"})


def processor_name(root: Path = _ROOT) -> str:
    """The processor's name as the kernel tells it."""
    names = (line.split(":", 1)[1].strip() for line in _lines(root / "proc/cpuinfo") if line.startswith("model name"))
    return next(names, "unknown processor")


def use_one_heap() -> None:
    """Let all threads allocate from one heap; to be called before there are others.

    glibc gives each thread a heap of its own, and what one of them frees no other can use: a fifth more at the peak.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # not glibc; Windows opens no library without a name
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def peak_resident_bytes(root: Path = _ROOT) -> float:
    """The process' peak resident set; nan where there is neither `/proc` nor `getrusage`.

    `getrusage` would count that of the process that started it as well, so it is read only where there is no `/proc`.

    Args:
        root: Where `proc` lies.
    """
    peak = _status_bytes("VmHWM", root)
    if not math.isnan(peak) or resource is None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def resident_bytes(root: Path = _ROOT) -> float:
    """The process' resident set at this moment; nan where there is no `/proc`."""
    return _status_bytes("VmRSS", root)


def free_descriptors() -> float:
    """Files and connections that this process may still open, with its soft limit raised; inf where none is known.

    The soft limit becomes the hard one, or 65,536 if that is less.
    """
    if not hasattr(resource, "RLIMIT_NOFILE"):
        return math.inf
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (math.inf if limit == resource.RLIM_INFINITY else limit for limit in limits)
    if soft < (most := min(hard, _MOST_DESCRIPTORS)):
        with contextlib.suppress(OSError, ValueError):  # macOS lets a process have fewer than its hard limit says
            resource.setrlimit(resource.RLIMIT_NOFILE, (int(most), limits[1]))
            soft = most
    return soft - len(os.listdir("/dev/fd"))


def _status_bytes(name: str, root: Path) -> float:
    kib = re.search(rf"{name}:\s*(\d+) kB", _text(root / "proc/self/status"))
    return float(kib[1]) * 1024 if kib else math.nan


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card.

    Attributes:
        name: As its maker calls it.
        memory_used: Returns the memory in use by all processes, in bytes, since NVML does not see a container's own;
            nan where the card does not tell.
    """

    name: str
    memory_used: Callable[[], float]


def first_gpu() -> Gpu | None:
    """NVML's first card, whichever computes; None where there is none, or no driver, or no NVML."""
    try:
        import pynvml  # noqa: PLC0415 - comes with the gpu extra only

        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        name = pynvml.nvmlDeviceGetName(device)

        def memory_used() -> float:
            try:
                return float(pynvml.nvmlDeviceGetMemoryInfo(device).used)
            except pynvml.NVMLError:
                return math.nan

    except Exception as error:  # no module, no driver, no device
        _log.debug("NVML shows no GPU: %s", error)
        return None
    return Gpu(name, memory_used)


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _lines(path: Path) -> list[str]:
    return [line for line in _text(path).split("\n") if line]  # a mount's name may hold what `splitlines` splits at


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
