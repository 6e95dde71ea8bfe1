import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.photos.isobmff import IsoBox, brands, iso_boxes, item_extents, item_types

Encode = Callable[..., bytes]


def test_boxes_follow_each_other() -> None:
    file = (
        struct.pack(">I4s4s", 12, b"ftyp", b"abcd") + struct.pack(">I4sQ2s", 1, b"mdat", 18, b"xy") + b"\0\0\0\0rest1"
    )
    assert list(iso_boxes(file, 0, len(file))) == [
        IsoBox(b"ftyp", 8, 12),
        IsoBox(b"mdat", 28, 30),
        IsoBox(b"rest", 38, 39),
    ]
    assert list(iso_boxes(struct.pack(">I4s", 4, b"odd!"), 0, 8)) == []


def test_brands_are_those_of_the_first_box(encode: Encode) -> None:
    assert {b"avif", b"mif1", b"miaf"} <= brands(encode(Image.new("RGB", (8, 8)), "AVIF"))
    assert brands(b"\0\0\0\x14ftypheic\0\0\0\0mif1avif") == {b"heic", b"mif1"}
    assert brands(b"%PDF-1.7") == frozenset()


def test_items_of_an_avif_fill_its_data(encode: Encode) -> None:
    file = encode(Image.new("RGBA", (64, 64), (1, 2, 3, 4)), "AVIF", exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(300))
    tops = {box.kind: box for box in iso_boxes(file, 0, len(file))}
    inner = {box.kind: box for box in iso_boxes(file, tops[b"meta"].start + 4, tops[b"meta"].stop)}
    types = dict(item_types(file, inner[b"iinf"]))
    assert sorted(types.values()) == [b"Exif", b"av01", b"av01"]
    sizes = {item: size for item, _, size in item_extents(file, inner[b"iloc"])}
    assert set(sizes) == set(types)
    assert sum(sizes.values()) == tops[b"mdat"].stop - tops[b"mdat"].start
    assert next(sizes[item] for item, kind in types.items() if kind == b"Exif") > 300


@pytest.mark.parametrize("version", [0, 1, 2])
def test_every_version_of_locations_is_read(version: int) -> None:
    count, number = ("I", "I") if version == 2 else ("H", "H")
    method = "" if version == 0 else "H"
    index = "" if version == 0 else "B"
    box = struct.pack(f">BxxxBB{count}", version, 0x42, 0x80 if version == 0 else 0x81, 2)
    for item, lengths in ((7, (5, 6)), (9, (30,))):
        head = (item, *([0] if method else []), 0, 1234, len(lengths))
        box += struct.pack(f">{number}{method}HQH", *head)
        for length in lengths:
            box += struct.pack(f">{index}IH", *([1] if index else []), 99, length)
    assert list(item_extents(box, IsoBox(b"iloc", 0, len(box)))) == [(7, 2, 11), (9, 1, 30)]


@given(st.binary(max_size=60))
def test_any_bytes_end(data: bytes) -> None:
    for read in (item_types, item_extents):
        with suppress(struct.error, IndexError):
            assert len(list(read(data, IsoBox(b"any ", 0, len(data))))) <= len(data)
