import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec.crop import Box, Crop
from models.spec.skeleton import MPII, Skeleton
from service.poses.finder import (
    LEAST_SCORE,
    Candidate,
    choose_people,
    find_people,
    main_candidates,
    person_score,
)
from service.poses.people import Person
from tests.support.contracts import make_finder_spec

SPEC = make_finder_spec()


def test_people_come_by_size_and_each_once() -> None:
    size = SPEC.longest_side
    boxes = np.array([[10, 10, 50, 100], [150, 10, 100, 200], [12, 10, 50, 100], [300, 10, 90, 90]])
    outputs = {"boxes": boxes[None], "scores": np.array([[0.7, 0.8, 0.9, 0.2]])}
    people = find_people(SPEC, outputs, 2 * size, 2 * size)
    assert people == [Candidate(Box(300, 20, 200, 400), 0.8), Candidate(Box(24, 20, 100, 200), 0.9)]


def test_the_main_person_is_the_largest_of_those_who_are_sure() -> None:
    large, small = Candidate(Box(0, 0, 90, 90), 0.35), Candidate(Box(0, 0, 20, 20), 0.8)
    assert main_candidates(SPEC, [large, small]) == [small]
    larger = Candidate(large.box, 0.5)
    assert main_candidates(SPEC, [larger, small]) == [larger]
    assert main_candidates(SPEC, []) == []


def test_of_those_whom_the_pose_may_veto_everyone_may_be_the_main_person() -> None:
    spec = make_finder_spec(calibration={"finder": 1.0, "pose": 2.0, "bias": 0.0})
    doubtful = [Candidate(Box(0, 0, 90, 90), 0.28), Candidate(Box(0, 0, 20, 20), 0.29)]
    assert main_candidates(spec, doubtful) == doubtful
    certain = Candidate(Box(0, 0, 10, 10), LEAST_SCORE + 0.01)
    assert main_candidates(spec, [*doubtful, certain]) == [certain]


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_score_is_a_probability_that_rises_with_both(finder_score: float, confidence: float) -> None:
    spec = make_finder_spec(calibration={"finder": 1.5, "pose": 2.0, "bias": -1.0})
    sure = np.full(16, confidence, np.float32)
    score = person_score(spec, MPII, finder_score, sure)
    assert 0 <= score <= 1
    assert person_score(spec, MPII, min(1.0, finder_score + 0.1), sure) >= score
    assert person_score(spec, MPII, finder_score, np.minimum(1, sure + 0.1)) >= score


def test_the_score_goes_by_neck_and_shoulders_where_there_are_any() -> None:
    spec = make_finder_spec(calibration={"finder": 1.0, "pose": 4.0, "bias": 0.0})
    confidence = np.zeros(16, np.float32)
    confidence[list(MPII.indices("upper_neck", "thorax", "right_shoulder", "left_shoulder"))] = 1
    assert person_score(spec, MPII, 0.5, confidence) == pytest.approx(1 / (1 + np.exp(-4)))
    assert person_score(spec, Skeleton(("tip", "tail"), ()), 0.5, np.array([0.0, 0.5])) == pytest.approx(
        1 / (1 + np.exp(-1))
    )


def a_person(x: float, confidence: float = 0.9) -> Person:
    joints = np.linspace([x, 0], [x + 40, 100], 16)
    box = Box(x, 0, 40, 100)
    return Person(box, False, Crop.around(box), joints, np.full(16, confidence, np.float32), np.zeros((16, 3)), None)


def test_of_two_poses_of_one_body_the_surer_stays() -> None:
    people = [a_person(0), a_person(3), a_person(200)]
    assert choose_people(people, [0.6, 0.7, 0.5]) == [1, 2]
    assert choose_people(people, [0.7, 0.6, LEAST_SCORE - 0.01]) == [0]
    assert choose_people([a_person(0), a_person(3, confidence=0.05)], [0.7, 0.6]) == [0, 1]
    assert choose_people([], []) == []
