"""Whether a photo's file is all there: what its own lengths and checksums say, of which decoders check only some."""

import struct
import zlib
from contextlib import suppress

from service.errors import Malformed
from service.photos.isobmff import iso_boxes
from service.photos.limits import png_chunks


def check_whole(name: str, data: bytes) -> None:
    """Refuse a file that ends before its parts do, or one whose checksums are wrong.

    Args:
        name: The file's format, as in `decoding.FORMATS`.
        data: The whole file, of few enough parts.

    Raises:
        Malformed: The file is truncated, or a checksum is wrong.
    """
    with suppress(struct.error):
        if name == "PNG":
            _check_chunks(data)
        elif name == "WebP":
            _check_end("WebP", data, 8 + int.from_bytes(data[4:8], "little"))
        elif name in ("AVIF", "HEIC"):
            for box in iso_boxes(data, 0, len(data)):
                if box.kind in (b"meta", b"mdat", b"moov"):
                    _check_end(name, data, box.stop)


def _check_chunks(data: bytes) -> None:
    """Pillow checks no chunk of pixels, and none behind them."""
    view = memoryview(data)
    for kind, start, stop in png_chunks(data):
        _check_end("PNG", data, stop)
        if zlib.crc32(view[start + 4 : stop - 4]) != int.from_bytes(view[stop - 4 : stop]):
            name = kind.decode("latin-1")
            raise Malformed(f"the PNG photo is damaged: its chunk {name!r} at byte {start:,} has a wrong checksum")


def _check_end(name: str, data: bytes, stop: int) -> None:
    if stop > len(data):
        raise Malformed(f"the {name} photo is truncated: it has {len(data):,} bytes, and a part of it ends at {stop:,}")
