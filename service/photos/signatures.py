"""What kind of file the bytes are, by how they begin: a photo, or something else that people send as one."""

import re
from collections.abc import Callable
from typing import Final

from service.photos.isobmff import brands

_HEIC_BRANDS: Final = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2")
)
_AVIF_BRANDS: Final = frozenset((b"avif", b"avis"))
_VIDEO_BRANDS: Final = re.compile(rb"iso.|mp4.|avc1|qt  |M4V.|3g.*|dash|f4v.|MSNV|mmp4")
_SVG: Final = re.compile(rb"\s*(<\?xml|<!--|<!DOCTYPE svg|<svg)", re.IGNORECASE)


def _is_avif(head: bytes) -> bool:
    return not _AVIF_BRANDS.isdisjoint(brands(head))


def _is_heic(head: bytes) -> bool:
    return not _HEIC_BRANDS.isdisjoint(brands(head))


def _is_video(head: bytes) -> bool:
    is_riff = head.startswith(b"RIFF") and head[8:12] == b"AVI "
    is_stream = head.startswith((b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3"))  # Matroska and WebM, MPEG
    is_quicktime = head[4:8] in (b"moov", b"mdat", b"wide")
    return is_riff or is_stream or is_quicktime or any(_VIDEO_BRANDS.fullmatch(brand) for brand in brands(head))


def _is_svg(head: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf")
    return _SVG.match(text) is not None and b"<svg" in text.lower()


_KINDS: Final[dict[str, Callable[[bytes], bool]]] = {
    "JPEG": lambda head: head.startswith(b"\xff\xd8\xff"),
    "PNG": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "WebP": lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP",
    "GIF": lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    "TIFF": lambda head: head.startswith((b"II*\0", b"MM\0*")),
    "BMP": lambda head: head.startswith(b"BM"),
    "AVIF": _is_avif,  # before HEIC, since both are of brand mif1
    "HEIC": _is_heic,
    "JPEG XL": lambda head: head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    "JPEG 2000": lambda head: head.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")),
    "PDF": lambda head: b"%PDF-" in head,
    "video": _is_video,
    "SVG": _is_svg,
}

_HEAD_BYTES: Final = 1024

ADVICE: Final = {
    "HEIC": 'the operator may install the extra "heif", or send it as JPEG (iPhones: Camera, Formats, Most Compatible)',
    "JPEG XL": "convert it to JPEG or PNG",
    "JPEG 2000": "convert it to JPEG or PNG",
    "PDF": "send the photo in it, or its page as PNG",
    "video": "send a frame of it as JPEG or PNG",
    "SVG": "draw it to PNG",
}
"""What to do with a file of a kind that is not read."""


def kind_of(data: bytes) -> str | None:
    """The name of what a file is, or None: it is none of what is known here."""
    head = data[:_HEAD_BYTES]
    return next((name for name, matches in _KINDS.items() if matches(head)), None)
