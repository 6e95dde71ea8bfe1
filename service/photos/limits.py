"""Of how many parts a photo's file is made, so that a few bytes cannot keep a decoder busy for hours.

Decoders read parts one by one, and formats limit neither how many there are nor how often they give the same pixels.
`check_parts` checks the file before a decoder reads it, `check_tiles` what Pillow would decode, and `Pieces` counts
what is left: the steps in which the file is read.
"""

import io
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any, Final

from PIL import Image

from service.errors import Malformed, NotAnImage
from service.photos.isobmff import IsoBox, iso_boxes, item_extents, item_types
from service.photos.work import most_scans

MAX_SEGMENTS: Final = 1000
"""Segments of a JPEG, or entries of a TIFF's directory: 512 segments, as long as they get, fill 32 MiB."""

MAX_PARSED_BYTES: Final = 2**21
"""EXIF and all else that Pillow takes apart in a header, up to 1 us a byte; a segment, the usual EXIF, has 64 KiB."""

MAX_STRIPS: Final = 2**16
"""Strips, or tiles, of a TIFF: Pillow takes 7 us and 300 bytes for each, and a row in each makes the tallest JPEG."""

MAX_NUMBERS: Final = 2**18
"""Numbers in a TIFF's directory, up to 4 us each: a transfer function for 16 bits has 196,608."""

MAX_COVERS: Final = 8
"""How often a TIFF's strips may cover the photo: colours that are stored one after another do so up to 5 times."""

MAX_READS: Final = 2**18
"""Reads of a file, 1 us each: a PNG's chunk takes 2 or 3, and libpng's chunks of 8 KiB make 32 MiB in 4,096."""

MAX_CHUNKS: Final = 2**16
"""Chunks of a PNG: libpng's pixels, 8 KiB in each, make 32 MiB in 4,096."""

MAX_PROFILES: Final = 8
"""Colour profiles of a PNG, which may have one: Pillow unpacks each, up to a megabyte, in 5 ms."""

MAX_TABLES_BYTES: Final = 2**16
"""What an AVIF or a HEIC says of its items and frames: libavif compares each item with all others before it."""

MAX_PROPERTIES_BYTES: Final = 2**21
"""An AVIF's or a HEIC's properties and small data: colour profiles, for the most part."""

JPEG_END: Final = b"\xff\xd9"

_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
_JPEG_MARKER_AFTER_SCAN: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # restarts are part of a scan
_JPEG_BARE: Final = frozenset((*range(0xC0), 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))  # markers without a length
_EOI, _SOS, _APP0, _APP1, _APP13 = 0xD9, 0xDA, 0xE0, 0xE1, 0xED
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # they begin with depth, height and width
_PROGRESSIVE = 0xC2
_JPEG_FRAMES_READ: Final = frozenset(range(0xC0, 0xC4))  # neither hierarchical nor arithmetic-coded

_BMP_RUN_LENGTHS: Final = (1, 2)

_TIFF_BYTES: Final = (1, 2, 7)  # types that Pillow leaves as they are: BYTE, ASCII, UNDEFINED
_TIFF_OFFSETS: Final = (273, 324)  # of strips and of tiles


class Pieces(io.BytesIO):
    """A photo's file that is read in no more than `MAX_READS` pieces.

    Args:
        data: The whole file.
        name: Its format.
    """

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._name, self._reads = name, 0

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes.

        Raises:
            Malformed: There were too many reads before.
        """
        self._reads += 1
        _limit(self._name, self._reads, MAX_READS, "pieces to read, some for each segment, chunk or block")
        return super().read(size)


def check_parts(name: str, data: bytes, max_pixels: int) -> None:
    """Refuse a file of more parts than any encoder makes, or of parts that are not read.

    What is broken, or runs off the file's end, is left to the decoder.

    Args:
        name: The file's format, as in `decoding.FORMATS`.
        data: The whole file.
        max_pixels: Most pixels that a photo may have.

    Raises:
        Malformed: A count is above its limit.
        NotAnImage: The file is encoded in a way that is not read: run lengths, arithmetic codes.
    """
    with suppress(struct.error, IndexError):  # off the end
        if name == "JPEG":
            _check_jpeg(data, max_pixels)
        elif name == "PNG":
            _check_png(data)
        elif name == "TIFF":
            _check_tiff(data)
        elif name == "BMP":
            _check_bmp(data)
        elif name in ("AVIF", "HEIC"):
            _check_iso(name, data)


def check_tiles(name: str, image: Image.Image) -> None:
    """Refuse a photo whose parts give the same pixels again and again, or share bytes.

    Pillow reads a part in steps as long as the way to where the next begins, and copies what it has at each step.

    Args:
        name: The file's format.
        image: Opened by Pillow and not yet decoded.

    Raises:
        Malformed: The strips or tiles cover the photo more than `MAX_COVERS` times, or lie too close together.
    """
    tiles: list[tuple[Any, ...]] = sorted(getattr(image, "tile", ()), key=lambda tile: tile[2])
    if len(tiles) < 2:
        return
    areas = [max(0, right - left) * max(0, bottom - top) for _, (left, top, right, bottom), *_ in tiles]
    covers = -(-sum(areas) // max(1, image.width * image.height))
    _limit(name, covers, MAX_COVERS, "times its pixels in its strips or tiles")
    for area, (tile, following) in zip(areas, pairwise(tiles), strict=False):
        distance, least = following[2] - tile[2], area // 8  # at 1 bit a pixel
        if 0 < distance < least:
            raise Malformed(
                f"the {name} photo has strips or tiles {distance} bytes apart; they need at least {least:,}"
            )


def _limit(name: str, count: int, limit: int, of_what: str) -> None:
    if count > limit:
        raise Malformed(f"the {name} photo has at least {count:,} {of_what}; the limit is {limit:,}")


def _check_jpeg(data: bytes, max_pixels: int) -> None:
    """Walk as Pillow does up to the first scan."""
    place, segments, pixels, parsed, components, is_progressive = 2, 0, 0, 0, 0, False
    while marker := _JPEG_MARKER.search(data, place):
        place = marker.end()
        code = data[place - 1]
        segments += 1
        _limit("JPEG", segments, MAX_SEGMENTS, "segments")
        if code == _SOS:
            if is_progressive or data[place + 2] < components:  # else libjpeg reads one scan
                decodings = 2 if data.rfind(JPEG_END, place) < 0 else 1
                _check_scans(data, place, segments, most_scans(pixels, len(data), max_pixels, decodings))
            return
        if code in _JPEG_BARE:
            continue
        length = max(2, *struct.unpack_from(">H", data, place))
        if code in _JPEG_FRAMES:
            height, width, bands = struct.unpack_from(">HHB", data, place + 3)
            pixels, components = max(pixels, height * width), max(components, bands)
            is_progressive |= code == _PROGRESSIVE
            if code not in _JPEG_FRAMES_READ:
                raise NotAnImage(
                    "the JPEG photo is arithmetic-coded or hierarchical; send it as baseline or progressive"
                )
        if code < _APP0 or code == _APP13 or (code == _APP1 and data.startswith(b"Exif\0\0", place + 2)):
            parsed += length
            _limit("JPEG", parsed, MAX_PARSED_BYTES, "bytes of EXIF, tables and Photoshop's notes")
        place += length


def _check_scans(data: bytes, place: int, segments: int, most: int) -> None:
    """Where there may be too many scans, walk on as libjpeg does from the first one."""
    # Wherever these two bytes stand, there are no fewer of them than scans: in a scan's data 00 follows each FF.
    if 1 + data.count(b"\xff\xda", place) <= most:
        return
    scans = 1
    while marker := _JPEG_MARKER_AFTER_SCAN.search(data, place):
        place = marker.end()
        code = data[place - 1]
        segments += 1
        scans += code == _SOS
        _limit("JPEG", scans, most, "scans")
        _limit("JPEG", segments, MAX_SEGMENTS, "segments")
        if code == _EOI:
            return
        if code not in _JPEG_BARE:
            place += max(2, *struct.unpack_from(">H", data, place))


def has_all_scans(data: bytes) -> bool:
    """Whether a JPEG's scans give every bit of every coefficient; it may break off in the last one."""
    lowest_bits: dict[int, bytearray] = {}
    place = 2
    with suppress(struct.error, IndexError, ValueError):  # off the end
        for _ in range(MAX_SEGMENTS):
            marker = (_JPEG_MARKER_AFTER_SCAN if lowest_bits else _JPEG_MARKER).search(data, place)
            if marker is None:
                break
            place = marker.end()
            code = data[place - 1]
            if code == _SOS:
                header = data[place + 2 : place + struct.unpack_from(">H", data, place)[0]]
                first, last, bits = header[-3:]
                for component in header[1:-3:2]:
                    coefficients = lowest_bits.setdefault(component, bytearray(b"\xff" * 64))
                    coefficients[first : last + 1] = bytes([bits & 15]) * (last + 1 - first)
            if code == _SOS or code not in _JPEG_BARE:
                place += max(2, *struct.unpack_from(">H", data, place))
    return bool(lowest_bits) and not any(map(any, lowest_bits.values()))


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk of a PNG, and where it begins and, as it says, ends, up to `IEND` or the file's end."""
    place, kind = 8, b""
    while place + 8 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place, place + 12 + length
        place += 12 + length


def _check_png(data: bytes) -> None:
    profiles = 0
    for count, (kind, _, _) in enumerate(png_chunks(data), 1):
        _limit("PNG", count, MAX_CHUNKS, "chunks")
        profiles += kind == b"iCCP"
        _limit("PNG", profiles, MAX_PROFILES, "colour profiles")


def _check_bmp(data: bytes) -> None:
    header_bytes, *_, compression = struct.unpack_from("<IiiHHI", data, 14)
    if header_bytes >= 40 and compression in _BMP_RUN_LENGTHS:
        raise NotAnImage("the BMP photo is packed in run lengths, which are not read; send it unpacked, or as PNG")


def _check_iso(name: str, data: bytes) -> None:
    for count, box in enumerate(iso_boxes(data, 0, len(data)), 1):
        _limit(name, count, MAX_SEGMENTS, "boxes")
        if box.kind == b"moov":
            _limit(name, box.stop - box.start, MAX_TABLES_BYTES, "bytes on its frames")
        elif box.kind == b"meta":
            _check_items(name, data, box)


def _check_items(name: str, data: bytes, meta: IsoBox) -> None:
    """Refuse more items than a decoder searches in little time, or items that share bytes again and again."""
    boxes: dict[bytes, IsoBox] = {}
    tables_bytes = 0
    for count, box in enumerate(iso_boxes(data, meta.start + 4, min(meta.stop, len(data))), 1):
        _limit(name, count, MAX_SEGMENTS, "boxes")
        boxes.setdefault(box.kind, box)
        is_table = box.kind not in (b"iprp", b"idat")
        tables_bytes += box.stop - box.start if is_table else 0
        if not is_table:
            _limit(name, box.stop - box.start, MAX_PROPERTIES_BYTES, "bytes of properties")
    _limit(name, tables_bytes, MAX_TABLES_BYTES, "bytes on its items")
    types = dict(item_types(data, boxes[b"iinf"])) if b"iinf" in boxes else {}
    extents = sum_bytes = parsed = 0
    for item, count, size in item_extents(data, boxes[b"iloc"]) if b"iloc" in boxes else ():
        extents += count
        sum_bytes += size
        parsed += size if types.get(item) == b"Exif" else 0
        _limit(name, extents, MAX_SEGMENTS, "extents of its items")
        _limit(name, sum_bytes, max(len(data), 2**20), "bytes in its items")
        _limit(name, parsed, MAX_PARSED_BYTES, "bytes of EXIF")


def _check_tiff(data: bytes) -> None:
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, directory)
    _limit("TIFF", entries, MAX_SEGMENTS, "entries in its directory")
    numbers = 0
    for place in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, place)
        if tag in _TIFF_OFFSETS:
            _limit("TIFF", count, MAX_STRIPS, "strips or tiles")
        if kind not in _TIFF_BYTES:
            numbers += count
            _limit("TIFF", numbers, MAX_NUMBERS, "numbers in its directory")
