"""Workers over one stand-in, and what tests do with them."""

import time
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from models.spec.contract import JOINT_OUTPUTS, OUTPUTS
from service.errors import NotReady
from service.forecast import Throughput
from service.inference.schedule import Lane, Served
from service.inference.workers import Workers
from service.metrics import Metrics
from tests.support.standin import StandIn, compute, wait_until


def crops(count: int, seed: int = 0) -> NDArray[np.uint8]:
    colours = np.random.default_rng(seed).integers(1, 255, (count, 1, 1, 3), np.uint8)
    return np.broadcast_to(colours, (count, 224, 224, 3))


def soon() -> float:
    return time.monotonic() + 20


def is_answer_to(future: "Future[Served]", images: NDArray[np.uint8], heatmaps: bool = False) -> bool:
    found, expected = future.result(20).outputs, compute(images, OUTPUTS if heatmaps else JOINT_OUTPUTS)
    return found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in expected)


class Bench:
    """Workers over one stand-in."""

    def __init__(self, engine: StandIn, metrics: Metrics, stall_seconds: float = 20) -> None:
        self.lane = Lane(engine, Throughput(time.monotonic), metrics.observe_batch)
        self.workers = Workers([self.lane], metrics, stall_seconds)
        self.workers.start()

    def submit(self, images: NDArray[np.uint8], deadline: float, heatmaps: bool = False) -> "Future[Served]":
        return self.workers.submit(self.lane, images, frozenset(OUTPUTS if heatmaps else JOINT_OUTPUTS), deadline)


def is_closed(bench: Bench) -> bool:
    try:
        bench.workers.ensure_open()
    except NotReady:
        return True
    return False


def hold(bench: Bench, engine: StandIn) -> "Future[Served]":
    """Occupy the engine with one image until its gate is opened."""
    engine.gate.clear()
    before = len(engine.batches)
    future = bench.submit(crops(1, seed=99), soon())
    wait_until(lambda: len(engine.batches) > before)
    return future
