"""How a server stops: what has arrived is answered."""

import socket

import pytest

from service.api import server
from service.api.app import create_app
from service.api.connections import Limits
from service.api.server import Server
from service.settings import Settings
from tests.support.server import running
from tests.support.standin import StandIn, wait_until

PROBE = b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS = Limits(100, head_seconds=1000, read_seconds=1000)


def accepts(address: tuple[str, int]) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(address) == 0


def assert_last_answer(connection: socket.socket) -> None:
    answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert connection.recv(65536) == b""


def test_a_request_on_its_way_on_a_kept_connection_is_answered(
    settings: Settings, engine: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_LINGER_SECONDS", 1000)
    app = create_app(settings, lambda _: engine)
    with running(Server(app, app.state.runtime, LIMITS)) as serving, serving.connect(PROBE) as kept:
        assert b"connection: close" not in kept.recv(65536)
        serving.stop()
        wait_until(lambda: not accepts(serving.address))
        kept.sendall(PROBE)
        assert_last_answer(kept)


def test_a_connection_that_was_not_accepted_yet_is_answered(settings: Settings, engine: StandIn) -> None:
    late: list[socket.socket] = []

    class Interrupted(Server):
        async def _stop_listening(self, sockets: list[socket.socket]) -> None:
            for listener in sockets:
                late.append(socket.create_connection(listener.getsockname(), timeout=20))
                late[-1].sendall(PROBE)
            await super()._stop_listening(sockets)

    app = create_app(settings, lambda _: engine)
    with running(Interrupted(app, app.state.runtime, LIMITS)) as serving:
        serving.stop()
        wait_until(lambda: bool(late))
        with late[0] as connection:
            assert_last_answer(connection)
