import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.spec.contract import JOINT_OUTPUTS, OUTPUTS, SHIPPED_MODEL, ModelSpec
from service.errors import StartupError
from service.host import Gpu
from service.inference import onnx_engine as engine_module
from service.inference.engine import concatenate, rows
from service.inference.onnx_engine import OnnxEngine, buckets
from service.inference.providers import Plan
from service.settings import Settings
from tests.support.contracts import make_contract
from tests.support.standin import compute


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

    def io_binding(self) -> "FakeBinding":
        return FakeBinding()

    def run_with_iobinding(self, binding: "FakeBinding") -> None:
        self.sizes.append(len(binding.images))
        self.outputs = binding.names


class FakeBinding:
    def __init__(self) -> None:
        self.names: list[str] = []

    def bind_cpu_input(self, _: str, images: np.ndarray) -> None:
        self.images = images

    def bind_output(self, name: str) -> None:
        self.names.append(name)

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        return list(compute(self.images, self.names).values())


class Sessions:
    """The sessions that an engine opens: the first, and others for its streams or for larger batches."""

    def __init__(self, metadata: dict[str, str]) -> None:
        self.whole, self.others = FakeSession(metadata), list[FakeSession]()
        self.asked_for: list[tuple[int, int]] = []

    def open_another(self, _: Plan, threads: int, streams: int = 1) -> FakeSession:
        self.asked_for.append((threads, streams))
        self.others.append(FakeSession(self.whole.custom_metadata_map))
        return self.others[-1]


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the engine get sessions of its own on this provider."""

    def opens(provider: str, metadata: dict[str, str] | None = None) -> Sessions:
        sessions = Sessions(make_contract().to_metadata() if metadata is None else metadata)
        plan = Plan(provider, "fp32", Path("model.onnx"))
        monkeypatch.setattr(engine_module, "open_session", lambda _settings, _threads, _read: (plan, sessions.whole))
        monkeypatch.setattr(engine_module, "open_another", sessions.open_another)
        return sessions

    return opens


def test_buckets_are_powers_of_two_and_the_largest() -> None:
    assert [buckets(n) for n in (1, 2, 4, 6)] == [(1,), (1, 2), (1, 2, 4), (1, 2, 4, 6)]


def test_outputs_are_cut_and_joined_by_rows() -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 224, 224, 3), np.uint8)
    whole = compute(images)
    joined = concatenate([rows(whole, slice(2)), rows(whole, slice(2, None))])
    assert {len(values) for values in rows(whole, slice(1, 3)).values()} == {2}
    for name in OUTPUTS:
        np.testing.assert_array_equal(joined[name], whole[name])


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_each_size_of_batch_has_a_session_of_its_own_on_a_gpu(opens: Any, provider: str) -> None:
    sessions = opens(provider)
    onnx_engine = OnnxEngine(Settings(max_batch=6), ModelSpec)
    onnx_engine.warm_up()
    for count in (1, 3, 6, 2):
        images = np.random.default_rng(count).integers(0, 255, (count, 224, 224, 3), np.uint8)
        found = onnx_engine.run(images, JOINT_OUTPUTS)
        np.testing.assert_array_equal(found["coordinates"], compute(images)["coordinates"])
    assert [session.sizes for session in (sessions.whole, *sessions.others)] == [[1, 1], [2, 2], [4, 4], [6, 6]]


@pytest.mark.parametrize(("largest", "sizes"), [(0, (1, 2, 4, 8)), (3, (1, 2, 3)), (1, (1,))])
def test_a_gpu_has_batches_and_no_streams(opens: Any, largest: int, sizes: tuple[int, ...]) -> None:
    sessions = opens("cuda")
    onnx_engine = OnnxEngine(Settings(threads=8, max_batch=largest), ModelSpec)
    onnx_engine.warm_up()
    assert (onnx_engine.batch_sizes, onnx_engine.streams) == (sizes, 1)
    assert sessions.asked_for == [(8, 1)] * (len(sizes) - 1)


def test_the_card_is_named_and_its_memory_counts_from_before_the_first_session(
    opens: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = iter([100.0, 900.0])
    monkeypatch.setattr(engine_module, "first_gpu", lambda: Gpu("a card", lambda: next(used)))
    opens("cuda")
    onnx_engine = OnnxEngine(Settings(), ModelSpec)
    assert (onnx_engine.info.gpu, onnx_engine.memory_bytes()) == ("a card", 800)


def test_a_card_that_does_not_compute_is_not_named(opens: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "first_gpu", lambda: Gpu("a card", lambda: 0.0))
    opens("cpu")
    assert OnnxEngine(Settings(), ModelSpec).info.gpu is None


def test_memory_of_a_gpu_that_cannot_be_told_is_not_a_number(opens: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "first_gpu", lambda: None)
    opens("cuda")
    assert math.isnan(OnnxEngine(Settings(), ModelSpec).memory_bytes())


@pytest.mark.parametrize(
    ("threads", "largest", "streams"), [(1, 0, 1), (2, 0, 2), (3, 0, 3), (16, 0, 4), (16, 6, 6), (16, 1, 1)]
)
def test_a_warm_processor_has_streams(opens: Any, threads: int, largest: int, streams: int) -> None:
    sessions = opens("openvino")
    onnx_engine = OnnxEngine(Settings(threads=threads, max_batch=largest), ModelSpec)
    assert onnx_engine.streams == 1
    onnx_engine.warm_up()
    assert (onnx_engine.streams, onnx_engine.batch_sizes, onnx_engine.info.threads) == (streams, (1,), threads)
    assert sessions.asked_for == ([(threads, streams)] if streams > 1 else [])


def test_a_shared_call_runs_in_a_stream_and_any_other_on_all_threads(opens: Any) -> None:
    sessions = opens("cpu")
    onnx_engine = OnnxEngine(Settings(threads=2), ModelSpec)
    onnx_engine.warm_up()
    images = np.random.default_rng(0).integers(0, 255, (3, 224, 224, 3), np.uint8)
    onnx_engine.run(images, JOINT_OUTPUTS)
    found = onnx_engine.run(images[:1], JOINT_OUTPUTS, shared=True)
    assert [session.sizes for session in (sessions.whole, *sessions.others)] == [[1, 3], [1, 1, 1]]
    np.testing.assert_array_equal(found["coordinates"], compute(images[:1])["coordinates"])


def test_the_cpu_reports_its_memory(opens: Any) -> None:
    opens("cpu")
    onnx_engine = OnnxEngine(Settings(), ModelSpec)
    assert onnx_engine.memory_bytes() > 2**20
    assert onnx_engine.memory_bytes() > onnx_engine.session_bytes() >= 0


def test_sessions_of_the_warm_up_count_in_its_memory(opens: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    resident = iter([100.0, 300.0, 400.0, 450.0])  # before and after the first session, and the others
    monkeypatch.setattr(engine_module, "resident_bytes", lambda: next(resident))
    opens("cpu")
    onnx_engine = OnnxEngine(Settings(threads=2), ModelSpec)
    onnx_engine.warm_up()
    assert onnx_engine.session_bytes() == 200 + 50


def test_only_what_is_wanted_is_copied_out(opens: Any) -> None:
    session = opens("cuda").whole
    onnx_engine = OnnxEngine(Settings(), ModelSpec)
    images = np.zeros((1, 224, 224, 3), np.uint8)
    assert set(onnx_engine.run(images, {"confidence"})) == {"confidence"}
    assert session.outputs == ["confidence"]
    assert onnx_engine.run(images, OUTPUTS)["heatmaps"].shape == (1, 16, 28, 28)
    assert session.outputs == list(OUTPUTS)


def test_a_file_without_the_contract_is_refused(opens: Any) -> None:
    opens("cpu", metadata={})
    with pytest.raises(StartupError, match=r"model.onnx is not a model of this service: the model file lacks"):
        OnnxEngine(Settings(), ModelSpec)


def test_the_model_its_version_and_its_file_are_logged_at_start(opens: Any, caplog: pytest.LogCaptureFixture) -> None:
    opens("cpu", make_contract(version="2026.12.1").to_metadata())
    with caplog.at_level("INFO"):
        OnnxEngine(Settings(threads=3), ModelSpec)
    assert "stand-in, version 2026.12.1, from model.onnx, on cpu (fp32), 3 threads" in caplog.messages


def test_importing_the_service_loads_no_runtime() -> None:
    code = "import service, service.cli.main, sys; print({'torch', 'onnx', 'onnxruntime'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.slow
@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model file is not here")
def test_the_shipped_model_answers_the_same_alone_in_a_batch_and_in_streams() -> None:
    onnx_engine = OnnxEngine(Settings(threads=2), ModelSpec)
    onnx_engine.warm_up()
    images = np.random.default_rng(0).integers(0, 255, (4, 224, 224, 3), np.uint8)
    batch = onnx_engine.run(images, OUTPUTS)
    np.testing.assert_allclose(batch["heatmaps"].sum((2, 3)), 1, atol=1e-3)
    singles = [images[index : index + 1] for index in range(4)]
    alone = concatenate([onnx_engine.run(image, JOINT_OUTPUTS) for image in singles])
    with ThreadPoolExecutor(onnx_engine.streams) as pool:
        shared = concatenate(list(pool.map(lambda image: onnx_engine.run(image, JOINT_OUTPUTS, True), singles)))
    for others in (alone, shared):
        np.testing.assert_allclose(others["coordinates"], batch["coordinates"], atol=2e-3)
