"""The HTTP server: its listening socket, its settings of uvicorn, and its drain."""

import asyncio
import logging
import math
import socket
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from service.api.connections import Connection, Connections, Limits
from service.api.lifecycle import Runtime
from service.errors import StartupError

_log = logging.getLogger(__name__)

_CHECK_SECONDS: Final = 1.0
_REFUSAL_SECONDS: Final = 3  # after the drain, for telling those who are left


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; uvicorn begins to listen on it when the service is ready.

    Raises:
        StartupError: The address is unknown or taken.
    """
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:  # the latter of names that cannot be
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or error
        raise StartupError(f"cannot listen on {host}:{port}: {reason}") from error
    return listener


class Server(uvicorn.Server):
    """uvicorn's server that limits what clients may take, and tells the runtime when it starts to drain.

    Args:
        app: The application.
        runtime: Its life.
        limits: What clients may take; those of this process if left out.
    """

    def __init__(self, app: ASGIApp, runtime: Runtime, limits: Limits | None = None) -> None:
        config = uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            # httptools loses the body of a request that offers HTTP/2, as Java's do, and takes headers of any size.
            http=Connection,
            ws="none",
            timeout_keep_alive=runtime.settings.keep_alive_seconds,
            timeout_graceful_shutdown=math.ceil(runtime.settings.drain_seconds) + _REFUSAL_SECONDS,
        )
        super().__init__(config)
        self._runtime = runtime
        self._connections = Connections(limits or Limits.of(runtime.settings))
        self.server_state = self._connections
        runtime.has_room = self._connections.has_room

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen."""
        await super().startup(sockets)
        self._checks = asyncio.create_task(self._check_connections())
        for listener in (sockets or ()) if self.started else ():
            host, port = listener.getsockname()[:2]
            _log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)

    async def _check_connections(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            self._connections.close_overdue(loop.time())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what has been accepted, and stop."""
        self._runtime.drain()
        refusal = asyncio.create_task(self._runtime.refuse_the_rest())
        await super().shutdown(sockets)
        refusal.cancel()
        self._checks.cancel()
