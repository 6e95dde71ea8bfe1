import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.spec.contract import SHIPPED_MODEL
from models.spec.crop import OUTSIDE_COLOUR, Box, Crop
from service.errors import BadOption
from service.inference.engine import OnnxEngine
from service.photos.crops import KeptPhotos, cut, prepare, recut
from service.photos.decoding import decode
from service.poses.options import LARGEST_BOX_PX
from service.settings import Settings
from tests.benchmarks.photos import large_photo, whole

LIMIT = 50_000_000
RED = (255, 0, 0)
KEPT = KeptPhotos(10**9)

Encode = Callable[..., bytes]


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
    found = centroid(cut(blob(size, centre, sigma), crop), crop)
    assert np.abs(found - centre).max() / step < max(1 / 12, 0.1 / step)


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((1000, 1000, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = cut(Image.fromarray(stripes), Crop(100, 100, 800))
    assert np.abs(pixels.astype(int) - 127).max() <= 40


def test_what_lies_outside_has_the_outsides_colour() -> None:
    pixels = cut(Image.new("RGB", (100, 100), RED), Crop(-100, 0, 200))
    assert (pixels[:, :110] == OUTSIDE_COLOUR).all()
    assert (pixels[4:110, 114:220] == RED).all()


@settings(max_examples=200, deadline=None)
@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    corner=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    lengths=st.tuples(st.floats(1e-300, LARGEST_BOX_PX), st.floats(1e-300, LARGEST_BOX_PX)),
)
def test_every_box_that_overlaps_gives_a_crop(
    size: tuple[int, int], corner: tuple[float, float], lengths: tuple[float, float]
) -> None:
    box = Box(corner[0] * size[0], corner[1] * size[1], *lengths)
    if not box.overlaps(*size):
        return
    pixels = cut(Image.new("RGB", size, RED), Crop.around(box))
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("size", [(1, 1), (10_000, 1), (1, 10_000), (1, LIMIT), (LIMIT, 1)])
def test_thin_photos_and_huge_boxes_take_little_memory(size: tuple[int, int]) -> None:
    photo = Image.new("RGB", size, RED)
    tracemalloc.start()
    for crop in (Crop.whole(*size), Crop.around(Box(-5, -5, 1e9, 1e9)), Crop(-3000, -3000, 6000)):
        cut(photo, crop)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_without_boxes_the_whole_photo_is_the_crop(encode: Encode) -> None:
    prepared = prepare(encode(Image.new("RGB", (40, 20), RED)), (), LIMIT)
    assert prepared.people == ((Box(0, 0, 40, 20), Crop(0, -10, 40)),)
    assert (prepared.pixels[0, 60:164, 4:220] == RED).all()


def test_a_box_outside_is_refused_by_index_and_size(encode: Encode) -> None:
    with pytest.raises(BadOption, match=r"box 1, \[40, 0, 5, 5\], lies outside the photo of 40 x 20 pixels"):
        prepare(encode(Image.new("RGB", (40, 20))), (Box(-5, -5, 6, 6), Box(40, 0, 5, 5)), LIMIT)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("size", [(1600, 1200), (1601, 1203)])
def test_a_reduced_jpeg_gives_the_crop_of_the_full_one(orientation: int, size: tuple[int, int], encode: Encode) -> None:
    """A blob is found where it is, whether libjpeg has shrunk the photo or not, and whichever way it is turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = blob(size, (size[0] * 0.6, size[1] * 0.3), 40)
    jpeg = encode(stored, "JPEG", quality=95, exif=exif)
    full = prepare(encode(decode(jpeg, LIMIT), "PNG"), (), LIMIT)
    reduced = prepare(jpeg, (), LIMIT)
    assert reduced.people == full.people
    ((_, crop),) = full.people
    moved = centroid(reduced.pixels[0], crop) - centroid(full.pixels[0], crop)
    assert np.abs(moved).max() < 0.1 * crop.side / 224


def test_a_second_look_at_a_large_jpeg_is_as_sharp_as_a_first(encode: Encode) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    jpeg = encode(Image.fromarray(noise).resize((1600, 1200)), "JPEG")
    first = prepare(jpeg, (), LIMIT, keep=KEPT.keep)
    assert first.photo is not None
    for box in (Box(100, 100, 900, 900), Box(100, 100, 300, 300)):
        second = recut(jpeg, first, [Crop.around(box)], LIMIT, KEPT.keep)
        wanted = prepare(jpeg, (box,), LIMIT)
        assert np.abs(second.pixels.astype(int) - wanted.pixels).mean() < 3
        assert second.photo is not None


def test_photos_are_kept_as_long_as_there_is_room_and_decoded_again_otherwise(encode: Encode) -> None:
    png = encode(Image.new("RGB", (1100, 1000), RED))
    room = KeptPhotos(10_000_000)
    first, second = prepare(png, (), LIMIT, room.keep), prepare(png, (), LIMIT, room.keep)
    third = prepare(png, (), LIMIT, room.keep)
    assert first.photo is not None and second.photo is not None
    assert third.photo is None
    again = recut(png, third, [Crop(50, 50, 500)], LIMIT, room.keep)
    assert (again.pixels == RED).all()
    assert again.photo is None
    closer = recut(png, second, [Crop(50, 50, 500)], LIMIT, room.keep)
    assert closer.photo is second.photo
    del first
    assert recut(png, third, [Crop(50, 50, 500)], LIMIT, room.keep).photo is not None


@pytest.mark.slow
@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model file is not here")
def test_joints_of_a_12_megapixel_photo_do_not_depend_on_its_reduction() -> None:
    photo = whole(large_photo())
    reduced = prepare(photo.data, photo.boxes, LIMIT)
    full = cut(decode(photo.data, LIMIT), reduced.crops[0])
    engine = OnnxEngine(Settings(precision="fp32"))  # int8 itself moves what lies in either of two places
    found, wanted = engine.run(reduced.pixels), engine.run(full[None])
    assert (reduced.width, reduced.height) == (4000, 3000)
    assert np.linalg.norm(found.coordinates - wanted.coordinates, axis=-1).max() * 112 < 1
