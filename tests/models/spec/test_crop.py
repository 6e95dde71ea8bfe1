import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.spec.crop import OUTSIDE_COLOUR, PIXEL_MEAN, Box, Crop, cut

RED = (255, 0, 0)

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


def blob(size: tuple[int, int], centre: tuple[float, float], sigma: float) -> Image.Image:
    """A bright Gaussian on the colour of the outside, its centre in continuous photo coordinates."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]] + 0.5
    bump = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))
    outside = np.array(OUTSIDE_COLOUR)
    return Image.fromarray(np.rint(outside + (255 - outside) * bump[..., None]).astype(np.uint8))


def centroid(pixels: np.ndarray, crop: Crop) -> np.ndarray:
    """Where the blob is, through `Crop.to_photo`."""
    weight = np.clip(pixels[..., 0].astype(float) - OUTSIDE_COLOUR[0] - 2, 0, None)
    rows, columns = np.mgrid[0:224, 0:224]
    normalised = (2 * np.stack([columns, rows], -1) + 1) / 224 - 1
    return crop.to_photo((normalised * weight[..., None]).sum((0, 1)) / weight.sum())


@settings(max_examples=40, deadline=None)
@given(
    step=st.floats(0.1, 20),
    place=st.tuples(st.floats(-0.25, 0.25), st.floats(-0.25, 0.25)),
    size=st.tuples(st.integers(60, 900), st.integers(60, 900)),
)
@example(step=0.2, place=(0.0, 0.0), size=(100, 80))
@example(step=10.0, place=(0.25, -0.25), size=(300, 900))
def test_pixel_geometry_agrees_with_the_crops_map(
    step: float, place: tuple[float, float], size: tuple[int, int]
) -> None:
    """Shrinking, enlarging, and partly outside: a blob is found where it is, to 1/12 of a crop's pixel."""
    centre = (size[0] * 0.47, size[1] * 0.52)
    side = 224 * step
    sigma = min(max(4 * step, 1.5), min(size) / 9)
    if sigma < 2 * step:
        return  # a blob of less than two crop pixels is no measure
    crop = Crop(centre[0] - side * (0.5 + place[0]), centre[1] - side * (0.5 + place[1]), side)
    found = centroid(cut(blob(size, centre, sigma), crop, 224), crop)
    assert np.abs(found - centre).max() / step < max(1 / 12, 0.1 / step)


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((1000, 1000, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = cut(Image.fromarray(stripes), Crop(100, 100, 800), 224)
    assert np.abs(pixels.astype(int) - 127).max() <= 40


def test_what_lies_outside_has_the_outsides_colour() -> None:
    pixels = cut(Image.new("RGB", (100, 100), RED), Crop(-100, 0, 200), 224)
    assert (pixels[:, :110] == OUTSIDE_COLOUR).all()
    assert (pixels[4:110, 114:220] == RED).all()


@settings(max_examples=200, deadline=None)
@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    corner=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    lengths=st.tuples(st.floats(1e-300, 1e9), st.floats(1e-300, 1e9)),
)
def test_every_box_that_overlaps_gives_a_crop(
    size: tuple[int, int], corner: tuple[float, float], lengths: tuple[float, float]
) -> None:
    box = Box(corner[0] * size[0], corner[1] * size[1], *lengths)
    if not box.overlaps(*size):
        return
    pixels = cut(Image.new("RGB", size, RED), Crop.around(box), 224)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("size", [(1, 1), (10_000, 1), (1, 10_000), (1, 50_000_000), (50_000_000, 1)])
def test_thin_photos_and_huge_boxes_take_little_memory(size: tuple[int, int]) -> None:
    photo = Image.new("RGB", size, RED)
    tracemalloc.start()
    for crop in (Crop.whole(*size), Crop.around(Box(-5, -5, 1e9, 1e9)), Crop(-3000, -3000, 6000)):
        cut(photo, crop, 224)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_crop_beside_the_photo_has_the_outsides_colour() -> None:
    assert (cut(Image.new("RGB", (100, 100), RED), Crop(500, -900, 50), 64) == OUTSIDE_COLOUR).all()


@pytest.mark.parametrize("size", [32, 96, 256])
def test_the_size_of_a_cut_only_changes_its_resolution(size: int) -> None:
    photo = blob((300, 200), (140.0, 110.0), 20)
    crop = Crop(40, -20, 240)
    whole = cut(photo, crop, 2 * size).reshape(size, 2, size, 2, 3).mean((1, 3))
    assert np.abs(cut(photo, crop, size) - whole).max() < 6
