import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.spec.crop import OUTSIDE_COLOUR, Crop, CropRule
from service.errors import Malformed, NotAnImage, ServiceError, TooLarge
from service.photos.crops import KeptPhotos, PhotoSource
from service.photos.decoding import FAITHFUL, FORMATS, SHARP, PhotoFile, decode

LIMIT = 50_000_000
RED = (255, 0, 0)

Encode = Callable[..., bytes]


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


def test_a_large_photo_is_converted_as_a_small_one_is(encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 30, 4), np.uint8)
    modes = [Image.fromarray(values), Image.fromarray(values, "CMYK"), Image.fromarray(values[..., 0] * 3.5 - 100.0)]
    whole = [np.asarray(decode(encode(photo, "TIFF"), LIMIT)) for photo in modes]
    monkeypatch.setattr("service.photos.decoding._BAND_PIXELS", 100)
    for photo, wanted in zip(modes, whole, strict=True):
        np.testing.assert_array_equal(np.asarray(decode(encode(photo, "TIFF"), LIMIT)), wanted)


@pytest.mark.parametrize("mode", ["RGBA", "P", "F"])
def test_two_pictures_are_the_most_that_are_in_memory(mode: str, encode: Encode, tmp_path: Path) -> None:
    photo = Image.new("L", (3000, 3000)).convert("RGB" if mode == "P" else "L").convert(mode)
    file = tmp_path / "photo"
    file.write_bytes(encode(photo, "TIFF" if mode == "F" else "PNG", **({"transparency": 0} if mode == "P" else {})))
    program = f"""
from service.photos.decoding import decode
from service.host import peak_resident_bytes
data, before = open({str(file)!r}, "rb").read(), peak_resident_bytes()
decode(data, 10**8)
print(peak_resident_bytes() - before)
"""
    added = float(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
    assert added < 10 * 3000 * 3000


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
    broken = bytes(data[: int(kept * len(data))])
    try:
        photo = decode(broken, 1_000_000)
        source = PhotoSource(broken, CropRule(), 1_000_000, KeptPhotos(1e9))
        source.cut([Crop.whole(source.width, source.height)], is_last=False)
    except ServiceError as error:
        assert 400 <= error.status < 500
    else:
        assert photo.mode == "RGB"
        assert photo.size == (source.width, source.height)


@pytest.mark.parametrize(
    ("kind", "step", "size", "reduction"),
    [
        ("JPEG", 0, (1600, 1200), 1),
        ("JPEG", 1.99 * SHARP, (1600, 1200), 1),
        ("JPEG", 2 * SHARP, (800, 600), 2),
        ("JPEG", 3.99 * FAITHFUL, (800, 600), 2),
        ("JPEG", 7.99 * FAITHFUL, (400, 300), 4),
        ("JPEG", 1e9, (200, 150), 8),
        ("PNG", 1e9, (1600, 1200), 1),
    ],
)
def test_a_jpeg_is_decoded_no_larger_than_needed(
    kind: str, step: float, size: tuple[int, int], reduction: int, encode: Encode
) -> None:
    photo = PhotoFile.open(encode(Image.new("RGB", (1600, 1200), RED), kind), LIMIT).decode(step)
    assert (photo.pixels.size, photo.reduction, photo.width, photo.height) == (size, reduction, 1600, 1200)


def test_a_turned_jpeg_is_reduced_only_to_whole_pixels(encode: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = PhotoFile.open(encode(Image.new("RGB", (1604, 1202)), "JPEG", exif=exif), LIMIT).decode(1e9)
    assert (photo.pixels.size, photo.reduction, photo.width, photo.height) == ((601, 802), 2, 1202, 1604)


def test_a_thin_jpeg_keeps_a_pixel(encode: Encode) -> None:
    photo = PhotoFile.open(encode(Image.new("RGB", (5000, 3)), "JPEG"), LIMIT).decode(20)
    assert photo.pixels.size == (2500, 2)
