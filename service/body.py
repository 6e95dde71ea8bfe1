"""The three bodies of `POST /pose`: read them within their limits, and find the photo and the options in them."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import pydantic_core
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Message, Receive

from service.problems import ClientGone, Malformed, NotAnImage, SlowBody, TooLarge

T = TypeVar("T")

_RAW_TYPES: Final = ("", "application/octet-stream", "application/x-www-form-urlencoded")  # the last is curl's default
_MOST_PARTS: Final = 16  # of a form: more than there are options
_SMALL_BYTES: Final = 256 * 1024  # parsed at once: a thread's hop would cost more


@dataclass(frozen=True, slots=True)
class Body:
    """A photo's file, and the options that came with it as name-value pairs."""

    photo: bytes
    options: tuple[tuple[str, Any], ...] = ()


async def read_body(
    receive: Receive, content_length: str | None, limit: int, seconds: float, take: Callable[[int], None]
) -> bytes:
    """Read a request's body, chunked or not.

    Args:
        receive: The ASGI channel.
        content_length: The header, if any; a body that announces too much is refused unread.
        limit: Most bytes.
        seconds: Longest time that the body may take.
        take: Told of the bytes as they come; what it raises refuses the body.

    Raises:
        TooLarge, SlowBody, ClientGone: As their names say.
    """
    if content_length is not None and content_length.isdecimal():
        _check_size(int(content_length), limit)
    try:
        async with asyncio.timeout(seconds):
            return await _read(receive, limit, take)
    except TimeoutError as error:
        raise SlowBody(f"the body did not arrive within {seconds:g} s") from error


async def _read(receive: Receive, limit: int, take: Callable[[int], None]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    message: Message = {"more_body": True}
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client hung up before its body was complete")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        _check_size(size, limit)
        take(len(chunks[-1]))
    return b"".join(chunks)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"the body has {size:,} bytes or more; the limit is {limit:,}")


async def parse_body(body: bytes, content_type: str) -> Body:
    """Find the photo and the options in a body of any of the three kinds.

    Raises:
        Malformed: It is not what its content type says, or has no photo.
        NotAnImage: Its content type is none that the service reads.
    """
    parse = _parser(content_type)
    if not body:
        raise Malformed("the body is empty: 0 bytes, a photo is needed")
    return parse(body) if len(body) <= _SMALL_BYTES or parse is Body else await asyncio.to_thread(parse, body)


def _parser(content_type: str) -> Callable[[bytes], Body]:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _RAW_TYPES or media_type.startswith("image/"):
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

    Raises:
        Malformed: It is not JSON, not an object, or `image` is missing or not base64.
    """
    try:
        fields = pydantic_core.from_json(body)
    except ValueError as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("image"), str):
        raise Malformed("the JSON body must be an object with the photo in base64 as the text `image`")
    try:
        photo = base64.b64decode("".join(fields.pop("image").split()), validate=True)  # many encoders wrap lines
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"the field `image` is not base64: {error}") from error
    return Body(photo, tuple(fields.items()))


def parse_multipart(body: bytes, content_type: str) -> Body:
    """A form with the photo in the field `image` and options in the others; nothing is written to disk.

    Raises:
        Malformed: It is not a form of this boundary, or `image` is missing or given twice.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise Malformed("the content type multipart/form-data has no boundary; without it no field can be found")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Malformed(f"the multipart body is broken: {error}") from error
    photos = [bytes(data) for name, data in parts.found if name == "image"]
    if not parts.is_complete or len(photos) != 1:
        raise Malformed(f"the multipart body has {len(photos)} complete fields `image`; exactly one photo is needed")
    options = tuple((name, _text(name, data)) for name, data in parts.found if name != "image")
    return Body(photos[0], options)


def _text(name: str, data: bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the field {name[:60]!r} is not UTF-8 text") from error


class _Parts:
    """Collects the parts of a multipart body as the parser finds them."""

    def __init__(self) -> None:
        self.found: list[tuple[str, bytearray]] = []
        self.is_complete = False
        self._header = bytearray()
        self._value = bytearray()
        self._name = ""
        self._data = bytearray()

    def callbacks(self) -> Any:
        """What the parser calls; not kept here, so that no cycle keeps the photo until the garbage collector comes."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": lambda: self.found.append((self._name, self._data)),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.found) == _MOST_PARTS:
            raise Malformed(f"the form has more than {_MOST_PARTS} fields; a photo and its options are fewer")
        self._name, self._data = "", bytearray()

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            name = parse_options_header(bytes(self._value))[1].get(b"name", b"")
            self._name = name.decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def _end(self) -> None:
        self.is_complete = True


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work unless the client hangs up first; then it is cancelled.

    The body must have been read: what `receive` tells next is that the client has gone.

    Raises:
        ClientGone: The client hung up.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_until_gone(receive))
    gone.add_done_callback(lambda _: task.cancel())
    try:
        return await task
    except asyncio.CancelledError:
        if gone.done():
            raise ClientGone("the client hung up before its answer was ready") from None
        raise
    finally:
        gone.cancel()


async def _until_gone(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
