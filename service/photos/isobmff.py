"""ISO base media files (AVIF, HEIC, MP4): a file of boxes, and where a photo's bytes lie in it."""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_ITEM_BYTES: Final = {0: (2, 4), 1: (2, 6), 2: (4, 8)}
"""By version of an `iloc` box: the bytes of an item's number, and of all that stands before its base offset."""


class IsoBox(NamedTuple):
    """A box: its kind, and where its content begins and, as the box says, ends."""

    kind: bytes
    start: int
    stop: int


def iso_boxes(data: bytes, start: int, stop: int) -> Iterator[IsoBox]:
    """The boxes between two places, one after the other, until one makes no sense.

    Raises:
        struct.error: The last one's head runs off the file's end.
    """
    while start + 8 <= stop:
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        elif size == 0:
            size = stop - start
        if size < head:
            return
        yield IsoBox(kind, start + head, start + size)
        start += size


def brands(data: bytes) -> frozenset[bytes]:
    """The brands that a file's first box claims; none where it is no `ftyp`."""
    if data[4:8] != b"ftyp":
        return frozenset()
    stop = min(int.from_bytes(data[:4]), 256, len(data))
    return frozenset({data[8:12], *(data[place : place + 4] for place in range(16, stop - 3, 4))})


def item_types(data: bytes, iinf: IsoBox) -> Iterator[tuple[int, bytes]]:
    """Number and type (`av01`, `hvc1`, `grid`, `Exif`) of each item in an `iinf` box.

    Raises:
        struct.error: The box runs off the file's end.
    """
    count_bytes = 4 if data[iinf.start] else 2
    for box in iso_boxes(data, iinf.start + 4 + count_bytes, iinf.stop):
        yield struct.unpack_from(">Hxx4s" if data[box.start] < 3 else ">Ixx4s", data, box.start + 4)


def item_extents(data: bytes, iloc: IsoBox) -> Iterator[tuple[int, int, int]]:
    """Number of each item in an `iloc` box, how many extents it has and of how many bytes, all together.

    Raises:
        struct.error: The box runs off the file's end, or is of a version that nobody writes.
    """
    version, sizes = struct.unpack_from(">BxxxH", data, iloc.start)
    if version not in _ITEM_BYTES:
        raise struct.error(f"iloc version {version}")
    number_bytes, head_bytes = _ITEM_BYTES[version]
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    extent = offset + length + (index if version else 0)
    (items,) = struct.unpack_from(">I" if version == 2 else ">H", data, iloc.start + 6)
    place = iloc.start + (10 if version == 2 else 8)
    for _ in range(items):
        item = int.from_bytes(data[place : place + number_bytes])
        place += head_bytes + base + 2
        (extents,) = struct.unpack_from(">H", data, place - 2)
        ends = [place + extent * (1 + i) for i in range(extents)] if extent else []
        if place + extent * extents > iloc.stop:
            return
        yield item, extents, sum(int.from_bytes(data[end - length : end]) for end in ends)
        place += extent * extents
