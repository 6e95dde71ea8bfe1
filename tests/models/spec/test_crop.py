import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.spec.crop import OUTSIDE_COLOUR, PIXEL_MEAN, Box, Crop

positions = st.floats(-2000, 2000)
lengths = st.floats(0.5, 4000)
boxes = st.builds(Box, positions, positions, lengths, lengths)


@given(boxes, st.lists(st.tuples(positions, positions), min_size=1, max_size=16))
def test_round_trip_from_photo_to_crop_and_back(box: Box, points: list[tuple[float, float]]) -> None:
    crop, photo = Crop.around(box), np.array(points)
    assert np.allclose(crop.to_photo(crop.from_photo(photo)), photo, atol=1e-6)


@given(boxes)
def test_crop_has_the_boxs_centre_and_a_margin(box: Box) -> None:
    crop = Crop.around(box)
    assert np.isclose(crop.side, 1.25 * max(box.width, box.height))
    assert np.allclose(crop.to_photo(np.zeros(2)), [box.x + box.width / 2, box.y + box.height / 2])


def test_corners_of_the_crop_are_the_corners_of_the_coordinates() -> None:
    crop = Crop(10, 20, 100)
    assert crop.to_photo(np.array([[-1, -1], [1, 1]])).tolist() == [[10, 20], [110, 120]]


def test_whole_photo_has_no_margin() -> None:
    assert Crop.whole(640, 480) == Crop(0, -80, 640)


def test_mpii_square_is_the_literatures() -> None:
    crop = Crop.from_mpii((300, 200), 1.6)
    assert np.isclose(crop.side, 1.25 * 200 * 1.6)
    assert np.allclose(crop.to_photo(np.zeros(2)), [300, 200 + 15 * 1.6])


def test_covariance_scales_with_the_square_of_the_side() -> None:
    assert Crop(5, 6, 56).covariance_to_photo(np.array([1.0, 0.5, 2.0])).tolist() == [784, 392, 1568]


def test_box_overlaps_when_any_part_is_inside() -> None:
    assert Box(-5, -5, 6, 6).overlaps(10, 10)
    assert not Box(-5, 0, 5, 5).overlaps(10, 10)
    assert not Box(10, 0, 5, 5).overlaps(10, 10)


def test_outside_colour_is_the_mean_that_normalisation_subtracts() -> None:
    assert tuple(round(255 * mean) for mean in PIXEL_MEAN) == OUTSIDE_COLOUR
