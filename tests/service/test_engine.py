import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contract import SHIPPED_MODEL
from service import engine
from service.engine import Estimates, OnnxEngine, buckets, peak_resident_bytes
from service.problems import StartupError
from service.settings import Settings
from tests.contracts import make_contract
from tests.service.standin import estimate


class FakeTensor:
    def __init__(self, name: str, kind: str, *shape: Any) -> None:
        self.name, self.type, self.shape = name, kind, ["N", *shape]


class FakeSession:
    """A session of onnxruntime that records the batch sizes it was given."""

    def __init__(self, providers: list[str], metadata: dict[str, str]) -> None:
        self.providers = providers
        self.custom_metadata_map = metadata
        self.sizes: list[int] = []

    def get_providers(self) -> list[str]:
        return self.providers

    def get_modelmeta(self) -> "FakeSession":
        return self

    def get_inputs(self) -> list[FakeTensor]:
        return [FakeTensor("images", "tensor(uint8)", 224, 224, 3)]

    def get_outputs(self) -> list[FakeTensor]:
        shapes = {"coordinates": (16, 2), "covariance": (16, 3), "confidence": (16,), "heatmaps": (16, 28, 28)}
        return [FakeTensor(name, "tensor(float)", *shape) for name, shape in shapes.items()]

    def run(self, _: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.sizes.append(len(inputs["images"]))
        found = estimate(inputs["images"])
        return [found.coordinates, found.covariance, found.confidence, found.heatmaps]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    return path


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the runtime have these providers, and let each session really use what the table says."""

    def opens(uses: dict[str, str], metadata: dict[str, str] | None = None) -> dict[str, FakeSession]:
        onnxruntime = pytest.importorskip("onnxruntime")
        long_names = [engine._PROVIDERS[name] for name in uses]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: long_names)
        told = make_contract().to_metadata() if metadata is None else metadata
        sessions = {name: FakeSession([engine._PROVIDERS[used]], told) for name, used in uses.items()}
        monkeypatch.setattr(engine, "_make_session", lambda _ort, _model, name, _threads: sessions[name])
        return sessions

    return opens


def test_buckets_are_powers_of_two_and_the_largest() -> None:
    assert [buckets(n) for n in (1, 2, 4, 6)] == [(1,), (1, 2), (1, 2, 4), (1, 2, 4, 6)]


def test_estimates_are_cut_and_joined_by_rows() -> None:
    whole = estimate(np.random.default_rng(0).integers(0, 255, (5, 224, 224, 3), np.uint8))
    joined = Estimates.concatenate([whole[:2], whole[2:]])
    assert len(whole[1:3]) == 2
    np.testing.assert_array_equal(joined.heatmaps, whole.heatmaps)


def test_auto_takes_the_best_that_is_really_used(opens: Any, model: Path) -> None:
    opens({"cuda": "cpu", "openvino": "openvino", "cpu": "cpu"})
    assert OnnxEngine(Settings(model=model)).info.provider == "openvino"


def test_a_provider_asked_for_is_used_or_an_error(opens: Any, model: Path) -> None:
    opens({"cuda": "cpu", "cpu": "cpu"})
    with pytest.raises(StartupError, match="cuda was asked for, but onnxruntime silently took CPUExecutionProvider"):
        OnnxEngine(Settings(model=model, provider="cuda"))
    with pytest.raises(StartupError, match="openvino is not in the installed runtime, which has cuda, cpu"):
        OnnxEngine(Settings(model=model, provider="openvino"))


def test_batches_are_padded_where_a_new_size_is_slow(opens: Any, model: Path) -> None:
    session = opens({"openvino": "openvino"})["openvino"]
    onnx_engine = OnnxEngine(Settings(model=model, max_batch=6))
    onnx_engine.warm_up()
    images = np.random.default_rng(0).integers(0, 255, (3, 224, 224, 3), np.uint8)
    found = onnx_engine.run(images)
    assert session.sizes == [1, 2, 4, 6, 4]
    np.testing.assert_array_equal(found.coordinates, estimate(images).coordinates)


def test_the_cpu_takes_every_size_and_reports_its_memory(opens: Any, model: Path) -> None:
    session = opens({"cpu": "cpu"})["cpu"]
    onnx_engine = OnnxEngine(Settings(model=model))
    onnx_engine.warm_up()
    onnx_engine.run(np.zeros((3, 224, 224, 3), np.uint8))
    assert (session.sizes, onnx_engine.largest_batch) == ([1, 3], 4)
    assert onnx_engine.memory_bytes() > 2**20


def test_a_file_without_the_contract_is_refused(opens: Any, model: Path) -> None:
    opens({"cpu": "cpu"}, metadata={})
    with pytest.raises(StartupError, match="is not a model of this service: the model file lacks the metadata"):
        OnnxEngine(Settings(model=model))


def test_a_missing_and_a_broken_file_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(StartupError, match="there is no model file at"):
        OnnxEngine(Settings(model=tmp_path / "none.onnx"))
    with pytest.raises(StartupError, match="onnxruntime cannot load"):
        OnnxEngine(Settings(model=model, provider="cpu"))


@pytest.mark.parametrize(
    ("installed", "sentence"),
    [({"onnxruntime", "onnxruntime-gpu"}, "are installed together"), (set(), "no runtime is installed")],
)
def test_there_must_be_exactly_one_runtime(
    installed: set[str], sentence: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_is_installed", lambda name: name in installed)
    with pytest.raises(StartupError, match=sentence):
        OnnxEngine(Settings(model=model))


def test_openvino_is_told_in_json_text_and_never_to_emulate_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "has_native_bf16", lambda: False)
    options = engine._provider_options("openvino", 2)
    assert options["load_config"] == '{"CPU": {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2}}'


def test_importing_the_service_loads_no_runtime() -> None:
    code = "import service, service.cli, sys; print({'torch', 'onnx', 'onnxruntime'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.slow
@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model file is not here")
def test_the_shipped_model_answers_a_batch_as_it_answers_one() -> None:
    onnx_engine = OnnxEngine(Settings())
    images = np.random.default_rng(0).integers(0, 255, (2, 224, 224, 3), np.uint8)
    both = onnx_engine.run(images)
    np.testing.assert_allclose(both.heatmaps.sum((2, 3)), 1, atol=1e-3)
    np.testing.assert_allclose(onnx_engine.run(images[1:]).coordinates, both.coordinates[1:], atol=2e-3)


def test_peak_memory_is_of_this_process_alone() -> None:
    """A large parent's peak must not count as its child's."""
    ballast = np.ones(200 * 2**20, np.uint8)
    code = "from service.engine import peak_resident_bytes; print(peak_resident_bytes())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**20 < float(answer.stdout) < len(ballast)
    assert peak_resident_bytes() > len(ballast)
