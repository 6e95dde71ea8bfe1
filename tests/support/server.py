"""A real server in a thread of this process."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from service.api.connections import Connections
from service.api.server import Server, listen
from tests.support.standin import wait_until


@dataclass
class Serving:
    address: tuple[str, int]
    metric: Callable[[str], float]
    connections: Connections
    stop: Callable[[], None]

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection(self.address, timeout=20)
        connection.sendall(sent)
        return connection

    def get(self, path: str = "/healthz/ready") -> httpx.Response:
        return httpx.get("http://{}:{}{}".format(*self.address, path), timeout=20)

    def post(self, photo: bytes) -> httpx.Response:
        return httpx.post("http://{}:{}/pose".format(*self.address), content=photo, timeout=20)


@contextmanager
def running(server: Server) -> Iterator[Serving]:
    """Run a server until the end of the `with` block, or until it is stopped."""
    listener = listen("127.0.0.1", 0)
    address = listener.getsockname()[:2]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()

    def stop() -> None:
        server.should_exit = True

    try:
        wait_until(lambda: server.started or not thread.is_alive())
        value = server._lifecycle.metrics.registry.get_sample_value
        yield Serving(address, lambda name: value(name) or 0.0, server._connections, stop)
    finally:
        stop()
        thread.join(20)
        assert not thread.is_alive()
