"""The three payloads of `POST /pose`: raw bytes, a form, or JSON; the photo and the options in each."""

import asyncio
import base64
import codecs
import io
import itertools
import re
import secrets
import string
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pydantic_core
from python_multipart.multipart import parse_options_header

from service.errors import EncodedBody, Malformed, NotAnImage, TooLarge

_RAW_TYPES: Final = ("", "application/octet-stream", "application/x-www-form-urlencoded")  # the last is curl's default
_MOST_FIELDS: Final = 16  # of a form: more than there are options
_LONGEST_HEAD: Final = 16 * 1024  # bytes of a form field's headers
_SMALL_BYTES: Final = 64 * 1024  # parsed at once: a thread's hop would cost more

MOST_JSON_BYTES: Final = 128 * 1024
"""Most bytes of a large JSON body beside its image's text: an empty list of 3 bytes takes 64 in memory."""

DEEPEST_JSON: Final = 200
"""Levels of nesting that the JSON parser reads."""

_PIECE_BYTES: Final = 256 * 1024  # decoded at a time
_WHITE_SPACE: Final = string.whitespace.encode()
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")  # from the alphabet that is safe in URLs
_LONGEST_PREFIX: Final = 1024  # of a data URL, before the comma
_TEXT: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)  # of JSON, quotes included; never goes back


@dataclass(frozen=True, slots=True)
class Body:
    """A photo's file, and the options that came with it as name-value pairs."""

    photo: bytes
    options: tuple[tuple[str, Any], ...] = ()


async def parse_body(body: bytes, content_type: str) -> Body:
    """Read the photo and the options from a body of any of the three kinds.

    Raises:
        Malformed: It is not what its content type says, or has no photo.
        NotAnImage: Its content type is none that the service reads.
        TooLarge: It is JSON, and too much of it is not the photo.
    """
    parse = _parser(content_type)
    if not body:
        raise Malformed("the body is empty: 0 bytes, a photo is needed")
    return parse(body) if len(body) <= _SMALL_BYTES or parse is Body else await asyncio.to_thread(parse, body)


def check_encoding(values: Iterable[str]) -> None:
    """See that a body comes as it is.

    Args:
        values: Those of its `Content-Encoding` headers.

    Raises:
        EncodedBody: It is compressed.
    """
    codings = [coding.strip().lower() for value in values for coding in value.split(",")]
    for coding in codings:
        if coding not in ("", "identity"):
            raise EncodedBody(f"the body's content encoding {coding[:60]!r} is not read; send the body without one")


def copies(content_type: str) -> int:
    """How many bytes are held for each of a body: a raw one is the photo, in the others it is a copy of a part."""
    return 1 if _is_raw(_media_type(content_type)) else 2


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_raw(media_type: str) -> bool:
    return media_type in _RAW_TYPES or media_type.startswith("image/")


def _parser(content_type: str) -> Callable[[bytes], Body]:
    media_type = _media_type(content_type)
    if _is_raw(media_type):
        return Body
    if media_type == "multipart/form-data":
        return lambda body: parse_multipart(body, content_type)
    if media_type == "application/json":
        return parse_json
    raise NotAnImage(
        f"the content type {media_type[:60]!r} is not read; send image/*, application/octet-stream, "
        "multipart/form-data or application/json"
    )


def parse_json(body: bytes) -> Body:
    """`{"image": "<base64>", ...options}`.

    What is parsed as a whole is small: of a large body, the text of `image` is cut out first and decoded by itself.

    Raises:
        Malformed: It is not JSON, not an object, or `image` is missing or not base64.
        TooLarge: The body is large, and too much of it is not the text of `image`.
    """
    if len(body) <= 2 * MOST_JSON_BYTES:
        fields = _fields(body)
        pieces = iter((fields.pop("image"),))
    else:
        start, end = _middle_text(body)
        mark = secrets.token_hex()  # what no client can have written elsewhere
        fields = _fields(body[:start] + mark.encode() + body[end:])
        if fields.pop("image") != mark:
            raise _too_much_json(body)
        pieces = _pieces(body, start, end)
    try:
        photo = _decode(pieces)
    except ValueError as error:
        raise Malformed(f"the field `image` is not base64: {error}") from error
    return Body(photo, tuple(fields.items()))


def _fields(text: bytes) -> dict[str, Any]:
    """A JSON object with a text `image`."""
    try:
        fields = pydantic_core.from_json(text.removeprefix(codecs.BOM_UTF8))
    except ValueError as error:
        if "recursion limit" in str(error):
            raise Malformed(f"the JSON body is nested deeper than the limit of {DEEPEST_JSON} levels") from error
        raise Malformed(f"the body is not JSON: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("image"), str):
        raise Malformed("the JSON body must be an object with the photo in base64 as the text `image`")
    return fields


def _middle_text(body: bytes) -> tuple[int, int]:
    """Start and end of the JSON text at the middle of a large body: that of `image`, if it leaves few bytes beside it.

    Base64 has no quote, not even an escaped one: such a text reaches from one quote to the next.

    Raises:
        TooLarge: There is no text at the middle, or it leaves too many bytes.
    """
    middle = len(body) // 2
    start, end = body.rfind(b'"', 0, middle) + 1, body.find(b'"', middle)
    end = len(body) if end < 0 else end
    if start + len(body) - end > MOST_JSON_BYTES or b'"' not in _TEXT.sub(b"", body[:start]):
        raise _too_much_json(body)
    return start, end


def _too_much_json(body: bytes) -> TooLarge:
    return TooLarge(
        f"of the JSON body's {len(body):,} bytes, too many are not the text of `image`; "
        f"the limit is {MOST_JSON_BYTES:,}"
    )


def _pieces(body: bytes, start: int, end: int) -> Iterator[str]:
    """A JSON text piece by piece, its escapes resolved: each is short, since parsing holds up all other threads."""
    while start < end:
        stop = min(start + _PIECE_BYTES, end)
        if stop < end:  # an escape has up to 6 bytes: one that begins in the last 5 is left to the next piece
            escape = body.find(b"\\", stop - 5, stop)
            stop = stop if escape < 0 else escape
        yield pydantic_core.from_json(b'"%b"' % body[start:stop])
        start = stop


def _decode(pieces: Iterator[str]) -> bytes:
    """Bytes of a base64 text that comes in pieces: of either alphabet, padded or not, with any white space.

    Args:
        pieces: The text; it may be a data URL, whose prefix lies in the first piece.

    Raises:
        ValueError: It is not base64.
    """
    photo = io.BytesIO()
    rest = b""
    for piece in itertools.chain([_without_prefix(next(pieces, ""))], pieces):
        rest += piece.encode("ascii").translate(_STANDARD, _WHITE_SPACE)  # many encoders wrap lines
        whole = max(0, len(rest) - 1) // 4 * 4
        if rest.find(b"=", 0, whole) >= 0:
            raise ValueError("there is padding before its end")
        photo.write(base64.b64decode(rest[:whole], validate=True))
        rest = rest[whole:]
    if len(rest) % 4 and b"=" not in rest:
        rest += b"=="[: 4 - len(rest)]
    if len(rest) % 4:
        raise ValueError("the number of its characters is that of no whole number of bytes")
    photo.write(base64.b64decode(rest, validate=True))
    return photo.getvalue()


def _without_prefix(text: str) -> str:
    """The base64 text of a data URL; any other text as it is.

    Raises:
        ValueError: The data URL holds no base64.
    """
    if text[:5].lower() != "data:":
        return text
    prefix, comma, _ = text[:_LONGEST_PREFIX].partition(",")
    if not comma or not prefix.lower().endswith(";base64"):
        raise ValueError("it is a data URL whose data does not follow `;base64,`")
    return text[len(prefix) + 1 :]


def parse_multipart(body: bytes, content_type: str) -> Body:
    """A form with the photo in the field `image` and options in the others; nothing is written to disk.

    Raises:
        Malformed: It is not a form of this boundary, or `image` is missing or occurs twice.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise Malformed("the content type multipart/form-data has no boundary; without it no field can be found")
    fields = list(_form_fields(body, boundary))
    photos = [data for name, data in fields if name == "image"]
    if len(photos) != 1:
        raise Malformed(f"the multipart body has {len(photos)} fields `image`; exactly one photo is needed")
    options = tuple((name, _text(name, data)) for name, data in fields if name != "image")
    return Body(photos[0], options)


def _form_fields(body: bytes, boundary: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and data of a form's fields.

    Searches pass over the body once; python-multipart's parser steps through blanks and what resembles a boundary
    byte by byte, which takes 20 s for 32 MiB of them.

    Raises:
        Malformed: It is not a form of this boundary, or has too many fields.
    """
    delimiter = b"\r\n--" + boundary
    end = -2 if body.startswith(delimiter[2:]) else body.find(delimiter)
    if end == -1:
        raise Malformed("the multipart body is broken: its content type's boundary is not in it")
    for _ in range(_MOST_FIELDS + 1):
        start = end + len(delimiter)
        if body.startswith(b"--", start):
            return
        head_end = body.find(b"\r\n\r\n", start, start + _LONGEST_HEAD)
        if head_end < 0 or not body.startswith(b"\r\n", start):
            raise Malformed(
                f"the multipart body is broken: no headers of at most {_LONGEST_HEAD:,} bytes follow a boundary"
            )
        end = body.find(delimiter, head_end + 4)
        if end < 0:
            raise Malformed("the multipart body is broken: no boundary ends its last field")
        yield _name(body[start:head_end]), body[head_end + 4 : end]
    raise Malformed(f"the form has more than {_MOST_FIELDS} fields; a photo and its options are fewer")


def _name(head: bytes) -> str:
    """The field's name among the headers of a form field; empty without one."""
    for line in head.split(b"\r\n"):
        header, _, value = line.partition(b":")
        if header.lower() == b"content-disposition":
            return parse_options_header(value)[1].get(b"name", b"").decode("utf-8", "replace")
    return ""


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the field {name[:60]!r} is not UTF-8 text") from error
