"""The rules for connections, on a real server in this process; the network is the stand-in."""

import asyncio
import contextlib
import itertools
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack

import pytest
import uvicorn

from service.api import server
from service.api.app import create_app
from service.api.connections import Connection, Connections, Limits
from service.api.server import Server
from service.inference.engine import Networks
from service.settings import Settings
from tests.support.paths import ROOT
from tests.support.server import Serving, running
from tests.support.standin import StandIn, wait_until

PROBE = b"GET /healthz/ready HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_A_HEAD = b"GET /healthz/ready HTTP/1.1\r\nHost:"
HALF_A_BODY = b"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n\xff\xd8"
LONG = 1000.0


Serve = Callable[..., AbstractContextManager[Serving]]


@pytest.fixture
def serve(engine: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Serve:
    monkeypatch.setattr(server, "_CHECK_SECONDS", 0.02)

    def serve(limits: Limits, **chosen: object) -> AbstractContextManager[Serving]:
        app = create_app(settings.model_copy(update=chosen), lambda _: Networks(engine))
        return running(Server(app, app.state.lifecycle, limits))

    return serve


def drip_until_closed(connection: socket.socket, seconds: float = 20) -> None:
    """Send a byte at a time until the server has closed the connection."""
    limit = time.monotonic() + seconds
    connection.settimeout(0.02)
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < limit:
            with contextlib.suppress(TimeoutError):
                if not connection.recv(65536):
                    return
            connection.sendall(b"a")
        raise AssertionError("the server has not closed the connection in time")


@pytest.mark.parametrize("sent", [b"", HALF_A_HEAD, HALF_A_BODY + bytes(100_000 - 2) + HALF_A_HEAD])
def test_a_connection_without_a_whole_head_is_closed(
    sent: bytes, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(Limits(100, head_seconds=1, read_seconds=LONG)) as serving, serving.connect(sent) as connection:
        while connection.recv(65536):
            pass
        wait_until(lambda: "closed connections: 1 whose request did not come within 1 s" in caplog.messages)


def test_a_byte_now_and_then_does_not_prolong_the_time_for_a_head(serve: Serve) -> None:
    limits = Limits(100, head_seconds=0.2, read_seconds=LONG)
    with serve(limits) as serving, serving.connect(HALF_A_HEAD) as connection:
        drip_until_closed(connection)


def test_the_time_for_a_head_is_neither_that_of_a_body_nor_that_between_requests(
    serve: Serve, astronaut: bytes
) -> None:
    head = f"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: {len(astronaut)}\r\n\r\n".encode()
    with serve(Limits(100, head_seconds=2, read_seconds=LONG)) as serving, ExitStack() as connections:
        slow = connections.enter_context(serving.connect(head + astronaut[:100]))
        kept = connections.enter_context(serving.connect(PROBE))
        assert kept.recv(65536).startswith(b"HTTP/1.1 200 ")
        silent = connections.enter_context(serving.connect())
        assert silent.recv(1) == b""  # later than theirs would be
        slow.sendall(astronaut[100:])
        kept.sendall(PROBE)
        assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert kept.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_connection_without_a_request_stays_for_the_time_of_keep_alive(serve: Serve) -> None:
    assert Settings.model_fields["keep_alive_seconds"].default > 60, "proxies keep their connections for a minute"
    limits = Limits(100, head_seconds=LONG, read_seconds=LONG)
    with serve(limits, keep_alive_seconds=1) as serving, serving.connect(PROBE) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert connection.recv(65536) == b""


def test_a_connection_that_was_reset_leaves_no_timer_that_holds_it(serve: Serve) -> None:
    with serve(Limits(100, head_seconds=LONG, read_seconds=LONG)) as serving:
        with serving.connect(PROBE) as client:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
            connection = next(iter(serving.connections.connections))
            assert connection.timeout_keep_alive_task is not None
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: not serving.connections.connections and connection.timeout_keep_alive_task is None)


class FullTransport(asyncio.Transport):
    """Its client reads, but never all."""

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 100


def test_the_time_for_reading_is_that_of_one_answer() -> None:
    async def run() -> None:
        state = Connections(Limits(100, head_seconds=LONG, read_seconds=10))
        connection = Connection(uvicorn.Config(lambda *_: None, interface="asgi3", log_config=None), state, {})
        connection.connection_made(FullTransport())
        assert connection.overdue(50) is None
        assert connection.overdue(59) is None
        connection.on_response_complete()
        assert connection.overdue(61) is None
        assert connection.overdue(72) == "whose answer was not read within 10 s"

    asyncio.run(run())


def read_nothing(serving: Serving) -> socket.socket:
    """A connection with so many requests that the server cannot get rid of its answers."""
    connection = serving.connect()
    connection.settimeout(0.2)
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nX-Long: " + bytes([97]) * 8000 + b"\r\n\r\n"
    with contextlib.suppress(TimeoutError):
        while True:
            connection.sendall(request)
    return connection


def test_a_client_that_never_reads_is_cut_off(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with serve(Limits(100, head_seconds=LONG, read_seconds=LONG)) as serving, read_nothing(serving):
        wait_until(lambda: serving.metric("pose_in_flight_requests") == 1)
        serving.connections.limits = Limits(100, head_seconds=LONG, read_seconds=0.1)
        wait_until(lambda: "closed connections: 1 whose answer was not read within 0.1 s" in caplog.messages)
        wait_until(lambda: serving.metric("pose_in_flight_requests") == 0)


def test_clients_that_never_read_keep_nobody_out(serve: Serve, astronaut: bytes) -> None:
    with serve(Limits(2, head_seconds=LONG, read_seconds=LONG)) as serving, ExitStack() as connections:
        for _ in range(4):
            connections.enter_context(read_nothing(serving))
        wait_until(lambda: serving.post(astronaut).status_code == 200)
        wait_until(lambda: serving.metric("pose_in_flight_requests") == 4)


def test_what_waits_longest_is_closed_when_there_are_too_many(
    serve: Serve, astronaut: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = (b"", HALF_A_HEAD, PROBE, HALF_A_BODY)
    with serve(Limits(40, head_seconds=LONG, read_seconds=LONG)) as serving, ExitStack() as stack:
        waiting = []
        for _, sent in zip(range(120), itertools.cycle(kinds)):
            waiting.append(stack.enter_context(serving.connect(sent)))
            if sent == PROBE:
                assert waiting[-1].recv(65536).startswith(b"HTTP/1.1 200 ")
        assert serving.get().status_code == 200
        assert serving.post(astronaut).status_code == 200
        for connection in waiting[:80]:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(65536) == b""
        for connection in waiting[-20:]:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
        lines = [line for line in caplog.messages if line.startswith("closed connections: ")]
        assert len(lines) == 1
        assert lines[0].endswith(" beyond the limit of 40")


def test_probes_are_answered_while_all_connections_have_requests(
    serve: Serve, engine: StandIn, astronaut: bytes
) -> None:
    with serve(Limits(4, head_seconds=LONG, read_seconds=LONG)) as serving, ThreadPoolExecutor(4) as clients:
        engine.gate.clear()
        accepted = [clients.submit(serving.post, astronaut) for _ in range(4)]
        wait_until(lambda: serving.get("/report").status_code == 429)
        refused = serving.get("/report")
        assert (refused.status_code, refused.json()["reason"]) == (429, "overloaded")
        assert "Retry-After" in refused.headers
        assert [serving.get(path).status_code for path in ("/healthz/ready", "/metrics")] == [200, 200]
        engine.gate.set()
        assert [answer.result().status_code for answer in accepted] == [200] * 4


@pytest.mark.parametrize(
    ("soft", "hard", "least", "most"), [(64, 256, 100, 160), (300, 6000, 4096, 4096), (64, 64, 1, 1)]
)
def test_the_limit_follows_the_descriptors_that_the_system_allows(soft: int, hard: int, least: int, most: int) -> None:
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "from service.api.connections import Limits; from service.settings import Settings\n"
        "print(Limits.of(Settings()).connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    connections, descriptors = map(int, done.stdout.split())
    assert descriptors == hard
    assert least <= connections <= most
