import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec.crop import Box, Crop
from models.spec.skeleton import LOWER_BODY, MPII, SEEN, Skeleton
from service.poses.refine import (
    can_tell_close_ups,
    is_close_up,
    is_cut_off,
    overlap,
    refined_crop,
    zoomed_out_crop,
)

WHOLE = Crop(0, 0, 1000)
SURE = np.ones(16)
MARGIN = 1.4


@given(st.floats(100, 600), st.floats(100, 600), st.floats(0.1, 1), st.floats(120, 300))
def test_the_new_crop_is_around_the_joints(x: float, y: float, aspect: float, side: float) -> None:
    grid = np.linspace(0, 1, 16)
    joints = np.stack([x + side * aspect * grid, y + side * grid], -1)
    crop = refined_crop(WHOLE, joints, SURE)
    assert crop.side == pytest.approx(MARGIN * side)
    assert crop.to_photo(np.zeros(2)) == pytest.approx([x + side * aspect / 2, y + side / 2])


@given(st.floats(1e-320, 1e9), st.floats(1e-320, 1e9), st.floats(-1e9, 1e9))
def test_the_overlap_is_a_share_for_squares_of_any_size(one: float, other: float, x: float) -> None:
    assert overlap(Crop(x, 0, one), Crop(x, 0, one)) == pytest.approx(1 if x + one > x else 0)
    assert 0 <= overlap(Crop(x, 0, one), Crop(0, x, other)) <= 1 + 1e-9


def test_doubtful_joints_take_no_part() -> None:
    joints = np.full((16, 2), 900.0)
    joints[:8] = np.linspace([100, 100], [300, 300], 8)
    confidence = np.where(np.arange(16) < 8, SEEN, SEEN - 0.01)
    crop = refined_crop(WHOLE, joints, confidence)
    assert crop.x + crop.side < 400


def test_too_few_joints_keep_the_crop() -> None:
    joints = np.linspace([100, 100], [300, 300], 16)
    assert refined_crop(WHOLE, joints, np.where(np.arange(16) < 3, 1.0, 0.0)) is WHOLE
    assert refined_crop(WHOLE, joints, np.where(np.arange(16) < 4, 1.0, 0.0)) is not WHOLE


def test_a_crop_that_would_hardly_change_is_kept() -> None:
    joints = np.linspace([150, 150], [850, 850], 16)
    assert refined_crop(WHOLE, joints, SURE) is WHOLE


def test_joints_in_one_spot_do_not_make_a_crop_without_size() -> None:
    crop = refined_crop(WHOLE, np.full((16, 2), 500.0), SURE)
    assert crop.side == pytest.approx(MARGIN * 100)
    assert crop.to_photo(np.zeros(2)) == pytest.approx([500, 500])


def test_overlap_of_squares() -> None:
    assert overlap(WHOLE, WHOLE) == 1
    assert overlap(WHOLE, Crop(2000, 0, 10)) == 0
    assert overlap(Crop(0, 0, 2), Crop(1, 0, 2)) == pytest.approx(1 / 3)


@given(st.integers(1, 10**4), st.integers(1, 10**4), st.floats(-1e5, 1e5))
def test_the_zoomed_out_crop_holds_the_boxs_height_and_more_below(width: int, height: int, x: float) -> None:
    crop = zoomed_out_crop(Box(100, 200, width, height), np.full((16, 2), x))
    assert crop.x < 100 + width
    assert crop.x + crop.side > 100
    assert crop.y < 200
    assert crop.y + crop.side > 200 + 2 * height


def test_the_zoomed_out_crop_is_over_most_of_the_joints() -> None:
    joints = np.full((16, 2), 100.0)
    joints[0, 0] = 1000
    crop = zoomed_out_crop(Box(0, 0, 1000, 1000), joints)
    assert crop.x + crop.side / 2 == pytest.approx(100)


def upper_body(reach: float) -> np.ndarray:
    """Joints of which all but the legs span `reach` of a box of 1000 pixels."""
    joints = np.linspace([0, 0], [reach * 1000] * 2, 16)
    joints[list(LOWER_BODY)] = 5000
    return joints


def test_a_close_up_is_surer_zoomed_out_shows_no_feet_and_fills_the_box() -> None:
    sure, doubtful = np.full(16, 0.8), np.full(16, 0.7)
    sure[list(LOWER_BODY)] = 0.1
    assert is_close_up(MPII, 1000, upper_body(0.9), sure, doubtful)
    narrow = upper_body(0.9) * [0, 1]
    assert is_close_up(MPII, 1000, narrow, sure, doubtful)
    assert is_close_up(MPII, 1000, upper_body(0.9), np.full(16, SEEN), np.zeros(16))
    assert not is_close_up(MPII, 1000, upper_body(0.9), sure, sure)
    assert not is_close_up(MPII, 1000, upper_body(0.3), sure, doubtful)
    assert not is_close_up(MPII, 1000, upper_body(0.9), np.full(16, 0.8), doubtful)
    assert not is_close_up(MPII, 1000, upper_body(0.9), np.full(16, SEEN - 0.01), np.zeros(16))


def test_a_skeleton_without_ankles_or_upper_body_tells_no_close_ups() -> None:
    assert can_tell_close_ups(MPII)
    assert not can_tell_close_ups(Skeleton(("left_ankle", "right_ankle", "thorax"), ()))
    assert not can_tell_close_ups(Skeleton(tuple(name for name in MPII.joints if "ankle" not in name), ()))


def test_whoever_ends_at_the_photos_lower_edge_is_cut_off() -> None:
    assert is_cut_off(Box(0, 0, 50, 100), 100)
    assert is_cut_off(Box(0, 49, 50, 50), 100)
    assert not is_cut_off(Box(0, 40, 50, 50), 100)
