import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.data.pack import Example
from models.evaluation import __main__ as command
from models.evaluation.__main__ import main
from models.evaluation.pck import accuracy
from models.evaluation.predictors import Predictions


def truths(people: Sequence[Example]) -> np.ndarray:
    return np.stack([person.joints for person in people])


def test_command_prints_the_table_or_json(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def perfect(people: Sequence[Example]) -> Predictions:
        return Predictions(truths(people))

    monkeypatch.setattr(command, "predictor", lambda *_: perfect)
    main(["model.onnx", "--data", str(pack), "--against", "other.onnx"])
    out = capsys.readouterr().out
    assert "| mpii PCKh@0.5 | 100.0" in out
    assert "difference +0.00 points" in out
    main(["model.onnx", "--data", str(pack), "--json"])
    assert json.loads(capsys.readouterr().out)["mpii PCKh@0.5"]["people"] == 4


def test_json_of_a_comparison_is_one_document(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def worse(people: Sequence[Example]) -> Predictions:
        joints = truths(people)
        joints[:, 9] += 100
        return Predictions(joints)

    models = {"model.onnx": lambda people: Predictions(truths(people)), "other.onnx": worse}
    monkeypatch.setattr(command, "predictor", lambda model, _: models[model])
    main(["model.onnx", "--data", str(pack), "--json", "--against", "other.onnx"])
    document = json.loads(capsys.readouterr().out)
    assert document["mpii PCKh@0.5"]["total"] == 100
    assert document["difference"] == {name: pytest.approx(100 / 14) for name in ("points", "low", "high")}


def test_pictures_that_show_their_person_smaller_are_counted(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes: list[int] = []

    def perfect(people: Sequence[Example]) -> Predictions:
        sizes.extend(person.size for person in people)
        return Predictions(truths(people))

    monkeypatch.setattr(command, "predictor", lambda *_: perfect)
    main(["model.onnx", "--data", str(pack), "--share", "0.6"])
    assert "5 of 5 pictures stay as they are, without a background: they show their person at 0.533" in (
        capsys.readouterr().err
    )
    main(["model.onnx", "--data", str(pack), "--share", "0.3"])
    assert capsys.readouterr().err == ""
    assert sizes == [96] * 5 + [171] * 5


def test_command_evaluates_on_close_ups(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Example] = []

    def perfect(people: Sequence[Example]) -> Predictions:
        asked.extend(people)
        return Predictions(truths(people))

    monkeypatch.setattr(command, "predictor", lambda *_: perfect)
    main(["model.onnx", "--data", str(pack), "--close-ups", "0.8"])
    assert "| 100.0" in capsys.readouterr().out
    assert all(person.labelled.sum() < 16 for person in asked)


def test_json_tells_what_nobody_has_a_label_for_as_null(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = accuracy(*np.zeros((2, 1, 16), bool), np.array([True]))
    monkeypatch.setattr(command, "predictor", lambda *_: lambda people: Predictions(truths(people)))
    monkeypatch.setattr(command, "accuracies", lambda *_: {"nobody": nothing})
    main(["model.onnx", "--data", str(pack), "--json"])
    document = json.loads(capsys.readouterr().out)["nobody"]
    assert (document["total"], document["limbs"], set(document["columns"].values())) == (None, None, {None})
    assert (document["people"], document["joints"]) == (1, 0)


def test_a_data_set_that_the_pack_lacks_is_refused(pack: Path) -> None:
    with pytest.raises(SystemExit, match="nobody in the pack dev is of nosuch; it has people of mpii"):
        main(["model.onnx", "--data", str(pack), "--source", "nosuch"])


def test_a_pack_that_is_not_there_ends_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"dev\.tar cannot be read"):
        main(["model.onnx", "--data", str(tmp_path)])


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
        (["--truths", "truths.mat", "--against", "other.onnx"], "--against compares models"),
        (["--data", "pack", "--share", "0.5", "--close-ups", "1"], "say one of --share and --close-ups"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["model.onnx", *arguments])
    assert reason in capsys.readouterr().err
