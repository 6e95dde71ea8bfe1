"""Clients that send no more, on a real server with either event loop."""

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from starlette.types import Receive, Scope, Send

from service.api import half_close
from service.api.app import create_app
from service.inference.engine import Networks
from service.settings import Settings
from tests.support.listening import listening, read_all
from tests.support.standin import StandIn, wait_until

LOOPS = ["asyncio", *(["uvloop"] if sys.platform != "win32" else [])]
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class Slow:
    """An application that answers when `gate` opens, unless its client hangs up first, which `ended` then says."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.started = 0
        self.ended: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        self.started += 1
        while (await receive()).get("more_body"):
            pass
        hang_up = asyncio.ensure_future(receive())
        while not self.gate.is_set() and not hang_up.done():
            await asyncio.wait([hang_up], timeout=0.005)
        self.ended.append(hang_up.result()["type"] if hang_up.done() else "answered")
        hang_up.cancel()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def live(self, receive: Receive, send: Send) -> None:
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})


@pytest.fixture(autouse=True)
def _probe_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_close, "_FIRST_PROBE_SECONDS", 0.01)


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def slow(loop: Literal["asyncio", "uvloop"]) -> Iterator[tuple[Slow, socket.socket]]:
    app = Slow()
    with listening(app, loop) as address, socket.create_connection(address, timeout=20) as connection:
        yield app, connection
        app.gate.set()


def test_a_client_that_half_closes_gets_its_answer(slow: tuple[Slow, socket.socket]) -> None:
    app, connection = slow
    connection.sendall(GET)
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(len(INTERIM)) == INTERIM  # so the server has seen it
    app.gate.set()
    answer = read_all(connection)
    assert answer.replace(INTERIM, b"").startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"ok")
    assert app.ended == ["answered"]


def test_all_that_has_arrived_before_is_answered(slow: tuple[Slow, socket.socket]) -> None:
    app, connection = slow
    connection.sendall(GET * 3)
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(len(INTERIM)) == INTERIM  # the end has been seen, though requests still wait before it
    app.gate.set()
    assert read_all(connection).count(b"HTTP/1.1 200 OK\r\n") == 3
    assert app.ended == ["answered"] * 3


def test_a_client_that_hangs_up_ends_the_work(slow: tuple[Slow, socket.socket]) -> None:
    app, connection = slow
    connection.sendall(GET)
    wait_until(lambda: app.started == 1)
    connection.close()
    wait_until(lambda: app.ended == ["http.disconnect"])


@pytest.mark.parametrize("request_bytes", [b"GET / HTTP/1.0\r\n\r\n", GET[:-4] + b"\r\nContent-Length: 5\r\n\r\nabc"])
def test_a_client_that_may_not_be_probed_or_has_not_sent_all_has_hung_up(
    request_bytes: bytes, slow: tuple[Slow, socket.socket]
) -> None:
    app, connection = slow
    connection.sendall(request_bytes)
    wait_until(lambda: app.started == 1)
    connection.shutdown(socket.SHUT_WR)
    assert read_all(connection) == b""
    if b"1.0" in request_bytes:
        wait_until(lambda: app.ended == ["http.disconnect"])


def test_a_connection_without_a_request_is_closed(slow: tuple[Slow, socket.socket]) -> None:
    _, connection = slow
    connection.sendall(GET[:10])
    connection.shutdown(socket.SHUT_WR)
    assert read_all(connection) == b""


def test_a_photo_is_answered_after_a_half_close_and_dropped_after_a_hang_up(
    engine: StandIn, astronaut: bytes, loop: Literal["asyncio", "uvloop"]
) -> None:
    app = create_app(Settings(), lambda _: Networks(engine))
    post = b"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(astronaut) + astronaut
    with listening(app, loop) as address:
        engine.gate.clear()
        engine.batches.clear()
        with socket.create_connection(address, timeout=20) as gone:
            gone.sendall(post)
            wait_until(lambda: len(engine.batches) == 1)
        count = app.state.lifecycle.metrics.registry.get_sample_value
        wait_until(lambda: count("pose_rejected_total", {"reason": "client_gone"}) == 1)
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(post)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(len(INTERIM)) == INTERIM
            engine.gate.set()
            assert b'"people":[{"box"' in read_all(connection)
