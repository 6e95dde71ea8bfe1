from pathlib import Path

import numpy as np
import pytest

from models.data.halves import read_halves
from models.data.pack import Example, person_folds, read_people
from models.evaluation import reliability
from models.evaluation.predictors import Predictions
from models.evaluation.reliability import (
    HALVES,
    HALVES_WEIGHT,
    Views,
    development_views,
    everybody,
    fit_on,
    fit_weights,
    held_out_confidence,
    judged,
    main,
    reliabilities,
    slices,
)


@pytest.fixture
def views(pack: Path) -> Views:
    people = [*read_people(pack, ["dev"]), *read_people(pack, ["train-lspet-0"])]
    return development_views(people, list(read_halves(pack, ["halves-dev"])))


def truths(people: list[Example]) -> np.ndarray:
    return np.stack([person.joints for person in people])


def contradictory(people: list[Example]) -> Predictions:
    """Joints that are right where a feature is positive, in even folds, and where it is negative in odd ones."""
    random = np.random.default_rng(0)
    signs = np.sign(random.normal(size=(len(people), 16)))
    inputs = np.stack([np.ones_like(signs), 5 * signs, *np.zeros((2, *signs.shape))], -1)
    right = (signs > 0) ^ (person_folds(people, 5) % 2 == 1)[:, None]
    return Predictions(truths(people) + np.where(right, 0, 100)[..., None], features=inputs)


def featureless(joints: np.ndarray) -> Predictions:
    """Joints that no feature tells apart."""
    return Predictions(joints, features=np.tile([1.0, 0, 0, 0], (len(joints), 16, 1)))


def test_views_are_whole_people_by_data_set_and_half_bodies(views: Views) -> None:
    assert {name: len(people) for name, people in views.items()} == {"mpii": 4, "lspet": 5, HALVES: 4}
    people = everybody(views)
    for name, part in slices(views).items():
        assert people[part] == views[name]
    assert all(person.head_size is not None for person in people)


def test_what_is_not_shown_counts_and_is_never_right(views: Views) -> None:
    people = everybody(views)
    right, counted = judged(people, truths(people))
    labelled = np.stack([person.labelled for person in people])
    rows = slices(views)
    assert counted[rows[HALVES]].all()
    assert np.array_equal(right[rows[HALVES]], labelled[rows[HALVES]])
    assert not labelled[rows[HALVES]].all()
    # Crowd workers leave out joints that are there.
    assert np.array_equal(counted[rows["lspet"]], labelled[rows["lspet"]])


def test_half_bodies_have_their_share_of_the_fit_and_rough_labels_none(views: Views) -> None:
    counted = np.random.default_rng(0).random((len(everybody(views)), 16)) < 0.7
    weights = fit_weights(views, counted)
    rows = slices(views)
    assert not weights[rows["lspet"]].any()
    assert np.array_equal(weights[rows["mpii"]], counted[rows["mpii"]])
    assert weights[rows[HALVES]].sum() == pytest.approx(HALVES_WEIGHT * weights.sum())
    assert len(np.unique(weights[rows[HALVES]])) == 2


def test_rough_labels_change_nothing(views: Views) -> None:
    people = everybody(views)
    predictions = contradictory(people)
    before = held_out_confidence(views, predictions), fit_on(views, predictions).coefficients
    predictions.joints[slices(views)["lspet"]] += 1000
    after = held_out_confidence(views, predictions), fit_on(views, predictions).coefficients
    assert all(np.array_equal(some, others) for some, others in zip(before, after, strict=True))


def test_nobody_is_judged_by_a_fit_that_has_seen_them(views: Views) -> None:
    people = everybody(views)
    predictions = contradictory(people)
    confidence = held_out_confidence(views, predictions)
    folds, rough = person_folds(people), np.array([person.source == "lspet" for person in people])
    for fold in set(folds[~rough].tolist()):
        chosen = folds == fold
        changed = contradictory(people)
        changed.joints[chosen] += 1000  # labels of the fold itself change nothing for it
        again = held_out_confidence(views, changed)
        np.testing.assert_allclose(again[chosen], confidence[chosen])
        assert not np.allclose(again[~chosen], confidence[~chosen])


def test_a_half_body_is_never_judged_by_its_whole_person(views: Views) -> None:
    folds = person_folds(everybody(views))
    by_id = {person.id: fold for person, fold in zip(everybody(views), folds, strict=True)}
    assert {person.id for person in views["mpii"]} & {person.id for person in views[HALVES]}
    assert [by_id[person.id] for person in views[HALVES]] == folds[slices(views)[HALVES]].tolist()


def test_views_whose_errors_cancel_have_figures_of_their_own(views: Views) -> None:
    """Whole people are always right and half bodies never, which no feature tells: both are off by their share."""
    people = everybody(views)
    joints = truths(people)
    joints[slices(views)[HALVES]] += 100
    predictions = featureless(joints)
    rows = reliabilities(views, predictions, held_out_confidence(views, predictions))
    assert list(rows) == list(views)
    for name, row in rows.items():
        assert row.right == (name != HALVES)
        assert row.expected_calibration_error == pytest.approx(abs(row.confidence - row.right))
    assert rows[HALVES].expected_calibration_error == pytest.approx(1 - HALVES_WEIGHT, abs=0.15)
    assert rows["mpii"].expected_calibration_error == pytest.approx(HALVES_WEIGHT, abs=0.15)


def test_joints_that_are_not_shown_are_counted_where_there_are_some(views: Views) -> None:
    people = everybody(views)
    rows = reliabilities(views, featureless(truths(people)), np.full((len(people), 16), 0.6))
    assert rows["mpii"].absent == rows["lspet"].absent == 0
    assert np.isnan(rows["mpii"].sure_absent)
    assert rows[HALVES].absent == sum(int((~person.labelled).sum()) for person in views[HALVES]) > 0
    assert rows[HALVES].sure_absent == 1
    below = reliabilities(views, featureless(truths(people)), np.full((len(people), 16), 0.5))
    assert below[HALVES].sure_absent == 0


def test_who_gives_no_features_is_refused(views: Views) -> None:
    people = everybody(views)
    with pytest.raises(ValueError, match="do not say its features"):
        held_out_confidence(views, Predictions(truths(people)))


def test_command_prints_a_row_for_each_view(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reliability, "predictor", lambda _: contradictory)
    main(["int8.onnx", "--data", str(pack)])
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()]
    assert rows[2:] == ["mpii", HALVES]


def test_command_judges_the_confidence_that_a_model_states(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sure(people: list[Example]) -> Predictions:
        return Predictions(truths(people), confidence=np.full((len(people), 16), 0.75, np.float32))

    monkeypatch.setattr(reliability, "predictor", lambda _: sure)
    main(["http://127.0.0.1:1", "--data", str(pack), "--stated"])
    assert "| mpii | 4 | 64 | 0.750 | 1.000 | 0.250 |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="do not say its features"):
        main(["http://127.0.0.1:1", "--data", str(pack)])
    monkeypatch.setattr(reliability, "predictor", lambda _: contradictory)
    with pytest.raises(SystemExit, match=r"checkpoint\.pt has no confidence of its own: leave out --stated"):
        main(["checkpoint.pt", "--data", str(pack), "--stated"])


def test_a_missing_pack_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"dev\.tar cannot be read"):
        main(["model.onnx", "--data", str(tmp_path)])
