import sys
from types import SimpleNamespace

import pytest

from service.gpu import first_gpu


def test_without_nvml_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert first_gpu() is None


def test_the_first_gpu_tells_its_name_and_the_memory_in_use_at_each_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter([100, 250])
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: f"card {index}",
        nvmlDeviceGetName=lambda device: f"name of {device}",
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=next(used)),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpu = first_gpu()
    assert gpu is not None
    assert (gpu.name, gpu.memory_used(), gpu.memory_used()) == ("name of card 0", 100, 250)
