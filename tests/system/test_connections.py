"""Connections of a process that may open few files; the network is the stand-in."""

import socket
from collections.abc import Callable
from contextlib import ExitStack

import httpx

from tests.support.standin import wait_until
from tests.system.test_server import Server, stop


def test_silent_connections_that_would_need_all_descriptors_do_not_lock_out_the_probes(
    serve: Callable[..., Server],
) -> None:
    running = serve(DESCRIPTORS="256")
    with ExitStack() as connections:
        for count in range(600):
            connection = connections.enter_context(socket.create_connection(running.address, timeout=20))
            connection.sendall(b"GET /healthz/ready HTTP/1.1\r\nHost:"[: count % 2 * 30])
            if count % 20 == 0:
                assert httpx.get(f"{running.url}/healthz/ready", timeout=20).status_code == 200
        wait_until(lambda: "closed connections: " in running.log.read_text())
    assert stop(running) == 0
