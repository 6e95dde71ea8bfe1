"""Of how many parts a photo's file is made, so that a few bytes cannot keep a decoder busy for hours.

Pillow looks at parts one by one in Python, and formats limit neither how many there are nor how often they give the
same pixels. `check_parts` looks at the file before Pillow does, `check_tiles` at what Pillow would decode, and `Pieces`
counts what is left: the steps in which the file is read.
"""

import io
import re
import struct
from contextlib import suppress
from itertools import pairwise
from typing import Any, Final

from PIL import Image

from service.errors import Malformed

MAX_SCANS: Final = 100
"""Scans of a JPEG: encoders make 1 to about 30, and libjpeg goes over all pixels for each, 50 ms for 50 megapixels."""

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

_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
_JPEG_MARKER_AFTER_SCAN: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # restarts are part of a scan
_JPEG_BARE: Final = frozenset((*range(0xC0), 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))  # markers without a length
_EOI, _SOS, _APP0, _APP1, _APP13 = 0xD9, 0xDA, 0xE0, 0xE1, 0xED

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


def check_parts(name: str, data: bytes) -> None:
    """Refuse a JPEG or a TIFF of more parts than any encoder makes.

    What is broken, or runs off the file's end, is left to the decoder.

    Args:
        name: The file's format, as in `decoding.FORMATS`.
        data: The whole file.

    Raises:
        Malformed: It has too many.
    """
    with suppress(struct.error):  # off the end
        if name == "JPEG":
            _check_jpeg(data)
        elif name == "TIFF":
            _check_tiff(data)


def check_tiles(name: str, image: Image.Image) -> None:
    """Refuse a photo whose parts give the same pixels again and again, or share bytes.

    Pillow reads a part in steps as long as the way to where the next begins, and copies what it has at each step.

    Args:
        name: The file's format.
        image: Opened by Pillow and not yet decoded.

    Raises:
        Malformed: They do.
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


def _check_jpeg(data: bytes) -> None:
    """Walk as Pillow does up to the first scan and, where there may be too many, on as libjpeg does."""
    # Wherever these two bytes stand, there are no fewer of them than scans: in a scan's data 00 follows each FF.
    has_few_scans = data.count(b"\xff\xda") <= MAX_SCANS
    place, segments, scans, parsed = 2, 0, 0, 0
    while found := (_JPEG_MARKER_AFTER_SCAN if scans else _JPEG_MARKER).search(data, place):
        place = found.end()
        code = data[place - 1]
        segments += 1
        scans += code == _SOS
        _limit("JPEG", scans, MAX_SCANS, "scans")
        _limit("JPEG", segments, MAX_SEGMENTS, "segments")
        if scans and (has_few_scans or code == _EOI):
            return
        if code in _JPEG_BARE:
            continue
        length = max(2, *struct.unpack_from(">H", data, place))
        if code < _APP0 or code == _APP13 or (code == _APP1 and data.startswith(b"Exif\0\0", place + 2)):
            parsed += length
            _limit("JPEG", parsed, MAX_PARSED_BYTES, "bytes of EXIF, tables and Photoshop's notes")
        place += length


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
