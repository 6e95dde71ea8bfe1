from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.data.pack import Example, read_people
from models.evaluation.measures import accuracies, compare, moved_px, right_by_half_a_head


@pytest.fixture
def people(pack: Path) -> list[Example]:
    return [*read_people(pack, ["dev"]), *read_people(pack, ["train-lspet-0"])]


def truths(people: Sequence[Example]) -> np.ndarray:
    return np.stack([person.joints for person in people])


def test_every_data_set_has_its_measure(people: list[Example]) -> None:
    joints = truths(people)
    joints[0, 9] += 100
    measured = accuracies(people, joints)
    assert list(measured) == ["mpii PCKh@0.5", "lspet PCK@0.2"]
    assert measured["mpii PCKh@0.5"].total == pytest.approx(100 * (1 - 1 / (4 * 14)))
    assert measured["lspet PCK@0.2"].total == 100


def test_half_a_head_is_right_and_unknown_without_head_or_label(people: list[Example]) -> None:
    joints = truths(people)
    joints[0, 0, 0] += 3.01
    joints[0, 1, 0] += 2.99
    right, known = right_by_half_a_head(people, joints)
    assert (right[0, 0], right[0, 1]) == (False, True)
    assert not known[1].any()  # whose head size is not known
    assert not known[5:, 6].any()  # whose pelvis is not labelled
    assert known.sum() == 4 * 16 + 5 * 15


def test_comparison_names_difference_and_interval(people: list[Example]) -> None:
    worse = truths(people)
    worse[:, 9] += 100
    difference = compare(people, truths(people), worse)
    assert difference.points == pytest.approx(100 / 14, abs=0.5)
    assert str(difference).startswith(f"difference {difference.points:+.2f} points, 95 % interval ")


def test_movement_is_in_pixels_of_the_networks_input(people: list[Example]) -> None:
    other = truths(people) + np.array([3.0, 4.0])
    sides = np.array([person.crop.side for person in people])
    expected = np.broadcast_to(5 * 224 / sides[:, None], (len(people), 16))
    np.testing.assert_allclose(moved_px(people, truths(people), other), expected)
