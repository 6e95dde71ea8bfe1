from pathlib import Path

import numpy as np
import pytest

from models.data.pack import Example, person_folds, read_people
from models.evaluation import reliability
from models.evaluation.predictors import Predictions
from models.evaluation.reliability import (
    Views,
    development_views,
    everybody,
    held_out_confidence,
    main,
    reliabilities,
    slices,
)

HALVES = ("half bodies by their box", "half bodies by their photo")


@pytest.fixture
def views(pack: Path) -> Views:
    return development_views([*read_people(pack, ["dev"]), *read_people(pack, ["train-lspet-0"])])


def contradictory(people: list[Example]) -> Predictions:
    """Joints that are right where a feature is positive, in even folds, and where it is negative in odd ones."""
    random = np.random.default_rng(0)
    signs = np.sign(random.normal(size=(len(people), 16)))
    inputs = np.stack([np.ones_like(signs), 5 * signs, *np.zeros((2, *signs.shape))], -1)
    right = (signs > 0) ^ (person_folds(people, 5) % 2 == 1)[:, None]
    joints = np.stack([person.joints for person in people]) + np.where(right, 0, 100)[..., None]
    return Predictions(joints, features=inputs)


def test_views_are_whole_people_by_data_set_and_half_bodies_of_two_kinds(views: Views) -> None:
    assert {name: len(people) for name, people in views.items()} == {"mpii": 4, "lspet": 5, **dict.fromkeys(HALVES, 5)}
    people = everybody(views)
    for name, part in slices(views).items():
        assert people[part] == views[name]
    assert all(person.head_size is not None for person in people)


def test_nobody_is_judged_by_a_fit_that_has_seen_them(views: Views) -> None:
    people = everybody(views)
    predictions = contradictory(people)
    confidence = held_out_confidence(people, predictions, predictions)
    for fold in (0, 3):
        chosen = person_folds(people) == fold
        other = [person for person, inside in zip(people, chosen, strict=True) if not inside]
        changed = contradictory(people)
        changed.joints[chosen] += 1000  # labels of the fold itself change nothing for it
        again = held_out_confidence(people, changed, predictions)
        assert len(other) < len(people)
        np.testing.assert_allclose(again[chosen], confidence[chosen])
        assert not np.allclose(again[~chosen], confidence[~chosen])


def test_views_whose_errors_cancel_have_figures_of_their_own(views: Views) -> None:
    """Whole people are always right and half bodies never, which no feature tells: both are off by about a half."""
    people = everybody(views)
    whole = len(views["mpii"]) + len(views["lspet"])
    joints = np.stack([person.joints for person in people])
    joints[whole:] += 100
    predictions = Predictions(joints, features=np.tile([1.0, 0, 0, 0], (len(people), 16, 1)))
    rows = reliabilities(views, predictions, predictions)
    assert list(rows) == list(views)
    for name, row in rows.items():
        assert row.right == (name not in HALVES)
        assert row.expected_calibration_error == pytest.approx(abs(row.confidence - row.right))
        assert 0.3 < row.expected_calibration_error < 0.7


def test_a_file_is_judged_by_its_own_joints_and_features(views: Views) -> None:
    """The int8 file computes with coefficients that were fitted on the float file."""
    people = everybody(views)
    fitted = contradictory(people)
    served = Predictions(np.stack([person.joints for person in people]), features=-fitted.features)
    rows = reliabilities(views, fitted, served)
    assert all(row.right == 1 for row in rows.values())
    expected = held_out_confidence(people, fitted, served)
    assert not np.allclose(expected, held_out_confidence(people, fitted, fitted))
    assert rows["mpii"].confidence == pytest.approx(expected[: len(views["mpii"])].mean())


def test_joints_outside_the_crop_are_counted_where_there_are_some(views: Views) -> None:
    people = everybody(views)
    joints = np.stack([person.joints for person in people])
    rows = reliabilities(views, *[Predictions(joints, features=np.tile([1.0, 0, 0, 0], (len(people), 16, 1)))] * 2)
    assert np.isnan(rows["mpii"].sure_outside)
    assert rows[HALVES[0]].sure_outside == 1  # all joints are said right: their confidence is near 1


def test_who_gives_no_features_is_refused(views: Views) -> None:
    people = everybody(views)
    nothing = Predictions(np.zeros((len(people), 16, 2)))
    with pytest.raises(ValueError, match="do not say its features"):
        held_out_confidence(people, contradictory(people), nothing)


def test_command_prints_a_row_for_each_view(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models: list[str] = []

    def predictor(model: str) -> object:
        models.append(model)
        return contradictory

    monkeypatch.setattr(reliability, "predictor", predictor)
    main(["int8.onnx", "--fitted-on", "float.onnx", "--data", str(pack)])
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()]
    assert rows[2:] == ["mpii", *HALVES]
    assert models == ["int8.onnx", "float.onnx"]
