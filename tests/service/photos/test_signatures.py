from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.errors import NotAnImage
from service.photos.decoding import FORMATS, decode
from service.photos.signatures import ADVICE, kind_of

Encode = Callable[..., bytes]


def ftyp(*brands: bytes) -> bytes:
    return (16 + 4 * len(brands[1:])).to_bytes(4) + b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_read_is_known_by_its_name(kind: str, encode: Encode) -> None:
    assert kind_of(encode(Image.new("RGB", (64, 64)), kind)) == kind


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("JPEG XL", b"\xff\x0a\xfa\x1f"),
        ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n" + ftyp(b"jxl ")),
        ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n" + ftyp(b"jp2 ")),
        ("JPEG 2000", b"\xff\x4f\xff\x51\0\x2f"),
        ("PDF", b"%PDF-1.7\n"),
        ("PDF", b"\r\n%PDF-1.4\n"),
        ("video", ftyp(b"isom", b"iso2", b"avc1", b"mp41")),
        ("video", ftyp(b"mp42", b"mp42")),
        ("video", ftyp(b"qt  ", b"qt  ")),
        ("video", ftyp(b"3gp5", b"3gp5")),
        ("video", b"\0\0\0\x08wide\0\0\0\x20mdat"),
        ("video", b"\x1aE\xdf\xa3\x9fB\x86\x81\1webm"),
        ("video", b"RIFF\0\0\0\0AVI LIST"),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("SVG", b"\xef\xbb\xbf\n<?xml version='1.0'?>\n<!-- a drawing --><SVG>"),
        ("HEIC", ftyp(b"heic", b"mif1", b"heic")),
        ("HEIC", ftyp(b"mif1", b"heix")),
        ("HEIC", ftyp(b"msf1", b"hevc")),
        ("AVIF", ftyp(b"mif1", b"avif", b"miaf")),
        ("AVIF", ftyp(b"avis", b"msf1")),
        (None, b"<html><body>not found"),
        (None, b"<?xml version='1.0'?><rss/>"),
        (None, ftyp(b"crx ", b"crx ", b"isoX")[:12]),
        (None, b"RIFF\0\0\0\0WAVE"),
        (None, b""),
    ],
)
def test_kinds_are_told_apart(kind: str | None, head: bytes) -> None:
    assert kind_of(head + bytes(2000)) == kind


@pytest.mark.parametrize("kind", sorted(set(ADVICE) - {"HEIC"}))
def test_what_is_not_read_is_refused_by_name_and_with_what_to_do(kind: str) -> None:
    heads = {
        "JPEG XL": b"\xff\x0a",
        "JPEG 2000": b"\xff\x4f\xff\x51",
        "PDF": b"%PDF-",
        "video": ftyp(b"isom", b"mp42"),
        "SVG": b"<svg/>",
    }
    with pytest.raises(
        NotAnImage, match=f"the file is {kind}, which is not read: {ADVICE[kind]}; the formats are JPEG"
    ):
        decode(heads[kind], 1000)


@given(st.binary(max_size=100))
def test_any_bytes_have_a_kind_or_none(data: bytes) -> None:
    assert kind_of(data) in {None, "HEIC", "AVIF", *FORMATS, *ADVICE}
