"""An answer that comes before its request's body has arrived reaches the client."""

import asyncio
import contextlib
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LINGER_SECONDS: Final = 5.0


class LingerMiddleware:
    """Pure ASGI middleware that reads on, for some seconds, after an answer that was not waiting for the body.

    Closed with bytes unread, a connection is reset, and the answer may be lost with it (RFC 9112, section 9.6): the
    answer goes out whole first, the rest of the body is read and dropped, and only then does the response end.

    Args:
        app: The application inside.
        most_bytes: The connection is kept for further requests if the body announces no more than this.
    """

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self.app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        is_arriving, is_held = True, False

        async def receive_and_note() -> Message:
            nonlocal is_arriving
            message = await receive()
            is_arriving = message.get("more_body", False)
            return message

        async def send_but_the_end(message: Message) -> None:
            nonlocal is_held
            if is_arriving and message["type"] == "http.response.start":
                if not self._may_stay_open(Headers(scope=scope)):
                    MutableHeaders(scope=message)["Connection"] = "close"
            elif is_arriving and not message.get("more_body", False):
                message, is_held = {**message, "more_body": True}, True
            await send(message)

        await self.app(scope, receive_and_note, send_but_the_end)
        if is_held:
            await _drop_rest(receive)
            await send({"type": "http.response.body"})

    def _may_stay_open(self, headers: Headers) -> bool:
        """Whether the rest of the body comes soon, and certainly: who expects a `100 Continue` may leave it out."""
        length = headers.get("content-length", "")
        return length.isdecimal() and int(length) <= self._most_bytes and "expect" not in headers


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def _drop_rest(receive: Receive) -> None:
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):  # the latter by a server that stops
        async with asyncio.timeout(_LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass
