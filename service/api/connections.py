"""Connections of the HTTP server: none waits for its client for ever, and none keeps others out."""

import logging
import math
from asyncio import Transport
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final, Self

from uvicorn.server import ServerState

from service.api.half_close import HalfCloseProtocol
from service.host import free_descriptors
from service.settings import Settings

_log = logging.getLogger(__name__)

_HEAD_SECONDS: Final = 10.0  # a request's head is a packet or two
_MOST_CONNECTIONS: Final = 4096  # 16 KiB of an unfinished head in each are 64 MiB
_SPARE_DESCRIPTORS: Final = 64  # for what the process opens itself; a GPU's driver takes dozens
_NEWEST: Final = 16  # waiting connections that stay when there are too many: a probe's is among them
_LOG_SECONDS: Final = 60.0
_CLOSE: Final = (b"connection", b"close")


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take.

    Attributes:
        connections: Most connections, and most requests being answered; beyond it the newest few still wait.
        head_seconds: Most seconds from a connection, or a later request's first byte, to the end of the request's head.
        read_seconds: Most seconds for a client to read an answer.
    """

    connections: int
    head_seconds: float
    read_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits of this process, which may open as many files from now on as the system lets it."""
        connections = min(free_descriptors() - _SPARE_DESCRIPTORS - 2 * _NEWEST, _MOST_CONNECTIONS)
        return cls(max(1, int(connections)), _HEAD_SECONDS, settings.deadline_seconds)


class Connections(ServerState):
    """All connections of a server; belongs to the event loop.

    Attributes:
        limits: What clients may take.
        waiting: Connections whose next move is their client's; who has waited longest comes first.
    """

    connections: set["Connection"]  # type: ignore[assignment]  # of this kind only

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.waiting: OrderedDict[Connection, None] = OrderedDict()
        self._closed: Counter[str] = Counter()
        self._log_due = -math.inf

    def has_room(self) -> bool:
        """Whether fewer requests are being answered than there may be connections."""
        return len(self.connections) - len(self.waiting) <= self.limits.connections

    def sort(self, connection: "Connection") -> None:
        """Note whether a connection waits for its client; one that waited before keeps its place."""
        if connection.waits_for_client and connection in self.connections:
            self.waiting.setdefault(connection)
        else:
            self.waiting.pop(connection, None)

    def make_room(self) -> None:
        """Close the connection that has waited longest for its client if there are too many."""
        if len(self.connections) > self.limits.connections and len(self.waiting) > _NEWEST:
            self.close(next(iter(self.waiting)), f"beyond the limit of {self.limits.connections}")

    def close_overdue(self, now: float) -> None:
        """Close the connections whose clients were too slow, and log how many were closed; to be called every second.

        Args:
            now: The event loop's time.
        """
        for connection in list(self.connections):
            if reason := connection.overdue(now):
                self.close(connection, reason)
        if self._closed and now >= self._log_due:
            counts = ", ".join(f"{count} {reason}" for reason, count in self._closed.items())
            _log.warning("closed connections: %s", counts)
            self._closed.clear()
            self._log_due = now + _LOG_SECONDS

    def close(self, connection: "Connection", reason: str) -> None:
        """Close a connection at once, whatever its client has not read."""
        self._closed[reason] += 1
        self.connections.discard(connection)
        self.waiting.pop(connection, None)
        connection.transport.abort()

    def announce_close(self) -> None:
        """Let every answer that has not begun say that its connection closes."""
        self.default_headers = [*self.default_headers, _CLOSE]
        for connection in self.connections:
            if connection.cycle is not None and not connection.cycle.response_started:
                connection.cycle.default_headers = self.default_headers


class Connection(HalfCloseProtocol):
    """uvicorn's connection, which knows how long it has waited for its client."""

    server_state: Connections
    _head_since: float | None = None
    _unread_since: float | None = None

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def waits_for_client(self) -> bool:
        """Whether the next move is the client's: to send a request or the rest of one, or to read the answer."""
        return not self._is_answering or self.cycle.more_body or self.flow.write_paused

    def overdue(self, now: float) -> str | None:
        """Why the connection should be closed; None while it need not be."""
        limits = self.server_state.limits
        if not self.transport.get_write_buffer_size():
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        if self._head_since is not None and now - self._head_since > limits.head_seconds:
            return f"whose request did not come within {limits.head_seconds:g} s"
        if self._unread_since is not None and now - self._unread_since > limits.read_seconds:
            return f"whose answer was not read within {limits.read_seconds:g} s"
        return None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._head_since = self.loop.time()
        self.server_state.sort(self)
        self.server_state.make_room()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        super().data_received(data)
        if self._is_answering:
            self._head_since = None
        elif self._head_since is None:
            self._head_since = self.loop.time()
        self.server_state.sort(self)

    def on_response_complete(self) -> None:
        """Wait for the next request, or take one that has come already."""
        super().on_response_complete()
        self._unread_since = None
        if not self._is_answering and self.conn.trailing_data[0]:
            self._head_since = self.loop.time()
        self.server_state.sort(self)

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self.server_state.sort(self)

    def resume_writing(self) -> None:
        """Go on when the client has read enough."""
        super().resume_writing()
        self.server_state.sort(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; its timer too, which would hold its memory for the time of keep-alive."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.server_state.sort(self)
