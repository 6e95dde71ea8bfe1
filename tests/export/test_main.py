"""The commands that write model files, with a network of 18 layers and a pack of drawn figures."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import export.__main__ as command
from export import float16, gate, int8, variants
from export.__main__ import main, parse_options
from export.gate import GateError, read_views
from export.graph import READING
from export.onnx_files import read_contract
from export.parity import Difference, compare
from models.evaluation.calibration import Calibration
from models.evaluation.predictors import Predictions, run_onnx
from models.evaluation.reliability import everybody, fit_on, held_out_confidence, reliabilities
from models.spec.contract import Contract, variant
from tests.support.paths import ROOT

pytestmark = pytest.mark.filterwarnings("ignore")  # onnxruntime's quantiser warns of its own habits

# An untrained network's flat maps have no highest place that rounding could not move.
LOOSE = ["--lost-points", "100", "--moved-px", "200"]


def arguments(checkpoint: Path, pack: Path, out: Path, *more: str) -> list[str]:
    required = [str(checkpoint), "--depth", "18", "--data", str(pack), "--images-seen", "7", "--out", str(out)]
    return [*required, "--range-packs", "train-mpii", "--range-crops", "2", *more]


def compare_two(*arguments: Any) -> dict[int, Difference]:
    """`compare` at a batch of two alone, which takes a tenth of the time."""
    return compare(*arguments, batches=[2])


@pytest.fixture(scope="module")
def exported(checkpoint: Path, pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float file that the command wrote, with its int8 and float16 files beside it."""
    out = tmp_path_factory.mktemp("exported") / "new" / "model.onnx"
    options = [*LOOSE, "--version", "1.2", "--licence", "none", "--variants", "int8", "fp16"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(gate, "compare", compare_two)
        assert main(arguments(checkpoint, pack, out, *options)) == 0
    return out


def contract_of(path: Path) -> Contract:
    return read_contract(onnx.load(str(path)))


@pytest.mark.slow
def test_float_file_and_variants_are_of_the_same_weights_and_say_what_they_are(exported: Path) -> None:
    contracts = {name: contract_of(variant(exported, name)) for name in ("float", "int8", "fp16")}
    assert {contract.precision for contract in contracts.values()} == {
        "float16 weights",
        int8.PRECISION,
        float16.PRECISION,
    }
    for contract in contracts.values():
        assert (contract.name, contract.version, contract.licence) == ("dsntr-resnet50-28px", "1.2", "none")
        assert contract.training == contracts["float"].training
        assert contract.reading == READING
    assert contracts["float"].training["images_seen"] == 7
    assert sorted(path.name for path in exported.parent.iterdir()) == [
        "model-fp16.onnx",
        "model-int8.onnx",
        "model.onnx",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float", "int8", "fp16"])
def test_each_file_has_the_confidence_that_its_own_answers_fit(precision: str, exported: Path, pack: Path) -> None:
    views = read_views(pack)
    served = run_onnx(variant(exported, precision), everybody(views))
    fitted = fit_on(views, served)
    assert np.allclose(served.confidence, fitted.confidence(served.features), atol=1e-3)
    stated = contract_of(variant(exported, precision)).calibration
    assert np.allclose(Calibration.from_metadata(stated).coefficients, fitted.coefficients, atol=1e-3)
    rows = reliabilities(views, served, held_out_confidence(views, served))
    assert set(stated["held_out"]) == {"mpii", "half bodies"} == set(rows)
    for name, view in stated["held_out"].items():
        assert view["expected_calibration_error"] == pytest.approx(rows[name].expected_calibration_error, abs=1e-3)


@pytest.mark.slow
def test_a_variant_that_is_refused_leaves_every_old_file(
    checkpoint: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> onnx.ModelProto:
        raise GateError("it loses 3.00 points, the limit is 0.5")

    out = tmp_path / "model.onnx"
    out.write_text("old")
    variant(out, "int8").write_text("old too")
    monkeypatch.setattr(command, "to_int8", refuse)
    monkeypatch.setattr(command, "check_parity", lambda *_: None)
    assert main(arguments(checkpoint, pack, out, *LOOSE)) == 1
    assert "not written: it loses 3.00 points, the limit is 0.5" in capsys.readouterr().err
    assert (out.read_text(), variant(out, "int8").read_text()) == ("old", "old too")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_a_model_that_differs_from_torch_is_not_written(
    checkpoint: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trace whose coordinates are off by 1 input px."""
    trace = command.export_model

    def shifted(*arguments: object) -> onnx.ModelProto:
        model = trace(*arguments)
        node = next(node for node in model.graph.node if "coordinates" in node.output)
        node.output[list(node.output).index("coordinates")] = "exact"
        constant = onnx.numpy_helper.from_array(np.array([1 / 112, 0], np.float32), "shift")
        model.graph.initializer.append(constant)
        model.graph.node.append(onnx.helper.make_node("Add", ["exact", "shift"], ["coordinates"]))
        return model

    monkeypatch.setattr(command, "export_model", shifted)
    monkeypatch.setattr(gate, "compare", compare_two)
    out = tmp_path / "model.onnx"
    assert main(arguments(checkpoint, pack, out, *LOOSE)) == 1
    assert "not written: the float32 model moves a joint by 1.0" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_variants_of_other_weights_are_named(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract, path = contract_of(exported), tmp_path / "model.onnx"
    variant(path, "int8").write_bytes(variant(exported, "int8").read_bytes())
    stranger = onnx.load(str(exported))
    onnx.helper.set_model_props(stranger, {**contract.to_metadata(), "dsnt_pose.version": '"1.1"'})
    onnx.save(stranger, str(variant(path, "fp16")))
    command._warn_of_strangers(path, contract)
    err = capsys.readouterr().err
    assert "model-fp16.onnx is of other weights than the new model.onnx" in err
    assert "int8" not in err


@pytest.mark.slow
@pytest.mark.parametrize(("module", "precision"), [(int8, "int8"), (float16, "fp16")])
def test_a_variant_is_written_beside_a_float_file_or_refused(
    module: object, precision: str, exported: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--range-packs", "train-mpii", "--range-crops", "2"] if precision == "int8" else []
    out = tmp_path / "variant.onnx"
    options = [str(exported), "--data", str(pack), "--out", str(out), *more]
    assert module.main([*options, "--lost-points", "100", "--moved-px", "0"]) == 1
    assert "input px on average, the limit is 0.0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert module.main([*options, *LOOSE]) == 0
    assert contract_of(out).version == "1.2"
    assert contract_of(out).precision == module.PRECISION


def test_a_variant_lies_beside_its_float_file_unless_said_otherwise(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    class Review:
        def __init__(self, *_: object) -> None: ...

        def admit(self, _: object, path: Path, __: object) -> None:
            written.append(path)
            path.write_text("new")

    monkeypatch.setattr(variants, "run_onnx", lambda *_: Predictions(np.empty((0, 16, 2))))
    monkeypatch.setattr(variants, "Review", Review)
    monkeypatch.setattr(float16, "to_half", lambda _: onnx.ModelProto())
    model = tmp_path / "model.onnx"
    assert float16.main([str(model), "--data", str(pack)]) == 0
    assert [path.parent for path in written] == [tmp_path]
    assert [path.name for path in tmp_path.iterdir()] == ["model-fp16.onnx"]


def test_what_a_file_says_of_itself_is_read_from_a_file_or_said(tmp_path: Path) -> None:
    about = tmp_path / "about.toml"
    about.write_text('name = "mine"\ntraining-data = "my photos"\ndevelopment-data = "friends"\nlicence = "CC0"\n')
    required = ["w.pt", "--data", "pack", "--images-seen", "1"]
    options = parse_options([*required, "--about", str(about), "--licence", "MIT"])
    assert (options.name, options.training_data, options.development_data) == ("mine", "my photos", "friends")
    assert options.licence == "MIT"
    shipped = parse_options(required)
    assert shipped.name == "dsntr-resnet50-28px"
    assert "for research" in shipped.licence


@pytest.mark.parametrize(
    ("text", "reason"),
    [('name = "mine"', "has no `training-data`: say it there or with --training-data"), ("name", "cannot be read")],
)
def test_a_file_that_says_too_little_is_refused(
    text: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = tmp_path / "about.toml"
    about.write_text(text)
    with pytest.raises(SystemExit):
        parse_options(["w.pt", "--data", "pack", "--images-seen", "1", "--about", str(about)])
    assert reason in capsys.readouterr().err


def test_weights_of_another_network_and_missing_packs_end_in_a_sentence(
    checkpoint: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.onnx"
    assert main([*arguments(checkpoint, pack, out), "--depth", "34"]) == 1
    assert "not written: " in (err := capsys.readouterr().err)
    assert "is not of this network" in err
    assert main(arguments(checkpoint, tmp_path / "nowhere", out)) == 1
    assert "nowhere" in capsys.readouterr().err
    assert not out.exists()


def test_a_process_that_is_refused_ends_with_a_sentence_and_a_status(checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "export", *arguments(checkpoint, tmp_path / "nowhere", tmp_path / "model.onnx")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("not written: ")
    assert len(answer.stderr.splitlines()) == 1
