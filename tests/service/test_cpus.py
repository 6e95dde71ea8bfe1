import os
from pathlib import Path

import pytest

from service.cpus import cgroup_quota, has_native_bf16, memory_limit_bytes, processor_name, usable_cpus


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(("text", "quota"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("50000 100000", 0.5)])
def test_the_quota_of_cgroup_version_2(tmp_path: Path, text: str, quota: float | None) -> None:
    write(tmp_path, "sys/fs/cgroup/cpu.max", text)
    assert cgroup_quota(tmp_path) == quota


@pytest.mark.parametrize(("text", "quota"), [("-1\n", None), ("400000\n", 4.0)])
def test_the_quota_of_cgroup_version_1(tmp_path: Path, text: str, quota: float | None) -> None:
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", text)
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert cgroup_quota(tmp_path) == quota


def test_half_a_processor_is_still_one_thread(tmp_path: Path) -> None:
    write(tmp_path, "sys/fs/cgroup/cpu.max", "50000 100000")
    assert usable_cpus(tmp_path) == 1


def test_without_files_the_affinity_decides(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) >= 1
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


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_the_memory_limit_of_both_cgroup_versions(tmp_path: Path, name: str) -> None:
    write(tmp_path, f"sys/fs/cgroup/{name}", "104857600\n")
    assert memory_limit_bytes(tmp_path) == 100 * 2**20


@pytest.mark.parametrize("text", ["max\n", "9223372036854771712\n"])
def test_without_a_limit_the_machines_memory_is_the_limit(tmp_path: Path, text: str) -> None:
    machine = memory_limit_bytes(tmp_path)
    assert 2**28 < machine < 2**50
    write(tmp_path, "sys/fs/cgroup/memory.max", text)
    assert memory_limit_bytes(tmp_path) == machine
