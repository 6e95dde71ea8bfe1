import math
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from service.memory import peak_resident_bytes, resident_bytes

COUNT_HEAPS = """
import ctypes, sys, threading
from service.memory import use_one_heap

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


def test_peak_memory_is_of_this_process_alone() -> None:
    """A large parent's peak must not count as its child's."""
    ballast = np.ones(200 * 2**20, np.uint8)
    code = "from service.memory import peak_resident_bytes; print(peak_resident_bytes())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**20 < float(answer.stdout) < len(ballast)
    assert peak_resident_bytes() > len(ballast)


@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("darwin", 1)])
def test_without_proc_the_peak_is_getrusages(
    system: str, unit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    least = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert least <= peak_resident_bytes(tmp_path) / unit < 1.1 * least
    assert math.isnan(resident_bytes(tmp_path))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has a heap for each thread")
def test_threads_share_one_heap_when_told_to() -> None:
    def heaps(which: str) -> int:
        command = [sys.executable, "-c", COUNT_HEAPS, which]
        environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
        answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return answer.stdout.count("<heap nr=")

    assert heaps("one") == 1
    assert heaps("many") > 1
