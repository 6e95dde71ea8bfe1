"""A real server of an application, in a thread of this process."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from service.api.half_close import HalfCloseProtocol
from tests.support.standin import wait_until


@contextlib.contextmanager
def listening(app: ASGIApp, loop: Literal["asyncio", "uvloop"] = "asyncio") -> Iterator[tuple[str, int]]:
    """Address of a server of an application."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=HalfCloseProtocol,
        loop=loop,
        log_config=None,
        access_log=False,
        timeout_keep_alive=60,  # longer than clients wait
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))
