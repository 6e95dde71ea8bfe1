from pathlib import Path

import numpy as np
import pytest

from models.data.pack import Person, read_people, training_packs
from models.data.pseudo_labels import Opinions, corrected_labels, read_opinions
from models.spec.skeleton import MIRROR


@pytest.fixture
def person(pack: Path) -> Person:
    return next(person for person in read_people(pack, training_packs(pack)) if person.source == "lspet")


def opinions(joints: np.ndarray, movenet: float, efficientpose: float, apart: float = 0.0) -> Opinions:
    scores = np.ones(16)
    return Opinions(joints - apart / 2, movenet * scores, joints + apart / 2, efficientpose * scores)


def correct(person: Person, opinion: Opinions) -> tuple[np.ndarray, np.ndarray]:
    (corrected,), weights = corrected_labels([person], {person.id: opinion})
    return corrected.joints, weights[0]


def test_agreeing_opinions_leave_labels_and_fill_gaps(person: Person) -> None:
    joints, weights = correct(person, opinions(person.joints, 0.9, 0.9))
    assert np.array_equal(joints, person.joints)
    assert weights[6] == pytest.approx(0.7)
    assert (np.delete(weights, 6) == 1).all()


def test_exchanged_legs_are_changed_back(person: Person) -> None:
    truth = person.joints.copy()
    truth[:6] = truth[list(MIRROR)][:6]
    joints, weights = correct(person, opinions(truth, 0.9, 0.9))
    assert np.array_equal(joints[:6], truth[:6])
    assert (weights[:6] == 1).all()


def test_a_label_that_both_outvote_is_replaced(person: Person) -> None:
    truth = person.joints.copy()
    truth[9] += 20
    joints, weights = correct(person, opinions(truth, 0.5, 0.5))
    assert np.array_equal(joints[9], truth[9])
    assert weights[9] == pytest.approx(0.7)


def test_a_label_that_a_sure_model_contradicts_is_dropped(person: Person) -> None:
    truth = person.joints.copy()
    truth[9] += 20
    _, weights = correct(person, opinions(truth, 0.9, 0.0))
    assert weights[9] == 0
    assert weights[0] == 1


def test_a_label_that_no_model_supports_counts_little(person: Person) -> None:
    elsewhere = person.joints.copy()
    elsewhere[9] += 20
    joints, weights = correct(person, opinions(elsewhere, 0.25, 0.25))
    assert np.array_equal(joints, person.joints)
    assert weights[9] == pytest.approx(0.3)
    assert weights[0] == 1


def test_a_sure_model_that_learnt_from_experts_is_the_label(person: Person) -> None:
    taught = person.joints + 0.1
    taught[9] += 20
    joints, weights = correct(person, opinions(taught, 0.0, 0.9))
    assert np.array_equal(joints, taught)
    assert weights[9] == pytest.approx(0.7)
    assert weights[0] == 1


def test_people_without_an_opinion_keep_their_labels(person: Person) -> None:
    (corrected,), weights = corrected_labels([person], {})
    assert np.array_equal(corrected.joints, person.joints)
    assert np.array_equal(weights[0] > 0, person.labelled)


def test_unsure_models_change_nothing(person: Person) -> None:
    joints, weights = correct(person, opinions(person.joints + 20, 0.1, 0.2))
    assert np.array_equal(joints, person.joints)
    assert np.array_equal(weights > 0, person.labelled)


def test_experts_keep_their_labels(pack: Path) -> None:
    person = next(iter(read_people(pack, ["train-mpii"])))
    joints, weights = correct(person, opinions(person.joints + 20, 0.9, 0.9))
    assert np.array_equal(joints, person.joints)
    assert (weights == 1).all()


def test_opinions_are_read_by_person(pack: Path, tmp_path: Path) -> None:
    assert len(read_opinions(pack)) == 6
    assert read_opinions(tmp_path) == {}
