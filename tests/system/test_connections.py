"""Connections of a process that may open few files; the network is the stand-in."""

import socket
from contextlib import ExitStack
from pathlib import Path

import httpx

from tests.support.standin import wait_until
from tests.system.test_server import start, stop


def test_silent_connections_that_would_need_all_descriptors_do_not_lock_out_the_probes(tmp_path: Path) -> None:
    running = start(tmp_path / "log", ("-m", "tests.support.program"), DESCRIPTORS="256")
    try:
        with ExitStack() as connections:
            for count in range(600):
                connection = connections.enter_context(socket.create_connection(running.address, timeout=20))
                connection.sendall(b"GET /healthz/ready HTTP/1.1\r\nHost:"[: count % 2 * 30])
                if count % 20 == 0:
                    assert httpx.get(f"{running.url}/healthz/ready", timeout=20).status_code == 200
            wait_until(lambda: "closed connections: " in running.log.read_text())
    finally:
        assert stop(running) == 0
    assert "Traceback" not in running.log.read_text()
