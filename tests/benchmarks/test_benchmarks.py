"""The measuring itself: requests as bytes, figures from answers, and loads of a server that computes nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.types import Receive, Scope, Send

from tests.benchmarks import path
from tests.benchmarks.generator import Load, closed_loop, open_loop
from tests.benchmarks.photos import large_photo, small_photo, whole
from tests.benchmarks.processes import family
from tests.benchmarks.server import Server, ServerError, paused, serving
from tests.benchmarks.wire import Call

STALL_SECONDS = 0.05
_turn = asyncio.Lock()


async def one_at_a_time(scope: Scope, receive: Receive, send: Send) -> None:
    """A server that takes `STALL_SECONDS` for a request, and one request at a time."""
    async with _turn:
        await asyncio.sleep(STALL_SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


def test_a_call_is_a_whole_request() -> None:
    assert Call("/metrics").message() == b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    head, _, body = Call("/pose", b"photo", "image/jpeg").message().partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"POST /pose HTTP/1.1"
    assert {b"Content-Type: image/jpeg", b"Content-Length: 5"} <= set(head.splitlines())
    assert body == b"photo"


def test_photos_ask_for_their_box() -> None:
    assert small_photo().call.target == "/pose?boxes=75,12.5,375,467.5"
    assert large_photo().name == "4000 x 3000, a box"
    assert whole(small_photo()).call.target == "/pose?find=none"


def test_figures_leave_refusals_out_of_the_times() -> None:
    statuses = np.array([200, 200, 429, 0, 200])
    load = Load(2.0, 3, np.array([0.1, 0.2, 9, 60, 0.3]), np.zeros(5), statuses, 0.6, 0.03)
    figures = load.figures()
    assert figures["p50_ms"] == pytest.approx(200)
    assert figures["errors"] == {"0": 1, "429": 1}
    assert figures["per_second"] == 1.5
    assert figures["server_cpu_ms"] == pytest.approx(200)
    assert figures["generator_cpu_ms"] == pytest.approx(10)


def test_figures_of_no_answer_at_all() -> None:
    assert Load(1.0, 0, np.array([1.0]), np.zeros(1), np.array([500]), 0.1, 0.1).figures()["p99_ms"] is None


def test_windows_are_pooled_by_their_answers_and_not_by_their_medians() -> None:
    short = Load(1.0, 1, np.array([0.1]), np.zeros(1), np.array([200]), 0.2, 0.01)
    long = Load(3.0, 3, np.array([0.3, 0.3, 0.3, 9]), np.zeros(4), np.array([200, 200, 200, 500]), 0.6, 0.03)
    figures = Load.pooled([short, long]).figures()
    assert figures["per_second"] == 1
    assert figures["p50_ms"] == pytest.approx(300)
    assert figures["errors"] == {"500": 1}
    assert figures["server_cpu_ms"] == pytest.approx(200)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    program = "tests.benchmarks.test_benchmarks:one_at_a_time"
    with serving((*path.UVICORN, "--lifespan", "off", program), Call("/")) as server:
        yield server


@pytest.mark.slow
def test_clients_in_a_closed_loop_share_the_server(server: Server) -> None:
    load = closed_loop(server, Call("/"), clients=4, seconds=1)
    assert set(load.statuses.tolist()) == {200}
    assert 0 < load.answered <= 1 / STALL_SECONDS + 1
    assert np.median(load.latencies) > 3 * STALL_SECONDS


@pytest.mark.slow
def test_open_arrivals_are_timed_from_when_they_were_due(server: Server) -> None:
    """Twice as many come as can be answered: with each, the wait grows, as no closed loop would see."""
    load = open_loop(server, Call("/"), per_second=2 / STALL_SECONDS, seconds=1)
    assert set(load.statuses.tolist()) == {200}
    assert len(load.latencies) > load.answered
    assert load.latencies.max() > 6 * STALL_SECONDS


@pytest.mark.slow
def test_processor_time_is_the_servers_own(server: Server) -> None:
    load = closed_loop(server, Call("/"), clients=1, seconds=0.5)
    assert 0 <= load.server_cpu_seconds < load.seconds
    assert 0 < load.generator_cpu_seconds < load.seconds


@pytest.mark.slow
def test_a_paused_server_answers_again_afterwards(server: Server) -> None:
    with paused(server):
        assert family_states(server) == {"T"}
    assert closed_loop(server, Call("/"), clients=1, seconds=0.3).answered > 0


def family_states(server: Server) -> set[str]:
    """What the kernel says that a server's processes do: T is stopped."""
    return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in family(server.pid)}


@pytest.mark.slow
def test_a_server_that_does_not_start_tells_why() -> None:
    with (
        pytest.raises(ServerError, match="no_such_module"),
        serving((*path.UVICORN, "no_such_module:app"), Call("/")),
    ):
        pass


@pytest.mark.slow
def test_the_path_is_measured_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    figures = path.measure(0.4)
    assert [row["photo"] for row in figures["alone"]] == [small_photo().name, large_photo().name]
    for row in figures["alone"]:
        assert min(row["service_ms"], row["echo_ms"], row["decode_and_crop_ms"]) > 0
    assert not any(row["errors"] for row in figures["loaded"])
    assert "beyond both" in capsys.readouterr().out
