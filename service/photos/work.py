"""How long a photo takes to decode, from what its header says: a few bytes may take seconds.

The figures are nanoseconds of one processor of a small server (2 cores of an AMD EPYC), of the slowest files.
The limit grows with the pixels that are allowed.
"""

from typing import Any, Final

from PIL import Image

from service.errors import TooLarge

NS_PER_PIXEL: Final = 30.0
"""Most for each pixel that a photo may have: 2 s for 67 megapixels."""

LEAST_NS: Final = 1e9
"""The limit is never below: small photos may be as costly as they like."""

MAX_SCANS: Final = 100
"""Scans of a JPEG, however small: encoders make 1 to about 30."""

_JPEG_PIXEL_NS, _JPEG_SCAN_NS, _JPEG_BYTE_NS = 5.0, 0.5, 40.0  # libjpeg goes over all pixels for each scan

_NS: Final[dict[str, tuple[float, float]]] = {
    "PNG": (0.0, 3.0),
    "WebP": (13.0, 90.0),
    "GIF": (6.0, 15.0),
    "TIFF": (0.0, 15.0),
    "AVIF": (12.0, 85.0),
    "HEIC": (12.0, 110.0),
}
"""For each pixel and for each byte of the file; what is missing (JPEG, whose scans are bounded, and BMP) is cheap."""

_PNG_UNPACKED_BYTE_NS: Final = 7.5  # to undo the slowest filter
_PNG_INTERLACED_NS: Final = 2.0  # to put one pixel in its place
_TIFF_UNPACKED_BYTE_NS: Final = 4.0
_LZMA_BYTE_NS: Final = 55.0

_PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type

_RGB_NS: Final = {"RGB": 0.0, "RGBA": 3.5, "LA": 5.0, "I": 20.0, "F": 20.0}
"""To make a pixel of each mode RGB."""

_OTHER_RGB_NS: Final = 4.0


def limit_ns(max_pixels: int) -> float:
    """How long a photo may take where photos may have so many pixels."""
    return max(LEAST_NS, NS_PER_PIXEL * max_pixels)


def most_scans(pixels: int, file_bytes: int, max_pixels: int, decodings: int = 1) -> int:
    """How many scans a JPEG may have, if it is decoded so many times; 1 is always allowed."""
    left_ns = limit_ns(max_pixels) / decodings - _JPEG_PIXEL_NS * pixels - _JPEG_BYTE_NS * file_bytes
    return max(1, min(MAX_SCANS, int(left_ns / (_JPEG_SCAN_NS * max(1, pixels)))))


def check_work(name: str, image: Image.Image, data: bytes, max_pixels: int) -> None:
    """Refuse a photo that would take too long.

    Args:
        name: The file's format.
        image: Opened by Pillow and not yet decoded.
        data: The whole file.
        max_pixels: Most pixels that a photo may have.

    Raises:
        TooLarge: By its header it would take longer than `limit_ns`.
    """
    pixels = image.width * image.height
    pixel_ns, byte_ns = _NS.get(name, (0.0, 0.0))
    work_ns = pixels * (pixel_ns + _RGB_NS.get(image.mode, _OTHER_RGB_NS)) + len(data) * byte_ns
    if name == "PNG":
        bits = data[24] * _PNG_CHANNELS.get(data[25], 4)
        work_ns += pixels * (_PNG_UNPACKED_BYTE_NS * bits / 8 + _PNG_INTERLACED_NS * data[28])
    elif name == "TIFF":
        work_ns += _tiff_ns(image, data)
    if work_ns > limit_ns(max_pixels):
        seconds, limit = work_ns / 1e9, limit_ns(max_pixels) / 1e9
        what = f"{image.width} x {image.height} pixels in {len(data):,} bytes"
        raise TooLarge(
            f"the {name} photo, {what}, would take about {seconds:.1f} s to decode; the limit is {limit:.1f} s"
        )


def _tiff_ns(image: Any, data: bytes) -> float:
    """What a TIFF's strips or tiles, which may be larger than the photo, take beyond its pixels and bytes."""
    tags = image.tag_v2
    samples, is_planar = tags.get(277, 1), tags.get(284, 1) == 2
    if 324 in tags:
        pieces = len(_several(tags[324]))
        samples_stored = pieces * tags[322] * tags[323] * (1 if is_planar else samples)
    else:
        pieces = len(_several(tags.get(273, ())))
        samples_stored = image.width * image.height * samples
    work_ns = _TIFF_UNPACKED_BYTE_NS * samples_stored * max(_several(tags.get(258, 1))) / 8
    compression = image.info.get("compression")
    if compression == "lzma":
        work_ns += _LZMA_BYTE_NS * len(data)
    elif compression in ("jpeg", "tiff_jpeg"):
        work_ns += _JPEG_SCAN_NS * samples_stored * data.count(b"\xff\xda") / max(1, pieces)
    return float(work_ns)


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
