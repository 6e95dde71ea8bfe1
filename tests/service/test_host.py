import math
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from service import host
from service.host import (
    cgroup_quota,
    first_gpu,
    has_native_bf16,
    memory_limit_bytes,
    peak_resident_bytes,
    processor_name,
    resident_bytes,
    usable_cpus,
)

MIB = 2**20

# Lines of /proc/self/mountinfo: where each hierarchy is mounted, and which part of it.
DISK = "21 1 254:0 / / rw,relatime - ext4 /dev/vda rw"
V2 = "30 21 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V2_BESIDE = "30 21 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
V1_CPU = "31 21 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "32 21 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"

COUNT_HEAPS = """
import ctypes, sys, threading
from service.host import use_one_heap

if sys.argv[1] == "one":
    use_one_heap()
libc = ctypes.CDLL(None)
libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p
gate = threading.Barrier(4)

def allocate():
    libc.malloc(1000)
    gate.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.malloc_info(0, file := ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w")))
libc.fclose(file)
"""


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def enter(root: Path, mounts: list[str], groups: str) -> None:
    """Make `root` the machine of a process in these control groups."""
    write(root, "proc/self/mountinfo", "\n".join([DISK, *mounts, ""]))
    write(root, "proc/self/cgroup", groups)


@pytest.mark.parametrize(("text", "quota"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("50000 100000", 0.5)])
def test_the_quota_of_cgroup_version_2(tmp_path: Path, text: str, quota: float | None) -> None:
    enter(tmp_path, [V2], "0::/\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", text)
    assert cgroup_quota(tmp_path) == quota


@pytest.mark.parametrize(("text", "quota"), [("-1\n", None), ("400000\n", 4.0)])
def test_the_quota_of_cgroup_version_1(tmp_path: Path, text: str, quota: float | None) -> None:
    enter(tmp_path, [V1_CPU, V1_MEMORY], "4:cpu,cpuacct:/\n3:memory:/\n")
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", text)
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert cgroup_quota(tmp_path) == quota


@pytest.mark.parametrize("limited", ["", "/pose.slice", "/pose.slice/pose.service", "/pose.slice/pose.service/worker"])
def test_the_least_limit_on_the_way_to_a_nested_group_of_version_2_holds(tmp_path: Path, limited: str) -> None:
    enter(tmp_path, [V2], "0::/pose.slice/pose.service/worker\n")
    for group in ("/pose.slice", "/pose.slice/pose.service", "/pose.slice/pose.service/worker"):
        write(tmp_path, f"sys/fs/cgroup{group}/cpu.max", "300000 100000\n")
        write(tmp_path, f"sys/fs/cgroup{group}/memory.max", f"{300 * MIB}\n")
    write(tmp_path, f"sys/fs/cgroup{limited}/cpu.max", "150000 100000\n")
    write(tmp_path, f"sys/fs/cgroup{limited}/memory.max", f"{100 * MIB}\n")
    write(tmp_path, "sys/fs/cgroup/other.slice/cpu.max", "50000 100000\n")
    write(tmp_path, "sys/fs/cgroup/other.slice/memory.max", f"{MIB}\n")
    assert cgroup_quota(tmp_path) == 1.5
    assert memory_limit_bytes(tmp_path) == 100 * MIB


@pytest.mark.parametrize("beside", [[], [V2_BESIDE]], ids=["version 1 alone", "beside version 2"])
def test_each_controller_of_version_1_has_a_group_of_its_own(tmp_path: Path, beside: list[str]) -> None:
    groups = "12:memory:/docker/1a/2b\n4:cpu,cpuacct:/docker/3c\n1:name=systemd:/docker/1a\n0::/system.slice\n"
    enter(tmp_path, [V1_CPU, V1_MEMORY, *beside], groups)
    cpu, memory = (tmp_path / "sys/fs/cgroup" / name for name in ("cpu,cpuacct", "memory"))
    for group, quota in (("docker/3c", 250_000), ("docker/1a", 50_000)):
        write(cpu, f"{group}/cpu.cfs_quota_us", f"{quota}\n")
        write(cpu, f"{group}/cpu.cfs_period_us", "100000\n")
    for group, limit in (
        (".", 2**63 - 4096),
        ("docker/1a", 200 * MIB),
        ("docker/1a/2b", 400 * MIB),
        ("docker/3c", MIB),
    ):
        write(memory, f"{group}/memory.limit_in_bytes", f"{limit}\n")
    assert cgroup_quota(tmp_path) == 2.5
    assert memory_limit_bytes(tmp_path) == 200 * MIB


@pytest.mark.parametrize("below", ["", "/worker"])
def test_a_container_of_version_1_sees_its_own_part_and_the_hosts_names(tmp_path: Path, below: str) -> None:
    mounted = V1_MEMORY.replace(" / /sys", " /docker/1a /sys")
    enter(tmp_path, [mounted], f"12:memory:/docker/1a{below}\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{200 * MIB}\n")
    write(tmp_path, "sys/fs/cgroup/memory/worker/memory.limit_in_bytes", f"{100 * MIB}\n")
    assert memory_limit_bytes(tmp_path) == (100 if below else 200) * MIB


def test_a_group_that_the_mount_does_not_show_still_has_the_mounts_own_limit(tmp_path: Path) -> None:
    enter(tmp_path, [V2.replace(" / /sys", " /../.. /sys")], "0::/worker\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", f"{200 * MIB}\n")
    assert memory_limit_bytes(tmp_path) == 200 * MIB


def test_half_a_processor_is_still_one_thread(tmp_path: Path) -> None:
    enter(tmp_path, [V2], "0::/\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "50000 100000")
    assert usable_cpus(tmp_path) == 1


def test_without_files_the_affinity_decides(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == len(os.sched_getaffinity(0))
    assert not has_native_bf16(tmp_path)
    assert processor_name(tmp_path) == "unknown processor"


def test_without_affinity_as_on_a_mac_every_processor_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for counted, usable in ((3, 3), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda counted=counted: counted)
        assert usable_cpus(tmp_path) == usable


def test_flags_and_name_come_from_cpuinfo(tmp_path: Path) -> None:
    write(tmp_path, "proc/cpuinfo", "model name\t: Some Processor\nflags\t\t: fpu avx2 amx_bf16\n")
    assert has_native_bf16(tmp_path)
    assert processor_name(tmp_path) == "Some Processor"


@pytest.mark.parametrize("text", ["max\n", "9223372036854771712\n"])
def test_without_a_limit_the_machines_memory_is_the_limit(tmp_path: Path, text: str) -> None:
    machine = memory_limit_bytes(tmp_path)
    assert 2**28 < machine < 2**50
    enter(tmp_path, [V2], "0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", text)
    assert memory_limit_bytes(tmp_path) == machine


def test_where_nothing_tells_of_memory_there_is_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf")
    assert memory_limit_bytes(tmp_path) == math.inf


def test_peak_memory_is_of_this_process_alone() -> None:
    """A large parent's peak must not count as its child's."""
    ballast = np.ones(200 * MIB, np.uint8)
    code = "from service.host import peak_resident_bytes; print(peak_resident_bytes())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert MIB < float(answer.stdout) < len(ballast)
    assert peak_resident_bytes() > len(ballast)


@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("darwin", 1)])
def test_without_proc_the_peak_is_getrusages(
    system: str, unit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    least = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert least <= peak_resident_bytes(tmp_path) / unit < 1.1 * least
    assert math.isnan(resident_bytes(tmp_path))


def test_without_proc_and_getrusage_the_peak_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "resource", None)
    assert math.isnan(peak_resident_bytes(tmp_path))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has a heap for each thread")
def test_threads_share_one_heap_when_told_to() -> None:
    def heaps(which: str) -> int:
        command = [sys.executable, "-c", COUNT_HEAPS, which]
        environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
        answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return answer.stdout.count("<heap nr=")

    assert heaps("one") == 1
    assert heaps("many") > 1


def test_without_nvml_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert first_gpu() is None


class NVMLError(Exception):
    """As NVML's own."""


def test_the_first_gpu_tells_its_name_and_the_memory_in_use_at_each_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [100, 250]

    def memory(_: str) -> SimpleNamespace:
        if not used:
            raise NVMLError("not supported")
        return SimpleNamespace(used=used.pop(0))

    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: f"card {index}",
        nvmlDeviceGetName=lambda device: f"name of {device}",
        nvmlDeviceGetMemoryInfo=memory,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpu = first_gpu()
    assert gpu is not None
    assert (gpu.name, gpu.memory_used(), gpu.memory_used()) == ("name of card 0", 100, 250)
    assert math.isnan(gpu.memory_used())
