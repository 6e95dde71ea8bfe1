"""A client of an application in this process; lifespan and requests run in an event loop of their own thread."""

import functools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio.from_thread
import httpx
from fastapi import FastAPI


class Client:
    def __init__(self, app: FastAPI, portal: anyio.from_thread.BlockingPortal, http: httpx.AsyncClient) -> None:
        self.app = app
        self.portal = portal
        self.http = http

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.portal.call(functools.partial(self.http.request, method, path, **options))

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str = "/pose", **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def metric(self, name: str, **labels: str) -> float:
        return self.app.state.lifecycle.metrics.registry.get_sample_value(name, labels) or 0.0

    async def _hang_up(self, photo: bytes) -> list[dict[str, Any]]:
        """Post a photo and hang up at once, as a server tells an application of it."""
        messages = iter([{"type": "http.request", "body": photo, "more_body": False}, {"type": "http.disconnect"}])
        sent: list[dict[str, Any]] = []
        scope = {"type": "http", "method": "POST", "path": "/pose", "query_string": b"", "headers": [], "state": {}}

        async def receive() -> dict[str, Any]:
            return next(messages)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)  # type: ignore[arg-type]
        return sent

    def hang_up(self, photo: bytes) -> list[dict[str, Any]]:
        return self.portal.call(self._hang_up, photo)


@contextmanager
def serving(app: FastAPI) -> Iterator[Client]:
    """A client of an application that has started, and is stopped at the end."""
    with anyio.from_thread.start_blocking_portal() as portal, portal.wrap_async_context_manager(_http(app)) as http:
        yield Client(app, portal, http)


@asynccontextmanager
async def _http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    http = httpx.AsyncClient(transport=transport, base_url="http://service", timeout=30)
    async with app.router.lifespan_context(app), http:
        yield http
