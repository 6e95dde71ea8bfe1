import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.data.mpii import Truths
from models.data.pack import Example, read_people
from models.evaluation import __main__ as command
from models.evaluation.__main__ import main
from models.evaluation.official import CAVEAT
from models.evaluation.pck import accuracy
from models.evaluation.predictors import Predictions
from tests.support.scenes import ONE, answer, scene


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
        (
            ["--truths", "truths.mat", "--against", "other.onnx"],
            "--against, --share, --close-ups and --source do not go",
        ),
        (["--data", "pack", "--visible-boxes", "--source", "mpii"], "--source do not go with --visible-boxes"),
        (["--data", "pack", "--visible-boxes", "--scenes"], "--visible-boxes and --scenes are different measures"),
        (["--mpii", "valid.h5", "--images", "photos", "--official", "mpii"], "--official is of a pack of --data"),
        (["--data", "pack", "--scenes"], "--scenes needs a service's address or a file of answers (.jsonl)"),
        (["--data", "pack", "--share", "0.5", "--close-ups", "1"], "say one of --share and --close-ups"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["model.onnx", *arguments])
    assert reason in capsys.readouterr().err


def test_a_file_of_answers_is_of_scenes_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["answers.jsonl", "--data", "pack"])
    assert "a file of answers (.jsonl) is of whole photos: it needs --scenes" in capsys.readouterr().err


def test_scenes_are_measured_by_a_service_or_by_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, packs = [scene(ONE, id_="one"), scene(id_="nobody")], []
    monkeypatch.setattr(command, "read_scenes", lambda _, names: packs.extend(names) or photos)
    asked: list[bytes] = []
    said = [answer((ONE, 1.0)), answer()]
    monkeypatch.setattr(command, "ask_photos", lambda _, pictures: asked.extend(pictures) or said)
    main(["http://127.0.0.1:1", "--data", "pack", "--scenes"])
    assert "| large | 1 | 100.0 | 100.0 | 100.0, 100.0 |" in capsys.readouterr().out
    assert (len(asked), packs) == (2, ["scenes-dev"])

    path = tmp_path / "answers.jsonl"
    path.write_text('{"photo": "nobody", "people": []}\n{"photo": "one", "people": []}\n')
    main([str(path), "--data", "pack", "--scenes", "--pack", "other", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["sizes"]["all"]["boxes"] == {"people": 1, "average_precision": 0.0, "recall": 0.0}
    assert document["precise"] == {"score": None, "precision": None, "joints": 16, "right": 0.0}
    assert packs[1:] == ["other"]


def test_half_bodies_are_measured_with_their_boxes_or_without(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[bool] = []

    def perfect(people: Sequence[Example]) -> Predictions:
        return Predictions(truths(people), confidence=np.zeros((len(people), 16), np.float32))

    monkeypatch.setattr(command, "predictor", lambda _, boxes: asked.append(boxes) or perfect)
    main(["model.onnx", "--data", str(pack), "--visible-boxes"])
    assert "| hips | 2 |" in (out := capsys.readouterr().out)
    assert out.count("| 100.0 |") == 3
    main(["http://127.0.0.1:1", "--data", str(pack), "--visible-boxes", "--without-boxes", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert (document["all"]["people"], document["all"]["right"], document["left"]["sure_absent"]) == (4, 1, 0)
    assert asked == [True, False]


def test_official_people_stand_beside_published_predictions_with_a_caveat(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    people = [person for person in read_people(pack, ["dev"]) if person.head_size]
    labels = Truths(truths(people), np.ones((len(people), 16), bool), np.full(len(people), 6.0))
    folders: list[tuple[Path, list[int]]] = []

    def published(folder: Path, places: np.ndarray) -> tuple[Truths, dict[str, np.ndarray]]:
        folders.append((folder, places.tolist()))
        return labels, {"others": labels.joints + 100}

    monkeypatch.setattr(command, "read_official", lambda *_: (people, np.arange(len(people))))
    monkeypatch.setattr(command.official, "read_published", published)
    monkeypatch.setattr(command, "predictor", lambda *_: lambda people: Predictions(truths(people)))
    arguments = ["model.onnx", "--data", str(pack), "--official", "mpii"]
    main(arguments)
    out = capsys.readouterr().out
    assert "| this model | 100.0" in out
    assert "| others     | 0.0" in out
    assert "beside others: difference +100.00 points" in out
    assert out.endswith(f"{CAVEAT}\n")
    main([*arguments, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["differences"]["others"]["points"] == 100
    assert document["accuracies"]["others"]["total"] == 0
    assert document["caveat"] == CAVEAT
    assert folders == [(Path("mpii"), [0, 1, 2, 3])] * 2
