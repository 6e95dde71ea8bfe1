import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import Malformed, NotAnImage, ServiceError
from service.photos import limits as parts
from service.photos.decoding import FORMATS, decode
from service.photos.isobmff import iso_boxes
from service.photos.limits import MAX_CHUNKS, MAX_READS, MAX_SEGMENTS, MAX_STRIPS, Pieces, check_parts
from service.photos.work import MAX_SCANS

LIMIT = 50_000_000

Encode = Callable[..., bytes]


@pytest.fixture(scope="module")
def progressive(encode: Encode) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    return encode(Image.fromarray(noise), "JPEG", progressive=True)


def with_last_scan_repeated(jpeg: bytes, times: int) -> bytes:
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + last * times + jpeg[-2:]


def with_segments(jpeg: bytes, segment: bytes, times: int) -> bytes:
    return jpeg[:2] + segment * times + jpeg[2:]


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(order: str, width: int, height: int, rows: int, offsets: list[int], *more: tuple[int, int, int, int]) -> bytes:
    """Grey; a strip's offset counts from the pixels, which are as many zeros as the photo has pixels."""
    start = 8 + 2 + 12 * (9 + len(more)) + 4
    pixels = start + 4 * len(offsets)
    where = pixels + offsets[0] if len(offsets) == 1 else start
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 4, 1, 8), (259, 4, 1, 1), (262, 4, 1, 1)]
    entries += [(273, 4, len(offsets), where), (277, 4, 1, 1), (278, 4, 1, rows), (279, 4, 1, width * rows), *more]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    directory = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries) + bytes(4)
    places = struct.pack(f"{order}{len(offsets)}I", *(pixels + offset for offset in offsets))
    return head + directory + places + bytes(width * height)


def test_a_progressive_jpeg_has_few_scans(progressive: bytes) -> None:
    scans = progressive.count(b"\xff\xda")
    assert 5 < scans < MAX_SCANS // 2
    assert decode(with_last_scan_repeated(progressive, MAX_SCANS - scans), LIMIT).size == (60, 40)
    with pytest.raises(Malformed, match="the JPEG photo has at least 101 scans; the limit is 100"):
        decode(with_last_scan_repeated(progressive, MAX_SCANS - scans + 1), LIMIT)


def test_a_second_scan_where_libjpeg_reads_one_is_refused_without_counting(encode: Encode) -> None:
    grey = encode(Image.new("L", (60, 40)), "JPEG")
    scan = grey[grey.index(b"\xff\xda") : -2]
    with pytest.raises(Malformed, match="the JPEG photo cannot be decoded"):
        decode(grey[:-2] + scan * MAX_SCANS + grey[-2:], LIMIT)


def test_a_baseline_jpeg_of_a_scan_for_each_colour_has_few(encode: Encode) -> None:
    colours = encode(Image.new("RGB", (60, 40)), "JPEG")
    start = colours.index(b"\xff\xda")
    one_colour = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + colours[start + 14 : -2]
    with pytest.raises(Malformed, match="the JPEG photo has at least 101 scans; the limit is 100"):
        decode(colours[:start] + one_colour * (MAX_SCANS + 1) + colours[-2:], LIMIT)


@pytest.mark.parametrize("between", [b"\xff\xfe\0\4ab", b"\xff", b"\xff\xd3", b"\xff\1"])
def test_nothing_between_scans_hides_them(between: bytes, progressive: bytes) -> None:
    last = progressive[progressive.rindex(b"\xff\xda") : -2]
    with pytest.raises(Malformed, match="scans"):
        decode(progressive[:-2] + (between + last) * MAX_SCANS + progressive[-2:], LIMIT)


@pytest.mark.parametrize("marker", [b"\xff\xe5", b"\xff\xfe"])
def test_what_only_looks_like_scans_is_none(marker: bytes, progressive: bytes) -> None:
    thumbnails = marker + struct.pack(">H", 2 + 400) + b"\xff\xda" * 200
    assert decode(with_segments(progressive, thumbnails, 2), LIMIT).size == (60, 40)
    assert decode(progressive[:-2] + thumbnails + progressive[-2:] + b"\xff\xda" * 200, LIMIT).size == (60, 40)


@pytest.mark.parametrize("segment", [b"\xff\xfe\0\2", b"\xff\xe1\0\x0cExif\0\0II*\0", b"\xff\xd0", b"\xff\xf0"])
def test_a_jpeg_of_many_segments_is_refused(segment: bytes, progressive: bytes) -> None:
    assert decode(with_segments(progressive, b"\xff\xe1\0\4ab", 100), LIMIT).size == (60, 40)
    with pytest.raises(Malformed, match="the JPEG photo has at least 1,001 segments; the limit is 1,000"):
        decode(with_segments(progressive, segment, MAX_SEGMENTS), LIMIT)


def test_a_jpegs_profile_may_be_large_and_its_exif_may_not(progressive: bytes) -> None:
    body = bytes(65_535 - 2 - 6)
    assert decode(with_segments(progressive, b"\xff\xe2\xff\xff" + bytes(6) + body, 255), LIMIT).size == (60, 40)
    with pytest.raises(
        Malformed, match="2,162,655 bytes of EXIF, tables and Photoshop's notes; the limit is 2,097,152"
    ):
        decode(with_segments(progressive, b"\xff\xe1\xff\xffExif\0\0" + body, 40), LIMIT)


def test_a_jpegs_padding_is_bounded(progressive: bytes) -> None:
    assert decode(progressive[:20] + b"\xff" * 65_536 + progressive[20:], LIMIT).size == (60, 40)
    with pytest.raises(Malformed, match="262,145 pieces"):
        decode(progressive[:20] + b"\xff" * (MAX_READS + 1) + progressive[20:], LIMIT)


def test_a_png_of_many_chunks_is_refused(encode: Encode) -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8))
    png = encode(photo)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(photo)))
    small = b"".join(chunk(b"IDAT", pixels[i : i + 4]) for i in range(0, len(pixels), 4))
    assert small.count(b"IDAT") > 10_000
    read = decode(png[:33] + small + chunk(b"IEND"), LIMIT)
    np.testing.assert_array_equal(np.asarray(read)[..., 0], np.asarray(photo))
    for place in (33, len(png) - 12):
        with pytest.raises(Malformed, match="the PNG photo has at least 65,537 chunks; the limit is 65,536"):
            decode(png[:place] + chunk(b"prIv") * MAX_CHUNKS + png[place:], LIMIT)


def test_a_png_of_many_profiles_is_refused(encode: Encode) -> None:
    png = encode(Image.new("L", (8, 8)))
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**20)))
    assert decode(png[:33] + profile + png[33:], LIMIT).size == (8, 8)
    with pytest.raises(Malformed, match="the PNG photo has at least 9 colour profiles; the limit is 8"):
        decode(png[:33] + profile * 9 + png[33:], LIMIT)


@pytest.mark.parametrize("compression", [1, 2])
def test_a_bmp_in_run_lengths_is_refused(compression: int, encode: Encode) -> None:
    bmp = bytearray(encode(Image.new("P", (8, 8)), "BMP"))
    bmp[30] = compression
    with pytest.raises(NotAnImage, match="the BMP photo is packed in run lengths, which are not read"):
        decode(bytes(bmp), LIMIT)


def test_a_jpeg_in_arithmetic_code_is_not_said_to_be_broken(progressive: bytes) -> None:
    with pytest.raises(NotAnImage, match="the JPEG photo is arithmetic-coded or hierarchical"):
        decode(progressive.replace(b"\xff\xc2", b"\xff\xca"), LIMIT)


def test_a_large_jpeg_may_have_fewer_scans(encode: Encode) -> None:
    jpeg = encode(Image.new("L", (8192, 8192)), "JPEG", progressive=True)
    few, limit = with_last_scan_repeated(jpeg, 30), 2**26
    check_parts("JPEG", few, limit)
    many = with_last_scan_repeated(jpeg, 60)
    with pytest.raises(Malformed, match=r"the JPEG photo has at least (4|5)\d scans; the limit is (4|5)\d"):
        check_parts("JPEG", many, limit)
    check_parts("JPEG", many, 2 * limit)
    with pytest.raises(Malformed, match=r"scans; the limit is (1|2)\d"):  # to be decoded twice
        check_parts("JPEG", few[:-2], limit)


def avif(encode: Encode, **changes: Callable[[bytes], bytes]) -> bytes:
    """A small AVIF with the content of some boxes within its `meta` changed."""
    file = encode(Image.new("RGB", (64, 64)), "AVIF")
    head, meta, rest = (box for box in iso_boxes(file, 0, len(file)))
    inner = b""
    for box in iso_boxes(file, meta.start + 4, meta.stop):
        content = changes.get(box.kind.decode(), bytes)(file[box.start : box.stop])
        inner += struct.pack(">I4s", 8 + len(content), box.kind) + content
    whole = struct.pack(">I4s", 12 + len(inner), b"meta") + bytes(4) + inner
    return file[: head.stop] + whole + file[rest.start - 8 :]


def test_an_avif_of_many_items_is_refused(encode: Encode) -> None:
    check_parts("AVIF", avif(encode), LIMIT)
    entry = struct.pack(">I4sIHH4sx", 21, b"infe", 2 << 24, 9, 0, b"Exif")
    with pytest.raises(Malformed, match=r"the AVIF photo has at least 84,\d+ bytes on its items; the limit is 65,536"):
        decode(avif(encode, iinf=lambda content: content + entry * 4000), LIMIT)
    with pytest.raises(Malformed, match="the AVIF photo has at least 66,000 bytes on its frames; the limit is 65,536"):
        decode(avif(encode) + struct.pack(">I4s", 66_008, b"moov") + bytes(66_000), LIMIT)


def locations(*sizes: int, extents: int = 1) -> bytes:
    """An `iloc` box of items 1, 2, ... with extents of a size."""
    items = b"".join(
        struct.pack(">HHH", number, 0, extents) + struct.pack(">II", 0, size) * extents
        for number, size in enumerate(sizes, 1)
    )
    return bytes(4) + b"\x44\0" + struct.pack(">H", len(sizes)) + items


@pytest.mark.parametrize(
    ("iloc", "told"),
    [
        (locations(*[2**20] * 20), "bytes in its items; the limit is 1,048,576"),
        (locations(1, extents=1001), "1,001 extents of its items; the limit is 1,000"),
        (bytes(4) + b"\0\0" + struct.pack(">HHHH", 1, 1, 0, 65_535), "65,535 extents of its items"),
    ],
)
def test_an_avifs_items_share_few_bytes(iloc: bytes, told: str, encode: Encode) -> None:
    with pytest.raises(Malformed, match=told):
        decode(avif(encode, iloc=lambda _: iloc), LIMIT)


def test_an_avifs_exif_is_bounded(encode: Encode) -> None:
    exif = encode(Image.new("RGB", (64, 64)), "AVIF", exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(2**21))
    with pytest.raises(Malformed, match="bytes of EXIF; the limit is 2,097,152"):
        decode(exif, LIMIT)


def test_a_gif_of_many_blocks_is_refused(encode: Encode) -> None:
    gif = encode(Image.new("L", (8, 8)), "GIF")
    start = 13 + (3 << (gif[10] & 7) + 1)
    assert decode(gif[:start] + b"!\xff" + b"\1a" * 1000 + b"\0" + gif[start:], LIMIT).size == (8, 8)
    with pytest.raises(Malformed, match="the GIF photo has at least 262,145 pieces"):
        decode(gif[:start] + b"!\xff" + b"\1a" * (MAX_READS // 2) + b"\0" + gif[start:], LIMIT)


@pytest.mark.parametrize("order", "<>")
def test_a_tiff_of_many_strips_is_refused(order: str) -> None:
    assert decode(tiff(order, 2, 1000, 1, list(range(0, 2000, 2))), LIMIT).size == (2, 1000)
    count = MAX_STRIPS + 1
    with pytest.raises(Malformed, match="the TIFF photo has at least 65,537 strips or tiles; the limit is 65,536"):
        decode(tiff(order, 1, count, 1, list(range(count))), LIMIT)
    with pytest.raises(Malformed, match="65,537 strips or tiles"):
        decode(tiff(order, 1, 1, 1, [0], (324, 4, count, 0)), LIMIT)


def test_a_tiffs_directory_is_bounded() -> None:
    large = [(301, 3, 3 * 2**16, 8), (34675, 7, 2**20, 8)]
    assert decode(tiff("<", 4, 4, 4, [0], *large) + bytes(2**21), LIMIT).size == (4, 4)
    with pytest.raises(Malformed, match="numbers in its directory; the limit is 262,144"):
        decode(tiff("<", 4, 4, 4, [0], *[(tag, 5, 2**17, 0) for tag in (282, 283)]), LIMIT)
    with pytest.raises(Malformed, match="1,009 entries in its directory; the limit is 1,000"):
        decode(tiff("<", 4, 4, 4, [0], *[(tag, 4, 1, 0) for tag in range(1000, 2000)]), LIMIT)


def test_a_tiffs_strips_cover_the_photo_once() -> None:
    assert decode(tiff("<", 8, 8, 4, [0, 32]), LIMIT).size == (8, 8)
    assert decode(tiff("<", 8, 8, 4, [0, 0]), LIMIT).size == (8, 8)
    with pytest.raises(Malformed, match="at least 9 times its pixels in its strips or tiles; the limit is 8"):
        decode(tiff("<", 8, 8, 4, [0, 0] * 8 + [0]), LIMIT)


def test_a_tiffs_strips_share_no_bytes() -> None:
    with pytest.raises(Malformed, match="strips or tiles 1 bytes apart; they need at least 7,500"):
        decode(tiff("<", 60_000, 2, 1, [0, 1]), LIMIT)


@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_exif_too_large_to_look_at_is_passed_over(kind: str, encode: Encode) -> None:
    count = 2**18
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x112, 5, count, 26, 0) + b"\1\0\0\0\1\0\0\0" * count
    assert decode(encode(Image.new("L", (8, 8)), kind, exif=exif), LIMIT).size == (8, 8)


def test_a_photo_is_walked_in_the_time_of_a_search(astronaut: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_SEGMENTS", 20)  # none of them in the pixels
    monkeypatch.setattr(parts, "MAX_READS", 100)
    assert decode(astronaut, LIMIT).size == (512, 512)


def test_pieces_are_counted() -> None:
    file = Pieces(b"abc", "PNG")
    assert (file.read(1), file.read(), file.getvalue()) == (b"a", b"bc", b"abc")
    for _ in range(MAX_READS - 2):
        file.read(0)
    with pytest.raises(Malformed, match="the PNG photo has at least 262,145 pieces"):
        file.read(1)


@given(st.sampled_from(FORMATS), st.binary(max_size=200))
def test_any_bytes_are_walked(kind: str, data: bytes) -> None:
    heads = {"JPEG": b"\xff\xd8\xff", "TIFF": b"II*\0\x08\0\0\0", "AVIF": b"\0\0\0\x08meta\0\0\0\0"}
    for walked in (data, heads.get(kind, b"") + data):
        with suppress(Malformed):
            check_parts(kind, walked, LIMIT)


@settings(max_examples=200)
@given(
    st.sampled_from(["JPEG", "PNG", "GIF", "TIFF"]),
    st.floats(0, 1),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6),
)
def test_a_damaged_head_gives_pixels_or_a_clients_error(
    encode: Encode, kind: str, kept: float, damage: list[tuple[int, int]]
) -> None:
    strips = list(range(0, 24 * 40, 40))
    data = bytearray(tiff(">", 40, 24, 1, strips) if kind == "TIFF" else encode(Image.new("L", (40, 24)), kind))
    for place, byte in damage:
        data[min(place, len(data) - 1)] = byte
    with suppress(ServiceError):
        decode(bytes(data[: int(kept * len(data))]), 1_000_000)
