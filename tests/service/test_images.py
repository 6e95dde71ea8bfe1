import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.crop import OUTSIDE_COLOUR, Box, Crop
from service.images import FORMATS, cut, decode, prepare
from service.options import LARGEST_BOX_PX
from service.problems import BadOption, Malformed, NotAnImage, ServiceError, TooLarge

LIMIT = 50_000_000
RED = (255, 0, 0)

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


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(kind: str, encode: Encode) -> None:
    assert decode(encode(Image.new("RGB", (30, 20), RED), kind), LIMIT).size == (30, 20)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "F"])
def test_every_mode_becomes_rgb(mode: str, encode: Encode) -> None:
    white = Image.new("L", (8, 8), 255)
    if mode in ("I;16", "F"):
        photo = Image.fromarray(np.linspace(0, 65535, 64).reshape(8, 8).astype("<u2" if mode == "I;16" else "f4"))
    else:
        photo = (white.convert("RGB") if mode in ("CMYK", "P") else white).convert(mode)
    pixels = np.asarray(decode(encode(photo, "TIFF" if mode in ("CMYK", "F") else "PNG"), LIMIT))
    assert pixels.shape == (8, 8, 3)
    assert pixels.max() >= 254


def test_16_bits_are_scaled_rather_than_clipped(encode: Encode) -> None:
    grey = np.array([[0, 257, 32768, 65535]], np.uint16)
    assert np.asarray(decode(encode(Image.fromarray(grey)), LIMIT))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_what_is_transparent_has_the_outsides_colour(encode: Encode) -> None:
    photo = Image.new("RGBA", (2, 1), (*RED, 0))
    photo.putpixel((1, 0), (*RED, 255))
    assert np.asarray(decode(encode(photo), LIMIT)).tolist() == [[list(OUTSIDE_COLOUR), list(RED)]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_once(kind: str, orientation: int, encode: Encode) -> None:
    upright = Image.new("RGB", (48, 32), (0, 0, 0))
    upright.paste(RED, (0, 0, 16, 16))
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the inverse of what a reader must do
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(turns[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = decode(encode(stored, kind, exif=exif), LIMIT)
    assert photo.size == (48, 32)
    assert photo.getpixel((5, 5))[0] > 200
    assert photo.getpixel((40, 25))[0] < 60


def test_the_size_is_refused_from_the_header(encode: Encode) -> None:
    header = encode(Image.new("1", (20_000, 20_000)))
    with pytest.raises(TooLarge, match="20000 x 20000 = 400,000,000 pixels; the limit is 50,000,000"):
        decode(header[:100], LIMIT)


def test_other_bytes_are_not_an_image(encode: Encode) -> None:
    with pytest.raises(NotAnImage, match="JPEG, PNG, WebP, GIF, TIFF, BMP"):
        decode(encode(Image.new("RGB", (2, 2)), "PPM"), LIMIT)
    with pytest.raises(Malformed, match="empty"):
        decode(b"", LIMIT)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_malformed(kind: str, encode: Encode) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    whole = encode(Image.fromarray(noise), kind)
    with pytest.raises(Malformed, match=f"the {kind} photo is truncated or broken: "):
        decode(whole[: len(whole) // 2], LIMIT)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FORMATS), st.floats(0, 1), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6))
def test_a_broken_file_gives_pixels_or_a_clients_error(
    encode: Encode, kind: str, kept: float, damage: list[tuple[float, int]]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    data = bytearray(encode(Image.fromarray(noise), kind))
    for place, byte in damage:
        data[int(place * (len(data) - 1))] = byte
    try:
        photo = decode(bytes(data[: int(kept * len(data))]), 1_000_000)
    except ServiceError as error:
        assert 400 <= error.status < 500
    else:
        assert photo.mode == "RGB"
