"""Answers that come before their request's body has arrived, on a real server."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from service.api import linger
from service.api.app import create_app
from service.inference.engine import Networks
from service.settings import Settings
from tests.support.listening import listening, read_all
from tests.support.standin import StandIn

LIMIT = 2**20
CHUNK = b"%x\r\n%b\r\n" % (2**16, bytes(2**16))
HEAD = b"POST /pose HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def address(engine: StandIn) -> Iterator[tuple[str, int]]:
    with listening(create_app(Settings(max_body_bytes=LIMIT), lambda _: Networks(engine))) as address:
        yield address


def chunks(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield bytes(2**16)


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_a_chunked_body_beyond_the_limit_gets_its_answer(connection: str, address: tuple[str, int]) -> None:
    """httpx reads no answer before it has sent all."""
    url = f"http://{address[0]}:{address[1]}"
    answer = httpx.post(f"{url}/pose", content=chunks(400), headers={"Connection": connection}, timeout=20)
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("header", [b"Transfer-Encoding: chunked", b"Content-Length: 99999999"])
def test_a_client_that_sends_all_the_same_reads_the_answer_and_the_end(header: bytes, address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(HEAD + header + b"\r\n\r\n")
        for _ in range(200):
            connection.sendall(CHUNK)
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert answer.endswith(b'"reason":"too_large"}')


def test_a_client_that_never_ends_is_closed(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linger, "_LINGER_SECONDS", 0.05)
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(HEAD + b"Content-Length: 99999999\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")


def test_a_refused_body_within_the_limit_keeps_its_connection(address: tuple[str, int]) -> None:
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}", timeout=20) as client:
        answers = [client.post("/nowhere", content=bytes(LIMIT)) for _ in range(2)]
        streams = {id(answer.extensions["network_stream"].get_extra_info("socket")) for answer in answers}
    assert [answer.status_code for answer in answers] == [404, 404]
    assert "connection" not in answers[0].headers
    assert len(streams) == 1


def test_a_client_that_expects_a_sign_is_not_waited_for(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Encoding: gzip\r\nContent-Length: 50\r\n\r\n")
        answer = b""
        while b'"reason":' not in answer:
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()
