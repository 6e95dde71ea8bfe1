"""What this process may use of the machine: processors, what they compute natively, and memory."""

import os
from pathlib import Path

_ROOT = Path("/")


def usable_cpus(root: Path = _ROOT) -> int:
    """Processors that both the affinity mask and the cgroup's quota allow, at least 1; all where there are neither.

    A quota is rounded down: a thread more than the quota pays for is throttled, and the others wait for it.

    Args:
        root: Where `sys/fs/cgroup` is looked up.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # macOS has none
    allowed = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quota = cgroup_quota(root)
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def cgroup_quota(root: Path = _ROOT) -> float | None:
    """The control group's quota in processors, version 2 first, then 1; None without one."""
    folder = root / "sys/fs/cgroup"
    version_2 = _words(folder / "cpu.max")
    version_1 = _words(folder / "cpu/cpu.cfs_quota_us") + _words(folder / "cpu/cpu.cfs_period_us")
    for words in (version_2, version_1):
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]) > 0:
            return int(words[0]) / int(words[1])
    return None


def memory_limit_bytes(root: Path = _ROOT) -> float:
    """Memory that the control group allows, version 2 first, then 1, or the machine's where that is less."""
    folder = root / "sys/fs/cgroup"
    words = _words(folder / "memory.max") or _words(folder / "memory/memory.limit_in_bytes")
    machine = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(machine, float(words[0])) if words and words[0].isdigit() else machine


def has_native_bf16(root: Path = _ROOT) -> bool:
    """Whether the processor multiplies bfloat16 itself; where it does not, emulation is many times slower."""
    flags = set(_words(root / "proc/cpuinfo"))
    return bool(flags & {"amx_bf16", "avx512_bf16"})


def processor_name(root: Path = _ROOT) -> str:
    """The processor's name as the kernel tells it."""
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
