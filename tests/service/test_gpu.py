import math
import sys
from types import SimpleNamespace

import pytest

from service.gpu import first_gpu


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
