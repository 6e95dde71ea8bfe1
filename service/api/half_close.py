"""A client that has no more to send and still waits for its answer."""

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_FIRST_PROBE_SECONDS: Final = 0.2  # most answers are there before
_PROBE_GROWTH: Final = 2.0  # the next comes after twice as long; it is the second that fails on a connection reset


class HalfCloseProtocol(H11Protocol):
    """uvicorn's connection, which answers a client that shuts its sending side down after a whole request.

    TCP does not tell such a client from one that has hung up, until something is written to it: then the latter's
    system resets the connection. So `100 Continue`, which clients of HTTP/1.1 skip wherever it comes, is written now
    and then while the answer is made. A client of HTTP/1.0 may get no such thing: that it sends no more is taken for a
    hang-up, as proxies that speak it mean it.
    """

    _has_ended = False
    _probe: asyncio.TimerHandle | None = None

    @property
    def _awaits_answer(self) -> bool:
        """Whether a request has arrived whole and is not answered yet."""
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio keeps the connection if it is true
        """Keep a connection whose client awaits an answer."""
        self._has_ended = self._awaits_answer and self.scope["http_version"] != "1.0"
        if self._has_ended:
            self._stop_probing()
            self._probe_after(_FIRST_PROBE_SECONDS)
        return self._has_ended

    def _probe_after(self, seconds: float) -> None:
        """In so many seconds write what the system of a client that has hung up resets the connection for."""

        def probe() -> None:
            if self._awaits_answer and not self.cycle.response_started:
                interim = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
                self.transport.write(self.conn.send(interim) or b"")
                self._probe_after(seconds * _PROBE_GROWTH)

        self._probe = self.loop.call_later(seconds, probe)

    def _stop_probing(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    def on_response_complete(self) -> None:
        """Close a connection whose client sends no more, unless another of its requests had arrived before."""
        super().on_response_complete()
        if self._has_ended and self._awaits_answer:
            self._stop_probing()
            self._probe_after(_FIRST_PROBE_SECONDS)
        elif self._has_ended:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_probing()
        super().connection_lost(exc)
