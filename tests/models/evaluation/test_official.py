from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.data.mpii import Truths
from models.data.pack import Example, read_people
from models.evaluation import official
from models.evaluation.official import beside_published, read_published


@pytest.fixture
def people(pack: Path) -> list[Example]:
    return [person for person in read_people(pack, ["dev"]) if person.head_size is not None]


def truths_of(people: list[Example]) -> Truths:
    """The same people as MPII's photos show them: at three times the size, somewhere else."""
    joints = np.stack([3 * person.joints + [500, 200] for person in people])
    return Truths(joints, np.ones((len(people), 16), bool), np.array([3 * 6.0] * len(people)))


def test_each_is_measured_in_its_own_pixels(people: list[Example]) -> None:
    truths = truths_of(people)
    ours = np.stack([person.joints for person in people])
    near, far = (truths.joints + np.array([3 * heads, 0]) for heads in (2.9, 3.1))
    comparison = beside_published(people, ours, truths, {"near": near, "far": far})
    assert {name: accuracy.total for name, accuracy in comparison.accuracies.items()} == {
        "this model": 100,
        "near": 100,
        "far": 0,
    }
    assert comparison.differences["near"].points == 0
    assert comparison.differences["far"] == (100, 100, 100)
    assert all(accuracy.people == len(people) for accuracy in comparison.accuracies.values())


def test_a_joint_that_either_label_lacks_is_not_compared(people: list[Example]) -> None:
    """Both are right but for one joint each, which the other's labels lack."""
    truths = truths_of(people)
    ours, theirs = np.stack([person.joints for person in people]), truths.joints.copy()
    ours[:, 0] += 100
    theirs[:, 5] += 100
    truths.labelled[:, 0] = False
    some = [replace(person, labelled=np.arange(16) != 5) for person in people]
    assert beside_published(some, ours, truths, {"theirs": theirs}).differences["theirs"] == (0, 0, 0)


def test_published_predictions_are_of_the_same_people(monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = Truths(
        np.arange(5.0)[:, None, None] * np.ones((5, 16, 2)), np.arange(5)[:, None] > np.zeros(16), np.arange(5.0)
    )
    monkeypatch.setattr(official, "read_truths", lambda path: everybody)
    monkeypatch.setattr(official, "read_predictions", lambda path: everybody.joints + len(path.name))
    truths, published = read_published(Path("mpii"), np.array([3, 1]))
    assert truths.head_sizes.tolist() == [3, 1]
    assert truths.joints[:, 0, 0].tolist() == [3, 1]
    assert truths.labelled.all()
    assert list(published) == ["Newell et al., 8 stacks", "Tompson et al."]
    assert published["Newell et al., 8 stacks"][:, 0, 0].tolist() == [12, 10]
