"""SIGTERM on a real process, with the stand-in for the network: no request is lost."""

import http.client
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.api import server
from service.settings import Settings
from tests.support.standin import wait_until
from tests.system.test_server import Server, stop

CLIENTS = 32


def post_until_refused(address: tuple[str, int], photo: bytes, answers: list[str]) -> None:
    """Post on kept connections, as long as new ones are accepted; each answer's or failure's word goes to `answers`."""
    while True:
        connection = http.client.HTTPConnection(*address, timeout=20)
        try:
            connection.connect()
        except ConnectionRefusedError:
            return
        while connection.sock is not None:  # http.client drops it after `Connection: close`
            try:
                connection.request("POST", "/pose", photo)
                answer = connection.getresponse()
                answer.read()
                answers.append(f"{answer.status} {answer.getheader('connection', 'kept')}")
            except (http.client.HTTPException, OSError) as error:
                answers.append(type(error).__name__)
                connection.close()


@pytest.mark.parametrize("delay", ["0", "0.5"])
def test_kept_connections_lose_no_request(delay: str, serve: Callable[..., Server], astronaut: bytes) -> None:
    running = serve(DSNT_POSE_DRAIN_DELAY_SECONDS=delay)
    answers: list[str] = []
    with ThreadPoolExecutor(CLIENTS) as clients:
        for _ in range(CLIENTS):
            clients.submit(post_until_refused, running.address, astronaut, answers)
        wait_until(lambda: len(answers) >= 3 * CLIENTS)
        assert stop(running) == 0
    assert set(answers) == {"200 kept", "200 close"}
    assert answers.count("200 close") >= CLIENTS


def test_connections_are_accepted_for_a_while_though_it_is_not_ready(
    serve: Callable[..., Server], astronaut: bytes
) -> None:
    running = serve(DSNT_POSE_DRAIN_DELAY_SECONDS="1000")
    ready = f"{running.url}/healthz/ready"
    assert httpx.get(ready).status_code == 200
    running.process.send_signal(signal.SIGTERM)
    wait_until(lambda: httpx.get(ready).status_code == 503)
    answer = running.post(astronaut)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert running.metric("pose_ready") == 0
    assert running.process.poll() is None


def test_what_arrived_on_a_kept_connection_before_the_end_is_answered(
    serve: Callable[..., Server], astronaut: bytes
) -> None:
    running = serve()
    head = f"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: {len(astronaut)}\r\n\r\n".encode()
    with socket.create_connection(running.address, timeout=20) as busy:
        busy.sendall(head + astronaut[:-1])
        wait_until(lambda: running.metric("pose_in_flight_requests") == 1)
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not accepts(running.address))
        busy.sendall(astronaut[-1:])
        answer = busy.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert running.process.wait(60) == 0


def accepts(address: tuple[str, int]) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(address) == 0


def test_what_is_left_after_the_drain_is_refused_in_words(
    tmp_path: Path, serve: Callable[..., Server], astronaut: bytes
) -> None:
    hold = tmp_path / "hold"
    running = serve(HOLD=str(hold), DSNT_POSE_DRAIN_SECONDS="0.2")
    hold.touch()  # the network is held: however fast it were, nothing is answered within the drain
    with ThreadPoolExecutor(40) as clients:
        accepted = [clients.submit(running.post, astronaut, "refine=false") for _ in range(40)]  # an image each
        wait_until(lambda: running.metric("pose_admitted_images") == 40, seconds=60)
        running.process.send_signal(signal.SIGTERM)
        answers = [answer.result() for answer in accepted]
    hold.unlink()
    assert running.process.wait(60) == 0
    assert {(answer.status_code, answer.json()["reason"]) for answer in answers} == {(503, "not_ready")}


def test_a_body_that_stalls_beyond_the_drain_is_refused_in_words(serve: Callable[..., Server]) -> None:
    running = serve(DSNT_POSE_DRAIN_SECONDS="0.2")
    with socket.create_connection(running.address, timeout=60) as connection:
        connection.sendall(b"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbegun")
        wait_until(lambda: running.metric("pose_in_flight_requests") == 1)
        assert stop(running) == 0
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"reason":"not_ready"' in answer
    assert "POST /pose 503" in running.log.read_text()


def test_who_stops_it_by_hand_need_not_wait_for_a_balancer(serve: Callable[..., Server]) -> None:
    running = serve(DSNT_POSE_DRAIN_DELAY_SECONDS="1000")
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0


def test_a_second_ctrl_c_ends_a_stop_at_once(serve: Callable[..., Server], astronaut: bytes) -> None:
    running = serve()
    head = f"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: {len(astronaut)}\r\n\r\n".encode()
    with socket.create_connection(running.address, timeout=20) as busy:
        busy.sendall(head)  # and no body, so that the stop has something to wait for
        wait_until(lambda: running.metric("pose_in_flight_requests") == 1)
        running.process.send_signal(signal.SIGINT)
        wait_until(lambda: "Shutting down" in running.log.read_text())
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(60) == -signal.SIGINT


def test_the_whole_drain_is_shorter_than_the_patience_of_kubernetes() -> None:
    settings = Settings()
    assert settings.drain_delay_seconds + settings.drain_seconds + server._REFUSAL_SECONDS < 30
