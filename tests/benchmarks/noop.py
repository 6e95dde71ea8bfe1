"""Servers that compute nothing: the service with a network that answers at once, and a bare echo.

`python -m uvicorn --factory tests.benchmarks.noop:service` and `python -m uvicorn tests.benchmarks.noop:echo`.
"""

import logging
from collections.abc import Collection

import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray
from starlette.types import Receive, Scope, Send

from models.spec.contract import OUTPUTS
from service.api.app import create_app
from service.inference.engine import EngineInfo, Networks, Outputs, rows
from tests.support.contracts import make_spec


class NoNetwork:
    """An engine that finds every joint in the crop's middle, without looking."""

    info = EngineInfo(make_spec(), "none", "none", 1)
    batch_sizes = (1, 2, 3, 4)
    streams = 1

    def __init__(self) -> None:
        heatmaps = np.full((self.batch_sizes[-1], 16, 28, 28), 1 / 28**2, np.float32)
        zeros = np.zeros((self.batch_sizes[-1], 16, 3), np.float32)
        self._outputs = dict(zip(OUTPUTS, (zeros[..., :2], zeros, zeros[..., 0], heatmaps), strict=True))

    def warm_up(self) -> None:
        pass

    def run(self, images: NDArray[np.uint8], wanted: Collection[str], shared: bool = False) -> Outputs:
        return rows({name: self._outputs[name] for name in wanted}, slice(len(images)))

    def memory_bytes(self) -> float:
        return 0.0

    def session_bytes(self) -> float:
        return 0.0


def service() -> FastAPI:
    """The whole service but for its network; it logs as `dsnt-pose serve` does."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    return create_app(open_networks=lambda _: Networks(NoNetwork()))


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send a request's body back."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
