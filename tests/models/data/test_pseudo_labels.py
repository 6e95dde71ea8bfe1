from pathlib import Path

import numpy as np
import pytest

from models.data.pack import Example, read_people, training_packs
from models.data.pseudo_labels import PseudoLabels, corrected_labels, read_pseudo_labels
from models.spec.skeleton import MIRROR


@pytest.fixture
def person(pack: Path) -> Example:
    return next(person for person in read_people(pack, training_packs(pack)) if person.source == "lspet")


def pseudo(joints: np.ndarray, movenet: float, efficientpose: float, apart: float = 0.0) -> PseudoLabels:
    scores = np.ones(16)
    return PseudoLabels(joints - apart / 2, movenet * scores, joints + apart / 2, efficientpose * scores)


def correct(person: Example, labels: PseudoLabels) -> tuple[np.ndarray, np.ndarray]:
    (corrected,), weights = corrected_labels([person], {person.id: labels})
    return corrected.joints, weights[0]


def test_agreeing_models_leave_labels_and_fill_gaps(person: Example) -> None:
    joints, weights = correct(person, pseudo(person.joints, 0.9, 0.9))
    assert np.array_equal(joints, person.joints)
    assert weights[6] == pytest.approx(0.7)
    assert (np.delete(weights, 6) == 1).all()


def test_exchanged_legs_are_changed_back(person: Example) -> None:
    truth = person.joints.copy()
    truth[:6] = truth[list(MIRROR)][:6]
    joints, weights = correct(person, pseudo(truth, 0.9, 0.9))
    assert np.array_equal(joints[:6], truth[:6])
    assert (weights[:6] == 1).all()


def test_a_label_that_both_outvote_is_replaced(person: Example) -> None:
    truth = person.joints.copy()
    truth[9] += 20
    joints, weights = correct(person, pseudo(truth, 0.5, 0.5))
    assert np.array_equal(joints[9], truth[9])
    assert weights[9] == pytest.approx(0.7)


def test_a_label_that_a_sure_model_contradicts_is_dropped(person: Example) -> None:
    truth = person.joints.copy()
    truth[9] += 20
    _, weights = correct(person, pseudo(truth, 0.9, 0.0))
    assert weights[9] == 0
    assert weights[0] == 1


def test_a_label_that_no_model_supports_counts_little(person: Example) -> None:
    elsewhere = person.joints.copy()
    elsewhere[9] += 20
    joints, weights = correct(person, pseudo(elsewhere, 0.25, 0.25))
    assert np.array_equal(joints, person.joints)
    assert weights[9] == pytest.approx(0.3)
    assert weights[0] == 1


def test_a_sure_model_that_learnt_from_experts_is_the_label(person: Example) -> None:
    sure = person.joints + 0.1
    sure[9] += 20
    joints, weights = correct(person, pseudo(sure, 0.0, 0.9))
    assert np.array_equal(joints, sure)
    assert weights[9] == pytest.approx(0.7)
    assert weights[0] == 1


def test_people_without_pseudo_labels_keep_their_labels(person: Example) -> None:
    (corrected,), weights = corrected_labels([person], {})
    assert np.array_equal(corrected.joints, person.joints)
    assert np.array_equal(weights[0] > 0, person.labelled)


def test_unsure_models_change_nothing(person: Example) -> None:
    joints, weights = correct(person, pseudo(person.joints + 20, 0.1, 0.2))
    assert np.array_equal(joints, person.joints)
    assert np.array_equal(weights > 0, person.labelled)


def test_experts_keep_their_labels(pack: Path) -> None:
    person = next(iter(read_people(pack, ["train-mpii"])))
    joints, weights = correct(person, pseudo(person.joints + 20, 0.9, 0.9))
    assert np.array_equal(joints, person.joints)
    assert (weights == 1).all()


def test_pseudo_labels_are_read_by_person(pack: Path, tmp_path: Path) -> None:
    assert len(read_pseudo_labels(pack)) == 6
    assert read_pseudo_labels(tmp_path) == {}
