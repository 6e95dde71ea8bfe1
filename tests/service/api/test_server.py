"""How a server begins, and how it stops: its address is its own, and what has arrived is answered."""

import errno
import select
import socket
import sys

import pytest

from service.api import server
from service.api.app import create_app
from service.api.connections import Limits
from service.api.server import Server, listen
from service.errors import StartupError
from service.inference.engine import Networks
from service.settings import Settings
from tests.support.server import running
from tests.support.standin import StandIn, wait_until

PROBE = b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS = Limits(100, head_seconds=1000, read_seconds=1000)
REUSE = (socket.SOL_SOCKET, socket.SO_REUSEADDR)


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
    app = create_app(settings, lambda _: Networks(engine))
    with running(Server(app, app.state.lifecycle, LIMITS)) as serving, serving.connect(PROBE) as kept:
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

    app = create_app(settings, lambda _: Networks(engine))
    with running(Interrupted(app, app.state.lifecycle, LIMITS)) as serving:
        serving.stop()
        wait_until(lambda: bool(late))
        with late[0] as connection:
            assert_last_answer(connection)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's packet filter")
def test_who_connects_after_the_last_accept_is_not_connected_and_reset(
    settings: Settings, engine: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(settings, lambda _: Networks(engine))
    accept_all = server._accept_all
    with socket.socket() as late:
        late.setblocking(False)

        def accept_all_but_one(listener: socket.socket) -> list[socket.socket]:
            accepted = accept_all(listener)
            late.connect_ex(listener.getsockname())  # its first packet has arrived when this returns
            return accepted

        monkeypatch.setattr(server, "_accept_all", accept_all_but_one)
        with running(Server(app, app.state.lifecycle, LIMITS)) as serving:
            serving.stop()
        select.select([], [late], [], 20)
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_a_request_that_arrived_while_the_server_was_held_up_is_answered(
    settings: Settings, engine: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_LINGER_SECONDS", 0)  # over before the server has looked once
    app = create_app(settings, lambda _: Networks(engine))
    kept: list[socket.socket] = []

    class Interrupted(Server):
        async def _stop_listening(self, sockets: list[socket.socket]) -> None:
            await super()._stop_listening(sockets)
            kept[0].sendall(PROBE)

    with running(Interrupted(app, app.state.lifecycle, LIMITS)) as serving, serving.connect(PROBE) as connection:
        assert b"connection: close" not in connection.recv(65536)
        kept.append(connection)
        serving.stop()
        assert_last_answer(connection)


def test_an_address_that_is_bound_is_taken_before_anyone_listens() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(StartupError, match=rf"^cannot listen on 127\.0\.0\.1:{port}: Address already in use$"):
            listen("127.0.0.1", port)


def test_an_address_where_somebody_listens_is_taken(settings: Settings, engine: StandIn) -> None:
    app = create_app(settings, lambda _: Networks(engine))
    with (
        running(Server(app, app.state.lifecycle, LIMITS)) as serving,
        pytest.raises(StartupError, match="Address already in use"),
    ):
        listen(*serving.address)


def test_an_address_whose_last_connections_fade_is_free(settings: Settings, engine: StandIn) -> None:
    """As after a restart: the connections that the service closed first stay for a minute."""
    app = create_app(settings, lambda _: Networks(engine))
    with running(Server(app, app.state.lifecycle, LIMITS)) as serving, serving.connect(PROBE) as kept:
        assert kept.recv(65536)
        serving.stop()
        assert kept.recv(65536) == b""
    with socket.socket() as strict, pytest.raises(OSError, match="Address already in use"):
        strict.bind(serving.address)
    with listen(*serving.address) as next_life:
        next_life.listen()


def test_without_posix_an_address_is_never_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as first, monkeypatch.context() as elsewhere:  # pytest itself needs the name after a failure
        first.setsockopt(*REUSE, 1)
        first.bind(("127.0.0.1", 0))
        elsewhere.setattr("os.name", "nt")
        with pytest.raises(StartupError, match="Address already in use"):
            listen(*first.getsockname())
