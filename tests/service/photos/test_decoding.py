import io
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.spec.crop import OUTSIDE_COLOUR, Crop, CropRule
from service.errors import Malformed, NotAnImage, ServiceError, TooLarge
from service.photos import decoding
from service.photos.crops import KeptPhotos, PhotoSource
from service.photos.decoding import FAITHFUL, FORMATS, SHARP, PhotoFile, decode
from service.photos.limits import png_chunks
from service.settings import Settings
from tests.service.photos.test_limits import chunk

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


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_few_bits_in_16_are_stretched(bits: int, encode: Encode) -> None:
    grey = (np.array([[0.2, 0.4, 0.6, 1.0]]) * (2**bits - 1)).astype(np.uint16)
    wanted = np.asarray(decode(encode(Image.fromarray(grey.astype(np.int32)), "TIFF"), LIMIT))
    for kind in ("PNG", "TIFF"):
        read = np.asarray(decode(encode(Image.fromarray(grey), kind), LIMIT))
        np.testing.assert_array_equal(read, wanted)
        assert read[0, :, 0].tolist() in ([0, 64, 128, 255], [0, 63, 127, 255], [0, 64, 127, 255])


def test_a_cmyk_jpeg_is_no_negative_with_or_without_adobes_marker(encode: Encode) -> None:
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 3] = 200  # nearly black
    jpeg = encode(Image.fromarray(ink, "CMYK"), "JPEG", quality=95)
    start = jpeg.index(b"\xff\xee")
    assert jpeg[start + 4 : start + 9] == b"Adobe"
    length = 2 + int.from_bytes(jpeg[start + 2 : start + 4])
    # Without the marker, its values mean what they say: ink, and not what is left of the paper.
    bare = jpeg[:start] + jpeg[start + length :]
    assert np.asarray(decode(jpeg, LIMIT)).max() < 70
    assert np.asarray(decode(bare, LIMIT)).min() < 10  # full ink of the other three, with little black
    plain = encode(Image.fromarray(255 - ink, "CMYK"), "JPEG", quality=95)
    plain = plain[:start] + plain[start + length :]
    assert np.asarray(decode(plain, LIMIT)).max() < 70


def test_what_is_transparent_has_the_outsides_colour(encode: Encode) -> None:
    photo = Image.new("RGBA", (2, 1), (*RED, 0))
    photo.putpixel((1, 0), (*RED, 255))
    assert np.asarray(decode(encode(photo), LIMIT)).tolist() == [[list(OUTSIDE_COLOUR), list(RED)]]


def test_a_large_photo_is_converted_as_a_small_one_is(encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 30, 4), np.uint8)
    modes = [Image.fromarray(values), Image.fromarray(values, "CMYK"), Image.fromarray(values[..., 0] * 3.5 - 100.0)]
    whole = [np.asarray(decode(encode(photo, "TIFF"), LIMIT)) for photo in modes]
    monkeypatch.setattr("service.photos.colours._BAND_PIXELS", 100)
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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "TIFF", "AVIF"])
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
    with pytest.raises(NotAnImage, match="JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF"):
        decode(encode(Image.new("RGB", (2, 2)), "PPM"), LIMIT)
    with pytest.raises(Malformed, match="empty"):
        decode(b"", LIMIT)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_malformed(kind: str, encode: Encode) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    whole = encode(Image.fromarray(noise), kind)
    for kept in (0.5, 0.9):
        with pytest.raises(Malformed, match=f"the {kind} photo (is truncated|cannot be decoded): "):
            decode(whole[: int(len(whole) * kept)], LIMIT)


def noise_png(**options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((512, 512), 80).save(file, "PNG", **options)
    return file.getvalue()


def test_a_png_without_one_of_its_chunks_is_malformed() -> None:
    png = noise_png()
    chunks = [(kind, start, stop) for kind, start, stop in png_chunks(png) if kind == b"IDAT"]
    assert len(chunks) > 3
    for _, start, stop in chunks:
        with pytest.raises(Malformed, match="the PNG photo"):
            decode(png[:start] + png[stop:], LIMIT)


def test_a_flipped_byte_of_a_png_is_malformed() -> None:
    png = noise_png()
    for place in range(45, len(png), 10_007):
        with pytest.raises(Malformed, match=r"is damaged: its chunk 'I[DE][AN][TD]' at byte \S+ has a wrong checksum"):
            decode(png[:place] + bytes([png[place] ^ 1]) + png[place + 1 :], LIMIT)


def test_an_interlaced_png_that_ends_early_is_said_to() -> None:
    rows = [row for width in (1, 1, 1) for row in [bytes(1 + width)]]
    pixels = zlib.compress(b"".join(rows))
    header = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 1)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND")
    with pytest.raises(Malformed, match="the PNG photo is truncated: image file is truncated"):
        decode(png, LIMIT)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 95, "subsampling": 0}])
def test_a_jpeg_that_lacks_only_its_end_is_read(options: dict[str, object], encode: Encode) -> None:
    values = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    jpeg = encode(Image.fromarray(values).resize((1200, 900), Image.Resampling.BICUBIC), "JPEG", **options)
    for lacking in (1, 2):
        short = jpeg[:-lacking]
        assert decode(short, LIMIT).tobytes() == decode(jpeg, LIMIT).tobytes()
        assert PhotoFile.open(short, LIMIT).decode(1e9).pixels.tobytes() == (
            PhotoFile.open(jpeg, LIMIT).decode(1e9).pixels.tobytes()
        )
    stuffed = len(jpeg) - 1 - jpeg.rindex(b"\xff\0")  # so that it ends in half a marker
    for lacking in (3, 4, 30, 1000, len(jpeg) // 2, stuffed):
        with pytest.raises(Malformed, match="the JPEG photo is truncated: its last pixels are missing"):
            decode(jpeg[:-lacking], LIMIT)


def test_a_progressive_jpeg_that_ends_between_two_scans_is_malformed(encode: Encode) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    jpeg = encode(Image.fromarray(values), "JPEG", progressive=True)
    tables = [found.start() for found in re.finditer(b"\xff\xc4", jpeg)]
    for place in (tables[-1], tables[-1] + 1, tables[-1] + 8, tables[-2]):
        with pytest.raises(Malformed, match="the JPEG photo is truncated"):
            decode(jpeg[:place], LIMIT)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_gif_frame_larger_than_its_canvas_is_refused_by_our_limit(encode: Encode) -> None:
    gif = bytearray(encode(Image.new("L", (8, 8)), "GIF"))
    frame = gif.index(b",", 13 + (3 << (gif[10] & 7) + 1))
    gif[frame + 5 : frame + 9] = struct.pack("<HH", 10_000, 9_000)
    with pytest.raises(TooLarge, match="10000 x 9000 = 90,000,000 pixels; the limit is 50,000,000"):
        decode(bytes(gif), LIMIT)
    gif[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(TooLarge, match="more than 178,956,970 pixels; the limit is 50,000,000"):
        decode(bytes(gif), LIMIT)


@pytest.mark.parametrize("kind", ["BMP", "PNG"])
def test_a_side_is_bounded(kind: str, encode: Encode) -> None:
    assert decode(encode(Image.new("1", (65_535, 1)), kind), LIMIT).size == (65_535, 1)
    with pytest.raises(TooLarge, match="65536 x 1 pixels; the limit of a side is 65,535"):
        decode(encode(Image.new("1", (65_536, 1)), kind), LIMIT)


def test_by_default_phones_photos_fit_and_larger_ones_by_setting(encode: Encode) -> None:
    for size in ((8160, 6144), (8192, 8192)):
        photo = PhotoFile.open(encode(Image.new("L", size), "JPEG"), Settings().max_pixels)
        assert (photo.width, photo.height) == size
    large = encode(Image.new("L", (12_000, 9_000)), "JPEG")
    with pytest.raises(TooLarge, match="108,000,000 pixels; the limit is 67,108,864"):
        decode(large, Settings().max_pixels)
    assert PhotoFile.open(large, Settings(max_pixels=108_000_000).max_pixels).decode(1e9).width == 12_000


def test_heic_is_read_as_people_see_it() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    upright = Image.new("RGB", (96, 64), (0, 0, 0))
    upright.paste(RED, (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    pillow_heif.from_pillow(upright.transpose(Image.Transpose.ROTATE_90)).save(file, exif=exif.tobytes())
    photo = decode(file.getvalue(), LIMIT)
    assert photo.size == (96, 64)
    assert photo.getpixel((8, 8))[0] > 150
    assert photo.getpixel((80, 50))[0] < 60


def test_without_its_extra_heic_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(decoding._OPENERS, "HEIC", raising=False)
    with pytest.raises(
        NotAnImage, match='the file is HEIC, which is not read: the operator may install the extra "heif"'
    ):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), LIMIT)


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
