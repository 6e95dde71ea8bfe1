"""What happens around every request: an id, metrics, one line in the access log, and an answer to the unexpected."""

import asyncio
import logging
import re
import time
import uuid
from contextlib import nullcontext
from typing import Final
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.api.lifecycle import Lifecycle
from service.errors import NotReady, Overloaded, ServiceError

_access_log = logging.getLogger("service.access")
_log = logging.getLogger(__name__)

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_QUIET_PATHS: Final = frozenset({"/healthz/live", "/healthz/ready", "/metrics"})


class RequestMiddleware:
    """Pure ASGI middleware around the whole application; `request.state.request_id` carries the id.

    Args:
        app: The application inside.
        lifecycle: Says where requests are counted, and whether one more may be taken; probes and scrapes always may.
    """

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self.app = app
        self.lifecycle = lifecycle
        self.metrics = lifecycle.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        start = time.perf_counter()
        answer = _Answer(send, request_id)
        is_quiet = scope["path"].removeprefix(scope.get("root_path", "")) in _QUIET_PATHS
        with nullcontext() if is_quiet else self.metrics.in_flight.track_inprogress():
            try:
                if is_quiet or self.lifecycle.has_room():
                    await self.app(scope, receive, answer.send)
                else:
                    await self._refuse(
                        Overloaded("as many requests are being answered as connections may be open", 1),
                        scope,
                        receive,
                        answer,
                    )
            except asyncio.CancelledError:  # by the server, when the drain is over and the body still on its way
                if answer.status:
                    raise
                await self._refuse(NotReady("the service is stopping"), scope, receive, answer)
            except Exception as error:
                _log.exception("request %s failed", request_id)
                await self._fail(error, scope, receive, answer)
            finally:
                self._record(scope, answer.status, time.perf_counter() - start, request_id)

    async def _fail(self, error: Exception, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        """Refuse a request that failed unexpectedly; the server cuts off an answer that had begun."""
        if not answer.status:
            await self._refuse(error, scope, receive, answer)
        elif not answer.is_complete:
            answer.status = ServiceError.status
            self._count_refusal(ServiceError.reason, scope)

    async def _refuse(self, error: Exception, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        translated = problems.translate(error, scope["method"], scope["path"])
        self._count_refusal(translated.reason, scope)
        await problems.describe(translated, answer.request_id)(scope, receive, answer.send)

    def _count_refusal(self, reason: str, scope: Scope) -> None:
        scope["state"]["reason"] = reason  # for the access log
        self.metrics.rejected.labels(reason).inc()

    def _record(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = _route(scope)
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        level = logging.DEBUG if route in _QUIET_PATHS else logging.INFO
        path = quote(scope["path"])  # the server has decoded it, line breaks included
        reason = f" reason={scope['state']['reason']}" if "reason" in scope["state"] else ""
        line = "%s %s %d %.1f ms id=%s%s"
        _access_log.log(level, line, scope["method"], path, status, seconds * 1000, request_id, reason)


class _Answer:
    """An answer on its way to the client; it carries the request's id.

    Attributes:
        request_id: The id.
        status: The HTTP status; 0 until the answer begins.
        is_complete: Whether all of it has been sent.
    """

    def __init__(self, send: Send, request_id: str) -> None:
        self.request_id = request_id
        self.status = 0
        self.is_complete = False
        self._send = send

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-ID"] = self.request_id
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_complete = True
            await asyncio.sleep(0)  # uvloop writes when its turn ends: the answer leaves before it is recorded


def _request_id(scope: Scope) -> str:
    """The client's own id if it is harmless, else a new one."""
    own = Headers(scope=scope).get("x-request-id", "")
    return own if _SANE_ID.fullmatch(own) else uuid.uuid4().hex


def _route(scope: Scope) -> str:
    """The route's pattern, one word for all paths that have none: labels must stay few."""
    return str(getattr(scope.get("route"), "path", "other"))
