"""The real service with the real model, over real HTTP."""

import base64
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from models.spec.contract import SHIPPED_MODEL
from tests.support.standin import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model file is not here"),
]

BOXES = ("60,10,300,500", "100,0,250,250", "0,0,512,512", "150,50,200,400")


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def post(self, photo: bytes, query: str = "", **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/pose?{query}", content=photo, timeout=60, **options)

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", httpx.get(f"{self.url}/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@contextlib.contextmanager
def starting(log: Path, program: Sequence[str] = ("-m", "service"), **environment: str) -> Iterator[Server]:
    """A service until the end of the `with` block; it stops without a delay unless its environment says so."""
    command = [sys.executable, *program, "serve", "--port", "0"]
    environment = {**os.environ, "DSNT_POSE_DRAIN_DELAY_SECONDS": "0", **environment}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=Path(__file__).parents[2], env=environment)
    try:
        wait_until(lambda: b"listening on" in log.read_bytes() or process.poll() is not None, seconds=120)
        assert process.poll() is None, log.read_text()
        url = re.search(r"listening on (http://\S+)", log.read_text())
        assert url is not None
        yield Server(process, url[1], log)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


def stop(server: Server) -> int:
    server.process.send_signal(signal.SIGTERM)
    return server.process.wait(60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with starting(tmp_path_factory.mktemp("server") / "log") as server:
        yield server
        assert stop(server) == 0


def joints(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.array([[(j["x"], j["y"]) for j in person["joints"]] for person in answer.json()["people"]])


def test_the_astronauts_upper_body_is_found(server: Server, astronaut: bytes) -> None:
    """Positions as the eye sees them; the box holds the whole person, below the photo's edge as well."""
    answer = server.post(astronaut, "boxes=20,15,350,1000")
    found = {j["name"]: (j["x"], j["y"]) for j in answer.json()["people"][0]["joints"]}
    wanted = {"head_top": (228, 20), "upper_neck": (220, 190), "right_shoulder": (95, 255), "left_shoulder": (330, 265)}
    half_a_head_px = 60
    for name, (x, y) in wanted.items():
        assert np.hypot(found[name][0] - x, found[name][1] - y) < half_a_head_px, (name, found[name])


def test_all_three_bodies_give_the_same_joints(server: Server, astronaut: bytes) -> None:
    raw = joints(server.post(astronaut, f"boxes={BOXES[0]}"))
    form = httpx.post(f"{server.url}/pose", files={"image": astronaut}, data={"boxes": BOXES[0]}, timeout=60)
    text = base64.b64encode(astronaut).decode()
    body = {"image": text, "boxes": [[float(side) for side in BOXES[0].split(",")]]}
    np.testing.assert_array_equal(joints(form), raw)
    np.testing.assert_array_equal(joints(httpx.post(f"{server.url}/pose", json=body, timeout=60)), raw)


def test_several_people_come_in_order(server: Server, astronaut: bytes) -> None:
    together = joints(server.post(astronaut, "boxes=" + ";".join((*BOXES, BOXES[0]))))
    alone = np.concatenate([joints(server.post(astronaut, f"boxes={box}")) for box in (*BOXES, BOXES[0])])
    assert together.shape == alone.shape
    # Alone, a large box lets the photo be decoded coarsely, which moves the joints that are not in the picture.
    moved = np.linalg.norm(together - alone, axis=-1)
    assert np.median(moved, axis=1).max() < 625 / 224  # a pixel of the largest crop


def test_every_refusal_is_followed_by_an_answer(server: Server, astronaut: bytes, encode: Callable[..., bytes]) -> None:
    huge = encode(Image.new("1", (20_000, 20_000)))
    cases = [
        (astronaut[: len(astronaut) // 2], "", 400),
        (b"", "", 400),
        (b"plain text", "", 415),
        (huge, "", 413),
        (bytes(32 * 2**20 + 1), "", 413),
        (astronaut, "boxes=513,0,10,10", 422),
        (astronaut, "boxes=0,0,-10,10", 422),
        (astronaut, "boxes=" + ";".join(["0,0,9,9"] * 1000), 422),
        (astronaut, "format=png", 422),
    ]
    for photo, query, status in cases:
        refused = server.post(photo, query)
        assert (refused.status_code, refused.headers["content-type"]) == (status, "application/problem+json")
        assert server.post(astronaut).status_code == 200


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (300, 200)])
def test_tiny_thin_and_black_photos_are_answered(
    size: tuple[int, int], server: Server, encode: Callable[..., bytes]
) -> None:
    assert np.isfinite(joints(server.post(encode(Image.new("RGB", size))))).all()


def test_a_chunked_body_is_limited_as_it_comes(server: Server) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(2**20)

    refused = 'pose_rejected_total{reason="too_large"}'
    before = server.metric(refused)
    assert httpx.post(f"{server.url}/pose", content=chunks(), timeout=60).status_code == 413
    assert httpx.get(f"{server.url}/healthz/ready").status_code == 200
    assert server.metric(refused) == before + 1


def test_those_who_stay_get_their_own_answers_when_others_hang_up(server: Server, astronaut: bytes) -> None:
    queries = [f"boxes={BOXES[index % len(BOXES)]}" for index in range(16)]
    alone = {query: joints(server.post(astronaut, query)) for query in set(queries)}
    gone_before = server.metric('pose_rejected_total{reason="client_gone"}')

    def hang_up(index: int) -> None:
        body = astronaut if index % 2 else astronaut[: len(astronaut) // 2]
        head = f"POST /pose?boxes=0,0,40,40 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(astronaut)}\r\n\r\n"
        with socket.create_connection(server.address) as connection:
            connection.sendall(head.encode() + body)

    with ThreadPoolExecutor(32) as clients:
        staying = [clients.submit(server.post, astronaut, query) for query in queries]
        list(clients.map(hang_up, range(16)))
        for query, answer in zip(queries, staying, strict=True):
            np.testing.assert_allclose(joints(answer.result()), alone[query], atol=0.5)
    # Those whose bodies are cut; the others are noticed if they wait for their answers long enough.
    wait_until(lambda: server.metric('pose_rejected_total{reason="client_gone"}') >= gone_before + 8)
    wait_until(lambda: server.metric("pose_in_flight_requests") == server.metric("pose_admitted_images") == 0)


@pytest.mark.parametrize(
    "offer", ["Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk", "Upgrade\r\nUpgrade: websocket"]
)
def test_an_offer_of_another_protocol_is_passed_over(server: Server, astronaut: bytes, offer: str) -> None:
    """Java's own client offers HTTP/2 with every first request."""
    with socket.create_connection(server.address, timeout=20) as connection:
        head = f"POST /pose HTTP/1.1\r\nHost: x\r\nConnection: {offer}\r\nContent-Length: {len(astronaut)}\r\n\r\n"
        connection.sendall(head.encode() + astronaut)
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_endless_headers_are_refused(server: Server) -> None:
    with socket.create_connection(server.address, timeout=20) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: x\r\nX-Long: " + bytes([97]) * 2**20)
        assert connection.recv(12) in (b"HTTP/1.1 400", b"")


def test_slow_uploads_do_not_keep_others_out(server: Server, astronaut: bytes) -> None:
    with contextlib.ExitStack() as connections:
        for _ in range(300):
            connection = connections.enter_context(socket.create_connection(server.address))
            connection.sendall(b"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n\xff\xd8\xff")
        assert server.post(astronaut).status_code == 200


def test_nothing_leaks(server: Server, astronaut: bytes) -> None:
    folder = Path(f"/proc/{server.process.pid}")

    def counts() -> tuple[int, int]:
        return len(os.listdir(folder / "fd")), len(os.listdir(folder / "task"))

    server.post(astronaut)
    before = counts()
    for _ in range(5):
        server.post(astronaut)
        server.post(b"text")
    wait_until(lambda: counts()[0] <= before[0] + 1 and counts()[1] <= before[1] + 1)
    assert server.metric("pose_inference_memory_bytes") < 2**30


def test_sigterm_under_load_loses_no_accepted_request(serve: Callable[..., Server], astronaut: bytes) -> None:
    server = serve(("-m", "service"))
    with ThreadPoolExecutor(8) as clients:
        people = f"boxes={';'.join(2 * BOXES)}"  # so many that none is answered before all are accepted
        accepted = [clients.submit(server.post, astronaut, people) for _ in range(8)]
        wait_until(lambda: server.metric("pose_in_flight_requests") >= 8)
        assert stop(server) == 0
        assert [answer.result().status_code for answer in accepted] == [200] * 8
    with pytest.raises(httpx.ConnectError):
        server.post(astronaut)
