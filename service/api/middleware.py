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
from service.api.lifecycle import Runtime
from service.errors import NotReady, Overloaded, ServiceError

_access_log = logging.getLogger("service.access")
_log = logging.getLogger(__name__)

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_QUIET_PATHS: Final = frozenset({"/healthz/live", "/healthz/ready", "/metrics"})


class RequestMiddleware:
    """Pure ASGI middleware around the whole application; `request.state.request_id` carries the id.

    Args:
        app: The application inside.
        runtime: Says where requests are counted, and whether one more may be taken; probes and scrapes always may.
    """

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self.app = app
        self.runtime = runtime
        self.metrics = runtime.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        start = time.perf_counter()
        status, is_complete = 0, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, is_complete
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                is_complete = True
                await asyncio.sleep(0)  # uvloop writes when its turn ends: the answer leaves before it is recorded

        async def refuse(error: Exception) -> None:
            translated = problems.translate(error, scope["method"], scope["path"])
            scope["state"]["reason"] = translated.reason
            self.metrics.rejected.labels(translated.reason).inc()
            await problems.describe(translated, request_id)(scope, receive, send_with_id)

        is_quiet = scope["path"].removeprefix(scope.get("root_path", "")) in _QUIET_PATHS
        with nullcontext() if is_quiet else self.metrics.in_flight.track_inprogress():
            try:
                if is_quiet or self.runtime.has_room():
                    await self.app(scope, receive, send_with_id)
                else:
                    await refuse(Overloaded("as many requests are being answered as connections may be open", 1))
            except asyncio.CancelledError:  # by the server, when the drain is over and the body still on its way
                if status:
                    raise
                await refuse(NotReady("the service is stopping"))
            except Exception as error:
                _log.exception("request %s failed", request_id)
                if not status:
                    await refuse(error)
                elif not is_complete:  # the server cuts it off, and the client sees that it is not whole
                    status, scope["state"]["reason"] = ServiceError.status, ServiceError.reason
                    self.metrics.rejected.labels(ServiceError.reason).inc()
            finally:
                self._record(scope, status, time.perf_counter() - start, request_id)

    def _record(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = _route(scope)
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        level = logging.DEBUG if route in _QUIET_PATHS else logging.INFO
        path = quote(scope["path"])  # the server has decoded it, line breaks included
        reason = f" reason={scope['state']['reason']}" if "reason" in scope["state"] else ""
        line = "%s %s %d %.1f ms id=%s%s"
        _access_log.log(level, line, scope["method"], path, status, seconds * 1000, request_id, reason)


def _request_id(scope: Scope) -> str:
    """The client's own id if it is harmless, else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


def _route(scope: Scope) -> str:
    """The route's pattern, one word for all paths that have none: labels must stay few."""
    return str(getattr(scope.get("route"), "path", "other"))
