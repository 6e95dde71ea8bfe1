import json
import logging
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from models.spec.contract import SHIPPED_MODEL, ModelSpec, StatedAccuracy, variant
from service.errors import StartupError
from service.inference import providers as session
from service.inference.providers import Plan, open_another, open_session
from service.settings import Settings
from tests.support.contracts import make_contract, write_model


class FakeSession:
    def __init__(self, provider: str) -> None:
        self.provider = provider

    def get_providers(self) -> list[str]:
        return [session.PROVIDERS[self.provider].long_name]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A float file with its int8 and fp16 files beside it."""
    path = tmp_path / "model.onnx"
    for precision in ("fp32", "int8", "fp16"):
        write_model(variant(path, precision), make_contract(precision=precision))
    return path


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the runtime have these providers, and let each session really use what the table says."""

    def installed(native_bf16: bool = True, **uses: str) -> list[Plan]:
        onnxruntime = pytest.importorskip("onnxruntime")
        tried: list[Plan] = []

        def make(_ort: Any, plan: Plan, _threads: int, _streams: int = 1) -> FakeSession:
            tried.append(plan)
            return FakeSession(uses[plan.provider])

        monkeypatch.setattr(
            onnxruntime, "get_available_providers", lambda: [session.PROVIDERS[name].long_name for name in uses]
        )
        monkeypatch.setattr(session, "has_native_bf16", lambda: native_bf16)
        monkeypatch.setattr(session, "_make_session", make)
        return tried

    return installed


def plan(**chosen: Any) -> tuple[str, str, str]:
    found, _ = open_session(Settings(**chosen), 1, ModelSpec.statement)
    return found.provider, found.precision, found.file.name


def test_auto_takes_the_fastest_precision_of_the_best_provider_that_is_really_used(installed: Any, model: Path) -> None:
    installed(cuda="cpu", openvino="openvino", cpu="cpu")
    assert plan(model=model) == ("openvino", "int8", "model-int8.onnx")


def test_a_plan_knows_whether_its_provider_is_the_one_asked_for(installed: Any, model: Path) -> None:
    installed(cuda="cpu", openvino="openvino", cpu="cpu")
    assert not open_session(Settings(model=model), 1, ModelSpec.statement)[0].as_asked
    assert open_session(Settings(model=model, provider="cpu"), 1, ModelSpec.statement)[0].as_asked


def test_without_files_for_it_auto_computes_in_floating_point(installed: Any, model: Path) -> None:
    variant(model, "int8").unlink()
    installed(openvino="openvino", cpu="cpu")
    assert plan(model=model) == ("openvino", "bf16", "model.onnx")
    assert plan(model=model, provider="cpu") == ("cpu", "fp32", "model.onnx")
    installed(native_bf16=False, openvino="openvino", cpu="cpu")
    assert plan(model=model) == ("openvino", "fp32", "model.onnx")


def test_a_gpu_computes_in_float16_where_there_is_a_file(installed: Any, model: Path) -> None:
    installed(cuda="cuda", cpu="cpu", tensorrt="tensorrt")
    assert plan(model=model) == ("cuda", "fp16", "model-fp16.onnx")
    assert plan(model=model, provider="tensorrt") == ("tensorrt", "fp16", "model-fp16.onnx")
    assert plan(model=model, precision="fp32") == ("cuda", "fp32", "model.onnx")


def test_auto_never_waits_for_tensorrt(installed: Any, model: Path) -> None:
    tried = installed(cpu="cpu", tensorrt="tensorrt")
    assert plan(model=model)[0] == "cpu"
    assert [each.provider for each in tried] == ["cpu"]


def test_a_provider_asked_for_is_used_or_an_error(installed: Any, model: Path) -> None:
    installed(cuda="cpu", cpu="cpu")
    with pytest.raises(StartupError, match="cuda was asked for, but onnxruntime silently took CPUExecutionProvider"):
        plan(model=model, provider="cuda")
    with pytest.raises(StartupError, match="openvino is not in the installed runtime, which has cuda, cpu"):
        plan(model=model, provider="openvino")


def test_a_precision_asked_for_is_used_or_an_error_that_says_why(installed: Any, model: Path) -> None:
    installed(native_bf16=False, openvino="openvino", cpu="cpu")
    assert plan(model=model, precision="fp32") == ("openvino", "fp32", "model.onnx")
    assert plan(model=model, provider="cpu", precision="int8") == ("cpu", "int8", "model-int8.onnx")
    with pytest.raises(StartupError, match="bf16 was asked for, but this processor would emulate it"):
        plan(model=model, precision="bf16")
    with pytest.raises(StartupError, match="only cuda, tensorrt can compute in it, and the provider here is cpu"):
        plan(model=model, provider="cpu", precision="fp16")
    variant(model, "int8").unlink()
    with pytest.raises(StartupError, match=r"int8 was asked for, but there is no file .*model-int8.onnx"):
        plan(model=model, precision="int8")


def test_a_variant_is_asked_for_by_its_precision_not_by_its_name(installed: Any, model: Path) -> None:
    installed(openvino="openvino", cpu="cpu")
    with pytest.raises(StartupError, match=r"model-int8\.onnx is the int8 file of a model: name the float file beside"):
        plan(model=variant(model, "int8"))


def test_a_missing_and_a_broken_file_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(StartupError, match="there is no model file at"):
        plan(model=tmp_path / "none.onnx")
    with pytest.raises(StartupError, match="onnxruntime cannot load"):
        plan(model=model, provider="cpu")


OTHER_WEIGHTS = [
    ({"name": "another"}, "its name is another, not stand-in"),
    ({"version": "2"}, "its version is 2, not 1"),
    ({"training": {"commit": "b"}}, "its training is {'commit': 'b'}, not {'data': 'none'"),
]


@pytest.mark.parametrize(("changes", "sentence"), OTHER_WEIGHTS)
def test_a_file_of_other_weights_is_left_out_with_a_warning_or_refused_where_asked_for(
    changes: dict[str, Any],
    sentence: str,
    installed: Any,
    model: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    int8 = variant(model, "int8")
    write_model(int8, make_contract(**changes))
    installed(openvino="openvino", cpu="cpu")
    assert plan(model=model) == ("openvino", "bf16", "model.onnx")
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().startswith(f"{int8} is of other weights ({sentence}")
    assert warning.getMessage().endswith(f"and is left out in favour of {model}")
    with pytest.raises(StartupError) as refused:
        plan(model=model, precision="int8")
    assert f"the precision int8 was asked for, but {int8} is of other weights ({sentence}" in str(refused.value)


def test_files_of_the_same_weights_are_taken_without_a_word(
    installed: Any, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    accuracy = StatedAccuracy(total=75.1)
    write_model(variant(model, "int8"), make_contract(precision="int8", accuracy=accuracy))
    write_model(variant(model, "fp16"), make_contract(version="2"))  # of which a CPU takes no notice
    installed(openvino="openvino", cpu="cpu")
    assert plan(model=model)[1] == "int8"
    assert not caplog.records


def test_a_broken_variant_is_left_out_with_a_warning_or_refused_where_asked_for(
    installed: Any, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    int8 = variant(model, "int8")
    int8.write_bytes(int8.read_bytes()[:-1])
    installed(cpu="cpu")
    assert plan(model=model) == ("cpu", "fp32", "model.onnx")
    assert f"{int8} is not a model of this service (the model file is cut: it has" in caplog.text
    with pytest.raises(StartupError, match=r"int8 was asked for, but .*model-int8.onnx is not a model of this service"):
        plan(model=model, precision="int8")


@pytest.mark.parametrize("precision", ["auto", "int8", "fp32"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not a model of this service: the model file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 47516917\n", "is a Git LFS pointer in place"),
        (b"not a model", "is not in ONNX's format"),
        (None, "the model file is cut: it has"),
    ],
)
def test_the_named_file_is_read_even_where_a_variant_would_compute(
    content: bytes | None, sentence: str, precision: str, installed: Any, model: Path
) -> None:
    model.write_bytes(model.read_bytes()[:-1] if content is None else content)
    tried = installed(cpu="cpu")
    with pytest.raises(StartupError, match=sentence):
        plan(model=model, precision=precision)
    assert not tried


def test_a_file_without_a_contract_can_be_timed_alone_but_has_no_variants(installed: Any, model: Path) -> None:
    onnx.save(helper.make_model(helper.make_graph([], "network", [], [])), str(model))
    installed(cpu="cpu")
    with pytest.raises(
        StartupError, match=r"model\.onnx is not a model of this service: the model file lacks the metadata"
    ):
        plan(model=model)
    assert plan(model=model, precision="fp32") == ("cpu", "fp32", "model.onnx")


@pytest.mark.parametrize(
    ("runtimes", "sentence"),
    [({"onnxruntime", "onnxruntime-gpu"}, "are installed together"), (set(), "no runtime is installed")],
)
def test_there_must_be_exactly_one_runtime(
    runtimes: set[str], sentence: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_is_installed", lambda name: name in runtimes)
    with pytest.raises(StartupError, match=sentence):
        plan(model=model)


@pytest.mark.parametrize(("precision", "hint"), [("bf16", "bf16"), ("fp32", "f32"), ("int8", "f32")])
def test_openvino_is_told_its_precision_threads_and_streams_in_json_text(precision: str, hint: str) -> None:
    options = session.PROVIDERS["openvino"].options(precision, 8, 4)
    config = json.loads(options["load_config"])
    assert config == {"CPU": {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 8, "NUM_STREAMS": 4}}


def test_tensorrt_is_taken_where_it_is_asked_for_only(installed: Any, model: Path) -> None:
    installed(tensorrt="tensorrt", cpu="cpu")
    assert plan(model=model)[0] == "cpu"
    with pytest.raises(StartupError, match="the precision fp16 was asked for"):
        plan(model=model, precision="fp16")
    assert plan(model=model, provider="tensorrt")[:2] == ("tensorrt", "fp16")


class FakeRuntime:
    """onnxruntime as far as a session needs it; each session notes what it was made with."""

    class SessionOptions:
        intra_op_num_threads = 0

        def __init__(self) -> None:
            self.entries: dict[str, str] = {}

        def add_session_config_entry(self, name: str, value: str) -> None:
            self.entries[name] = value

    class InferenceSession:
        falls_back = True

        def __init__(self, file: Path, options: "FakeRuntime.SessionOptions", providers: list[Any]) -> None:
            self.file, self.options, self.providers = file, options, providers

        def disable_fallback(self) -> None:
            self.falls_back = False


@pytest.mark.parametrize(
    ("provider", "precision", "expected"),
    [
        ("cuda", "fp16", ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})),
        ("tensorrt", "fp16", ("TensorrtExecutionProvider", {"trt_fp16_enable": "True"})),
        ("tensorrt", "fp32", ("TensorrtExecutionProvider", {"trt_fp16_enable": "False"})),
        ("cpu", "int8", ("CPUExecutionProvider", {})),
    ],
)
def test_a_session_has_its_share_of_the_threads_does_not_spin_and_never_falls_back(
    provider: str, precision: str, expected: tuple[str, dict[str, str]]
) -> None:
    made = session._make_session(FakeRuntime, Plan(provider, precision, Path("model.onnx")), threads=8, streams=3)
    assert made.providers == [expected]
    assert made.options.intra_op_num_threads == 6  # each of 3 callers computes too
    assert made.options.entries == {"session.intra_op.allow_spinning": "0"}
    assert not made.falls_back


def test_another_session_that_is_given_another_provider_is_refused(installed: Any, model: Path) -> None:
    installed(cuda="cpu", openvino="openvino")
    assert open_another(Plan("openvino", "fp32", model), threads=1).get_providers() == ["OpenVINOExecutionProvider"]
    with pytest.raises(StartupError, match="replaced the provider cuda by CPUExecutionProvider"):
        open_another(Plan("cuda", "fp32", model), threads=1)


@pytest.mark.slow
@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model file is not here")
def test_callers_count_among_the_threads_of_streams() -> None:
    shared = open_another(Plan("cpu", "fp32", SHIPPED_MODEL), threads=8, streams=3)
    assert shared.get_session_options().intra_op_num_threads == 6
