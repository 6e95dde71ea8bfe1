"""A request's body on its way in: within its limits, within the memory of all, and only while its client is there."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.types import Message, Receive

from service.errors import ClientGone, Overloaded, SlowBody, TooLarge

T = TypeVar("T")


class UploadBudget:
    """Bytes held for the bodies that are being read or answered; for one thread, the event loop's.

    Args:
        most_bytes: Of all bodies together; one alone may have more.
    """

    def __init__(self, most_bytes: float) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """A function that takes the bytes to be held for a body as it comes, until the end of the `with` block.

        Raises:
            Overloaded: From that function: the bodies of all requests have too many bytes.
        """
        own_bytes = 0

        def take(count: int) -> None:
            nonlocal own_bytes
            others = self._held_bytes - own_bytes
            if others and self._held_bytes + count > self._most_bytes:
                raise Overloaded(
                    f"the bodies of other requests under way hold {others:,} bytes; with this one they would hold more "
                    f"than {self._most_bytes:,.0f}",
                    retry_after_seconds=1,
                )
            own_bytes += count
            self._held_bytes += count

        try:
            yield take
        finally:
            self._held_bytes -= own_bytes


async def read_body(
    receive: Receive, content_length: str | None, limit: int, seconds: float, take: Callable[[int], None]
) -> bytes:
    """Read a request's body, chunked or not.

    Args:
        receive: The ASGI channel.
        content_length: The header, if any; a body that announces too much is refused unread.
        limit: Most bytes.
        seconds: Longest time that the body may take.
        take: Called with the number of bytes of each chunk; what it raises refuses the body.

    Raises:
        TooLarge: The body has more bytes than the limit.
        SlowBody: The body did not arrive within `seconds`.
        ClientGone: The client hung up before its body was complete.
    """
    if content_length is not None and content_length.isdecimal():
        _check_size(int(content_length), limit)
    try:
        async with asyncio.timeout(seconds):
            return await _read(receive, limit, take)
    except TimeoutError as error:
        raise SlowBody(f"the body did not arrive within {seconds:g} s") from error


async def _read(receive: Receive, limit: int, take: Callable[[int], None]) -> bytes:
    body = io.BytesIO()  # joined as it comes: no second copy at the end
    message: Message = {"more_body": True}
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client hung up before its body was complete")
        size = body.write(message.get("body", b""))
        _check_size(body.tell(), limit)
        take(size)
    return body.getvalue()


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"the body has {size:,} bytes or more; the limit is {limit:,}")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work unless the client hangs up first; then it is cancelled.

    The body must have been read: the next message from `receive` is then that the client has gone.

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
