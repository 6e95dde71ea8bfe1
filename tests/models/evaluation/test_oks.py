import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.finding import SIZES
from models.evaluation.oks import AREA, SIGMAS, THRESHOLDS, PosePrecision, pose_precision, similarity
from models.spec.skeleton import JOINTS, MIRROR
from tests.support.scenes import ONE, OTHER, SMALL, answer, joints_in, scene

AREA_OF_ONE = AREA * 100 * 200


def test_similarity_is_the_formula() -> None:
    truth = joints_in(ONE)[None]
    pose = truth.copy()
    pose[0, JOINTS.index("left_wrist")] += [3.0, 4.0]
    labelled = np.zeros((1, 16), bool)
    labelled[0, [JOINTS.index("left_wrist"), JOINTS.index("left_knee")]] = True
    expected = (math.exp(-25 / (2 * 1000 * (2 * 0.062) ** 2)) + 1) / 2
    assert similarity(pose, truth, labelled, np.array([1000.0]))[0, 0] == pytest.approx(expected)


def test_sigmas_are_of_the_joints_and_alike_on_both_sides() -> None:
    by_name = dict(zip(JOINTS, SIGMAS.tolist(), strict=True))
    coco = {"hip": 0.107, "knee": 0.087, "ankle": 0.089, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062}
    assert {name: by_name[f"right_{name}"] for name in coco} == coco
    assert SIGMAS[list(MIRROR)].tolist() == SIGMAS.tolist()


@given(st.floats(0, 500), st.floats(1.01, 4), st.integers(0, 15))
def test_similarity_falls_with_distance_and_grows_with_size(distance: float, larger: float, joint: int) -> None:
    truth = joints_in(ONE)[None]
    labelled = np.arange(16)[None] == joint
    pose = truth + np.array([distance, 0])
    alike = similarity(pose, truth, labelled, np.array([AREA_OF_ONE]))[0, 0]
    assert 0 <= alike <= 1
    assert similarity(truth + np.array([distance * larger, 0]), truth, labelled, np.array([AREA_OF_ONE]))[0, 0] <= alike
    assert similarity(pose, truth, labelled, np.array([AREA_OF_ONE * larger]))[0, 0] >= alike
    elsewhere = np.where(labelled[..., None], pose, 1e6)
    assert similarity(elsewhere, truth, labelled, np.array([AREA_OF_ONE]))[0, 0] == alike


def test_joints_that_are_left_out_are_nowhere_near() -> None:
    truth = joints_in(ONE)[None]
    pose = np.where(np.arange(16)[:, None] < 4, truth, np.inf)
    assert similarity(pose, truth, np.ones((1, 16), bool), np.array([AREA_OF_ONE]))[0, 0] == pytest.approx(4 / 16)
    assert similarity(pose, truth, np.zeros((1, 16), bool), np.array([AREA_OF_ONE]))[0, 0] == 0


def test_perfect_poses_are_precise_and_poses_elsewhere_are_not() -> None:
    photos = [scene(ONE, OTHER), scene()]
    perfect = [answer((ONE, 0.9), (OTHER, 0.4)), answer()]
    assert pose_precision(photos, perfect) == PosePrecision(2, 1, 1, 1)
    away = [answer((ONE, 0.9), (OTHER, 0.4), moved=500), answer()]
    assert pose_precision(photos, away) == PosePrecision(2, 0, 0, 0)


def test_a_pose_is_right_from_its_similarity_on() -> None:
    moved = 13.0
    truth = joints_in(ONE)[None]
    alike = similarity(truth + np.array([moved, 0]), truth, np.ones((1, 16), bool), np.array([AREA_OF_ONE]))[0, 0]
    assert 0.7 < alike < 0.75
    measured = pose_precision([scene(ONE)], [answer((ONE, 0.9), moved=moved)])
    right = sum(threshold <= alike for threshold in THRESHOLDS)
    assert measured == PosePrecision(1, pytest.approx(right / 10), 1, 0)
    assert 0 < right < 10


def test_a_person_is_found_once_and_false_people_and_misses_cost() -> None:
    twice = answer((ONE, 0.9), (ONE, 0.8))
    assert pose_precision([scene(ONE)], [twice]).mean == 1  # the second comes after full recall
    assert pose_precision([scene(ONE, OTHER)], [twice]).mean == 0.5
    better_last = answer((ONE, 0.8), (ONE, 0.9))
    assert pose_precision([scene(ONE)], [better_last]).mean == 1
    first_false = [answer((ONE, 0.5)), answer((OTHER, 0.9))]
    assert pose_precision([scene(ONE), scene()], first_false).mean == 0.5


def test_people_who_are_flagged_small_or_without_joints_count_neither_way() -> None:
    found = [answer((OTHER, 0.9), (ONE, 0.8))]
    alone = PosePrecision(1, 1, 1, 1)
    assert pose_precision([scene(ONE, OTHER, flags=("", "c"))], found) == alone
    assert pose_precision([scene(ONE, OTHER, visibility=(2, 0))], found) == alone
    assert pose_precision([scene(ONE, incomplete=True)], found) == alone
    assert pose_precision([scene(ONE)], found).mean == 0.5
    both = [answer((SMALL, 0.9), (ONE, 0.8))]
    assert pose_precision([scene(ONE, SMALL)], both, SIZES["large"]) == alone
    assert pose_precision([scene(ONE, SMALL)], both).people == 2


def test_nobody_who_counts_has_no_precision() -> None:
    measured = pose_precision([scene()], [answer((ONE, 0.9))])
    assert measured.people == 0
    assert math.isnan(measured.mean)
