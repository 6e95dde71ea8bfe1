"""The HTTP server: its listening socket, its settings of uvicorn, and its drain."""

import asyncio
import contextlib
import ctypes
import logging
import math
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from service.api.connections import Connection, Connections, Limits
from service.api.lifecycle import Lifecycle
from service.errors import StartupError

_log = logging.getLogger(__name__)

_CHECK_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.05
_LINGER_SECONDS: Final = 1.0  # in the drain, for requests that are on their way on kept connections
_REFUSAL_SECONDS: Final = 3  # after the drain, for telling those who are left

_SO_ATTACH_FILTER: Final = 26  # Linux's; the module `socket` has no name for it
_DROP_SYN: Final = struct.pack(
    "HBBI" * 4,
    *(0x30, 0, 0, 13),  # load the byte of TCP's flags,
    *(0x45, 0, 1, 0x02),  # unless it has SYN skip an instruction,
    *(0x06, 0, 0, 0),  # drop the packet,
    *(0x06, 0, 0, 0xFFFF),  # let it pass
)
"""A program of four instructions for the kernel's packet filter."""


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; uvicorn begins to listen on it when the service is ready.

    Raises:
        StartupError: The address is unknown or taken.
    """
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        _bind(listener, address)
    except (OSError, UnicodeError) as error:  # the latter of names that cannot be
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or error
        raise StartupError(f"cannot listen on {host}:{port}: {reason}") from error
    return listener


def _bind(listener: socket.socket, address: tuple[Any, ...]) -> None:
    """Bind, if possible alone: two sockets that reuse addresses may both be bound, until one listens."""
    try:
        listener.bind(address)
    except OSError:
        if os.name != "posix":  # elsewhere reuse takes the address away from who listens there
            raise
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an earlier life's connections may fade there
        listener.bind(address)


class Server(uvicorn.Server):
    """uvicorn's server that limits what clients may take, and loses no request when it stops.

    Args:
        app: The application.
        lifecycle: Its life; it stops being ready when the server starts to drain.
        limits: What clients may take; those of this process if left out.
    """

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, limits: Limits | None = None) -> None:
        config = uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            # httptools loses the body of a request that offers HTTP/2, as Java's do, and takes headers of any size.
            http=Connection,
            ws="none",
            timeout_keep_alive=lifecycle.settings.keep_alive_seconds,
        )
        super().__init__(config)
        self._lifecycle = lifecycle
        self._delay_seconds = 0.0
        self._has_stopped = False
        self._connections = Connections(limits or Limits.of(lifecycle.settings))
        self.server_state = self._connections
        lifecycle.has_room = self._connections.has_room

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen.

        Raises:
            StartupError: Another process has begun to listen there since the sockets were bound.
        """
        addresses = [listener.getsockname()[:2] for listener in sockets or ()]
        try:
            await super().startup(sockets)
            for listener in sockets or ():  # uvloop says nothing where it cannot listen: the socket is closed
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that a next life can bind
        except OSError as error:
            await self.lifespan.shutdown()
            taken = ", ".join(f"{host}:{port}" for host, port in addresses)
            raise StartupError(f"cannot listen on {taken}: another process began to do so meanwhile") from error
        self._checks = asyncio.create_task(self._check_connections())
        for host, port in addresses:
            _log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)

    async def _check_connections(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            self._connections.close_overdue(loop.time())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; at SIGTERM, which an orchestrator sends, not before its balancer has had time to notice.

        Ctrl-C ends a start at once, since nothing else interrupts the warm-up, and so does a second one a stop.
        """
        is_second = self.should_exit and not self._has_stopped  # then uvicorn raises the first one again
        if sig == signal.SIGINT and (is_second or not self.started):
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
            os._exit(128 + sig)  # the first process of a container outlives a signal that it does not handle
        if self.started and sig == signal.SIGTERM:
            self._delay_seconds = self._lifecycle.settings.drain_delay_seconds
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop being ready, accept connections until the delay is over, then answer what has arrived."""
        self._lifecycle.drain(self._delay_seconds)
        self._connections.announce_close()
        refusal = asyncio.create_task(self._lifecycle.refuse_the_rest())
        await self._wait(self._delay_seconds, lambda: False)
        await self._stop_listening(sockets or [])
        await self._wait(_LINGER_SECONDS, lambda: not self._connections.waiting)
        self.config.timeout_graceful_shutdown = math.ceil(self._lifecycle.drain_seconds_left) + _REFUSAL_SECONDS
        await super().shutdown(sockets)
        refusal.cancel()
        self._checks.cancel()
        self._has_stopped = True

    async def _wait(self, seconds: float, is_over: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        until, is_late = loop.time() + seconds, False
        while not (is_late or is_over() or self.force_exit):
            is_late = loop.time() >= until  # once more then: what has arrived while the loop was held up is read
            await asyncio.sleep(_POLL_SECONDS)

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Close the listeners, which resets what they have not accepted; so accept it just before.

        Who connects between the two would be reset as well; so nobody may from shortly before.
        """
        for listener in sockets:
            _ignore_newcomers(listener)
        await asyncio.sleep(_POLL_SECONDS)  # for the handshakes that are under way
        accepted = [connection for listener in sockets for connection in _accept_all(listener)]
        for server in self.servers:
            server.close()
        for listener in sockets:
            listener.close()
        loop = asyncio.get_running_loop()
        for connection in accepted:
            with contextlib.suppress(OSError):  # its client has gone
                await loop.connect_accepted_socket(self._make_connection, connection)

    def _make_connection(self) -> Connection:
        return Connection(self.config, self._connections, self.lifespan.state)


def _ignore_newcomers(listener: socket.socket) -> None:
    """Let Linux drop the packets that ask for a connection; their senders try again, and find the port closed."""
    if sys.platform == "linux":
        instructions = ctypes.create_string_buffer(_DROP_SYN)
        program = struct.pack("HP", len(_DROP_SYN) // 8, ctypes.addressof(instructions))
        with contextlib.suppress(OSError):  # a sandbox may know no filters
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    """The connections that wait in a non-blocking listener's queue."""
    accepted = []
    with contextlib.suppress(OSError):  # BlockingIOError when there are no more
        while True:
            accepted.append(listener.accept()[0])
    return accepted
