import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contract import OUTPUTS, SHIPPED_MODEL
from service import engine
from service.engine import Estimates, OnnxEngine, buckets, peak_resident_bytes
from service.problems import StartupError
from service.session import Plan
from service.settings import Settings
from tests.contracts import make_contract
from tests.service.standin import estimate


class FakeTensor:
    def __init__(self, name: str, kind: str, *shape: Any) -> None:
        self.name, self.type, self.shape = name, kind, ["N", *shape]


class FakeSession:
    """A session of onnxruntime that records the batch sizes it was given and the outputs that were asked for."""

    def __init__(self, metadata: dict[str, str]) -> None:
        self.custom_metadata_map = metadata
        self.sizes: list[int] = []
        self.outputs: list[str] = []

    def get_modelmeta(self) -> "FakeSession":
        return self

    def get_inputs(self) -> list[FakeTensor]:
        return [FakeTensor("images", "tensor(uint8)", 224, 224, 3)]

    def get_outputs(self) -> list[FakeTensor]:
        shapes = {"coordinates": (16, 2), "covariance": (16, 3), "confidence": (16,), "heatmaps": (16, 28, 28)}
        return [FakeTensor(name, "tensor(float)", *shape) for name, shape in shapes.items()]

    def io_binding(self) -> "FakeSession":
        self.outputs.clear()
        return self

    def bind_cpu_input(self, _: str, images: np.ndarray) -> None:
        self.sizes.append(len(images))
        self.images = images

    def bind_output(self, name: str) -> None:
        self.outputs.append(name)

    def run_with_iobinding(self, _: "FakeSession") -> None:
        self.found = estimate(self.images)

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        return [getattr(self.found, name) for name in self.outputs]


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the engine get a session of its own on this provider."""

    def opens(provider: str, metadata: dict[str, str] | None = None) -> FakeSession:
        session = FakeSession(make_contract().to_metadata() if metadata is None else metadata)
        plan = Plan(provider, "fp32", Path("model.onnx"))
        monkeypatch.setattr(engine, "open_session", lambda _settings, _threads: (plan, session))
        return session

    return opens


def test_buckets_are_powers_of_two_and_the_largest() -> None:
    assert [buckets(n) for n in (1, 2, 4, 6)] == [(1,), (1, 2), (1, 2, 4), (1, 2, 4, 6)]


def test_estimates_are_cut_and_joined_by_rows() -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 224, 224, 3), np.uint8)
    whole, without = estimate(images), estimate(images, heatmaps=False)
    joined = Estimates.concatenate([whole[:2], whole[2:]])
    assert len(whole[1:3]) == 2
    np.testing.assert_array_equal(joined.heatmaps, whole.heatmaps)
    assert Estimates.concatenate([whole[:2], without[2:]]).heatmaps is None


def test_batches_are_padded_where_a_new_size_is_slow(opens: Any) -> None:
    session = opens("openvino")
    onnx_engine = OnnxEngine(Settings(max_batch=6))
    onnx_engine.warm_up()
    images = np.random.default_rng(0).integers(0, 255, (3, 224, 224, 3), np.uint8)
    found = onnx_engine.run(images)
    assert session.sizes == [1, 2, 4, 6, 4]
    np.testing.assert_array_equal(found.coordinates, estimate(images).coordinates)


def test_the_cpu_takes_every_size_and_reports_its_memory(opens: Any) -> None:
    session = opens("cpu")
    onnx_engine = OnnxEngine(Settings(threads=3))
    onnx_engine.warm_up()
    onnx_engine.run(np.zeros((3, 224, 224, 3), np.uint8))
    assert (session.sizes, onnx_engine.batch_sizes, onnx_engine.info.threads) == ([1, 3], (1, 2, 3, 4), 3)
    assert onnx_engine.memory_bytes() > 2**20
    assert onnx_engine.memory_bytes() > onnx_engine.session_bytes() >= 0


def test_heatmaps_are_fetched_only_when_asked_for(opens: Any) -> None:
    session = opens("cuda")
    onnx_engine = OnnxEngine(Settings())
    images = np.zeros((1, 224, 224, 3), np.uint8)
    assert onnx_engine.run(images).heatmaps is None
    assert session.outputs == ["coordinates", "covariance", "confidence"]
    maps = onnx_engine.run(images, heatmaps=True).heatmaps
    assert maps is not None and maps.shape == (1, 16, 28, 28)
    assert session.outputs == list(OUTPUTS)


def test_a_file_without_the_contract_is_refused(opens: Any) -> None:
    opens("cpu", metadata={})
    with pytest.raises(StartupError, match=r"model.onnx is not a model of this service: the model file lacks"):
        OnnxEngine(Settings())


def test_importing_the_service_loads_no_runtime() -> None:
    code = "import service, service.cli, sys; print({'torch', 'onnx', 'onnxruntime'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.slow
@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model file is not here")
def test_the_shipped_model_answers_a_batch_as_it_answers_one() -> None:
    onnx_engine = OnnxEngine(Settings())
    images = np.random.default_rng(0).integers(0, 255, (2, 224, 224, 3), np.uint8)
    both = onnx_engine.run(images, heatmaps=True)
    assert both.heatmaps is not None
    np.testing.assert_allclose(both.heatmaps.sum((2, 3)), 1, atol=1e-3)
    np.testing.assert_allclose(onnx_engine.run(images[1:]).coordinates, both.coordinates[1:], atol=2e-3)


def test_peak_memory_is_of_this_process_alone() -> None:
    """A large parent's peak must not count as its child's."""
    ballast = np.ones(200 * 2**20, np.uint8)
    code = "from service.engine import peak_resident_bytes; print(peak_resident_bytes())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**20 < float(answer.stdout) < len(ballast)
    assert peak_resident_bytes() > len(ballast)
