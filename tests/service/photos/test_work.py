import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from service.errors import Malformed, TooLarge
from service.photos.decoding import PhotoFile
from service.photos.work import LEAST_NS, MAX_SCANS, NS_PER_PIXEL, limit_ns, most_scans
from tests.service.photos.test_limits import chunk, tiff

LIMIT = 2**26

Encode = Callable[..., bytes]


def png(width: int, height: int, depth: int, colour: int, interlaced: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    exif = chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0")  # so that nobody looks for it behind the pixels
    pixels = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + exif + pixels + chunk(b"IEND")


def test_the_limit_grows_with_the_pixels() -> None:
    assert limit_ns(2**26) == NS_PER_PIXEL * 2**26 < 2.1e9
    assert limit_ns(1000) == LEAST_NS
    assert limit_ns(2**27) == 2 * limit_ns(2**26)


def test_scans_are_bounded_by_what_they_take() -> None:
    assert most_scans(1000, 1000, LIMIT) == most_scans(0, 0, LIMIT) == MAX_SCANS
    assert most_scans(2**26, 2**25, LIMIT) >= 10  # what libjpeg makes, in the largest file
    assert most_scans(2**26, 2**20, LIMIT) > most_scans(2**26, 2**25, LIMIT)
    assert most_scans(2**26, 2**20, LIMIT, decodings=2) < most_scans(2**26, 2**20, LIMIT) / 2
    assert most_scans(2**26, 2**25, 1) == 1


@pytest.mark.parametrize(
    ("depth", "colour", "interlaced", "is_read"),
    [(8, 2, 0, True), (8, 2, 1, True), (16, 0, 0, True), (8, 4, 0, True), (8, 6, 0, False), (16, 2, 0, False)],
)
def test_pngs_of_many_bytes_a_pixel_may_have_fewer_pixels(
    depth: int, colour: int, interlaced: int, is_read: bool
) -> None:
    if is_read:
        assert PhotoFile.open(png(8192, 8192, depth, colour, interlaced), LIMIT).width == 8192
    else:
        with pytest.raises(
            TooLarge, match=r"the PNG photo, 8192 x 8192 pixels in .* would take about \d.\d s to decode"
        ):
            PhotoFile.open(png(8192, 8192, depth, colour, interlaced), LIMIT)
    assert PhotoFile.open(png(6000, 4500, depth, colour, interlaced), LIMIT).width == 6000


@pytest.mark.parametrize("kind", ["WebP", "AVIF"])
def test_files_of_many_bytes_are_refused(kind: str, encode: Encode) -> None:
    photo = encode(Image.new("RGB", (64, 64)), kind)
    junk = b"junk" + struct.pack("<I", 30_000_000) if kind == "WebP" else struct.pack(">I4s", 30_000_008, b"free")
    large = photo + junk + bytes(30_000_000)
    if kind == "WebP":
        large = large[:4] + struct.pack("<I", len(large) - 8) + large[8:]
    with pytest.raises(TooLarge, match=f"the {kind} photo, 64 x 64 pixels in 30,.* bytes, would take about"):
        PhotoFile.open(large, LIMIT)


def test_a_tiffs_tiles_are_no_larger_than_need_be() -> None:
    def tiled(side: int) -> bytes:
        tiles = [(322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, 0), (325, 4, 1, 16)]
        return tiff("<", 16, 16, 16, [0], *tiles).replace(
            struct.pack("<HHII", 259, 4, 1, 1), struct.pack("<HHII", 259, 4, 1, 8)
        )

    assert PhotoFile.open(tiled(4096), LIMIT).width == 16
    with pytest.raises(TooLarge, match=r"the TIFF photo, 16 x 16 pixels in \S+ bytes, would take about"):
        PhotoFile.open(tiled(65_520), LIMIT)


def test_a_tiffs_jpegs_have_few_scans(encode: Encode) -> None:
    photo = encode(Image.new("RGB", (8000, 4000)), "TIFF", compression="jpeg")
    assert PhotoFile.open(photo, LIMIT).width == 8000
    with pytest.raises(TooLarge, match="the TIFF photo, 8000 x 4000 pixels"):
        PhotoFile.open(photo + b"\xff\xda" * 50_000, LIMIT)


def test_what_a_header_does_not_say_is_malformed() -> None:
    photo = tiff("<", 16, 16, 16, [0], (322, 2, 4, 0), (323, 4, 1, 16), (324, 4, 1, 0))
    with pytest.raises(Malformed, match="the TIFF photo cannot be decoded"):
        PhotoFile.open(photo, LIMIT)
