import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.graph import ExportGraph, export_model
from models.data.pack import Example, read_people
from models.evaluation import predictors as evaluation
from models.evaluation.calibration import Calibration
from models.evaluation.pck import accuracy
from models.evaluation.predictors import Estimates, accuracies, compare, estimator, main
from models.networks.checkpoint import save_checkpoint
from models.networks.pose import PoseNetwork
from models.spec.contract import SHIPPED_MODEL
from tests.support.contracts import make_contract


@pytest.fixture
def people(pack: Path) -> list[Example]:
    return [*read_people(pack, ["dev"]), *read_people(pack, ["train-lspet-0"])]


def truths(people: Sequence[Example]) -> np.ndarray:
    return np.stack([person.joints for person in people])


def test_every_data_set_has_its_measure(people: list[Example]) -> None:
    joints = truths(people)
    joints[0, 9] += 100
    found = accuracies(people, joints)
    assert list(found) == ["mpii PCKh@0.5", "lspet PCK@0.2"]
    assert found["mpii PCKh@0.5"].total == pytest.approx(100 * (1 - 1 / (4 * 14)))
    assert found["lspet PCK@0.2"].total == 100


def test_comparison_names_difference_and_interval(people: list[Example]) -> None:
    worse = truths(people)
    worse[:, 9] += 100
    assert compare(people, truths(people), worse).startswith("difference +7.")


@pytest.mark.slow
def test_checkpoint_and_onnx_file_are_asked_alike(people: list[Example], tmp_path: Path) -> None:
    network = PoseNetwork()
    evaluation.load_weights(network, SHIPPED_MODEL)
    save_checkpoint(tmp_path / "checkpoint.pt", {"average": network.state_dict()})
    by_torch = estimator(str(tmp_path / "checkpoint.pt"))(people[:3])
    graph = ExportGraph(network, Calibration(np.zeros((16, 4))))
    onnx.save(export_model(graph, make_contract()), str(tmp_path / "model.onnx"))
    by_onnx = estimator(str(tmp_path / "model.onnx"))(people[:3])
    assert by_torch.confidence is None
    assert by_onnx.confidence is not None
    # Both hold the same weights; pictures are some 50 px large, so a tenth of a pixel is half an input pixel.
    assert np.abs(by_torch.joints - by_onnx.joints).max() < 0.01
    assert np.allclose(by_torch.covariance, by_onnx.covariance, atol=1e-4)


def test_command_prints_the_table_or_json(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def perfect(people: Sequence[Example]) -> Estimates:
        return Estimates(truths(people), None, None, None)

    monkeypatch.setattr(evaluation, "estimator", lambda *_: perfect)
    main(["model.onnx", "--data", str(pack), "--against", "other.onnx"])
    out = capsys.readouterr().out
    assert "| mpii PCKh@0.5 | 100.0" in out
    assert "difference +0.00 points" in out
    main(["model.onnx", "--data", str(pack), "--json"])
    assert json.loads(capsys.readouterr().out)["mpii PCKh@0.5"]["people"] == 4


def test_command_evaluates_on_close_ups(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Example] = []

    def perfect(people: Sequence[Example]) -> Estimates:
        asked.extend(people)
        return Estimates(truths(people), None, None, None)

    monkeypatch.setattr(evaluation, "estimator", lambda *_: perfect)
    main(["model.onnx", "--data", str(pack), "--close-ups", "0.8"])
    assert "| 100.0" in capsys.readouterr().out
    assert all(person.labelled.sum() < 16 for person in asked)


def test_json_tells_what_nobody_has_a_label_for_as_null(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = accuracy(*np.zeros((2, 1, 16), bool), np.array([True]))
    monkeypatch.setattr(evaluation, "estimator", lambda *_: lambda people: Estimates(truths(people), None, None, None))
    monkeypatch.setattr(evaluation, "accuracies", lambda *_: {"nobody": nothing})
    main(["model.onnx", "--data", str(pack), "--json"])
    told = json.loads(capsys.readouterr().out)["nobody"]
    assert (told["total"], told["limbs"], set(told["columns"].values())) == (None, None, {None})
    assert (told["people"], told["joints"]) == (1, 0)


def test_a_data_set_that_the_pack_lacks_is_refused(pack: Path) -> None:
    with pytest.raises(SystemExit, match="nobody in the pack dev is of nosuch; it has people of mpii"):
        main(["model.onnx", "--data", str(pack), "--source", "nosuch"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "one of --data, --mpii and --truths"),
        (["--data", "pack", "--without-boxes"], "--without-boxes needs a service"),
        (
            ["--mpii", "valid.h5", "--images", "photos", "--share", "0.5"],
            "--share, --close-ups and --source are for people of --data",
        ),
        (["--mpii", "valid.h5"], "--mpii needs --images"),
        (["--data", "pack", "--share", "0.5", "--close-ups", "1"], "say one of --share and --close-ups"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["model.onnx", *arguments])
    assert reason in capsys.readouterr().err
