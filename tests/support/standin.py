"""A stand-in for the network: its answers depend on the crop's pixels, so that swapped answers are caught."""

import threading
import time
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from models.spec.contract import OUTPUTS
from service.inference.engine import EngineInfo, Info, Outputs
from tests.support.contracts import make_finder_spec, make_spec

CELLS = 28


def compute(images: NDArray[np.uint8], wanted: Collection[str] = OUTPUTS) -> Outputs:
    """Coordinates are the mean colours of 16 strips of the crop, the heatmap its darkness."""
    strips = images.reshape(len(images), 16, 14, 224, 3).mean(axis=(2, 3)) / 127.5 - 1
    cells = 256.0 - images.reshape(len(images), CELLS, 8, CELLS, 8, 3).mean(axis=(2, 4, 5))
    maps = np.broadcast_to((cells / cells.sum((1, 2), keepdims=True))[:, None], (len(images), 16, CELLS, CELLS))
    covariance = np.broadcast_to(np.array([0.02, 0.01, 0.02]), (len(images), 16, 3))
    columns = dict(zip(OUTPUTS, (strips[..., :2], covariance, (strips[..., 2] + 1) / 2, maps), strict=True))
    return {name: np.ascontiguousarray(columns[name], np.float32) for name in wanted}


class StandIn:
    """An engine that can be held up (`gate`), told to fail (`fails_on`), and asked what it was given (`batches`)."""

    def __init__(self, batch_sizes: tuple[int, ...] = (1, 2, 3, 4), streams: int = 1) -> None:
        self.info = EngineInfo(make_spec(), "cpu", "fp32", 2)
        self.batch_sizes = batch_sizes
        self.streams = streams
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.shared: list[bool] = []
        self._under_way: list[bool] = []
        self.is_warm = False
        self.fails_on: Callable[[NDArray[np.uint8]], BaseException | None] = lambda _: None

    def warm_up(self) -> None:
        self.is_warm = True

    def run(self, images: NDArray[np.uint8], wanted: Collection[str], shared: bool = False) -> Outputs:
        assert shared or not self._under_way, "a run that is to have the whole engine has company"
        self._under_way.append(shared)
        assert all(self._under_way) or len(self._under_way) == 1, "there is a run beside one that has the whole engine"
        self.shared.append(shared)
        self.batches.append(len(images))
        try:
            assert self.gate.wait(20), "the test never opened the gate"
            if error := self.fails_on(images):
                raise error
            return compute(images, wanted)
        finally:
            self._under_way.pop()

    def memory_bytes(self) -> float:
        return 600 * 2.0**20

    def session_bytes(self) -> float:
        return 100 * 2.0**20


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition with a limit."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "the condition did not come true in time"
        time.sleep(0.002)


class FinderStandIn(StandIn):
    """A finder that finds these boxes of a square photo, in fractions of its side, each with its score."""

    def __init__(self, *found: tuple[float, float, float, float, float]) -> None:
        super().__init__(batch_sizes=(1,))
        self.info = Info(make_finder_spec(), "cpu", "fp32", 2)  # type: ignore[assignment]
        self._found = np.array(found, np.float32).reshape(-1, 5)

    def run(self, images: NDArray[np.uint8], wanted: Collection[str], shared: bool = False) -> Outputs:
        self.batches.append(len(images))
        everywhere = np.broadcast_to(self._found, (len(images), *self._found.shape))
        return {"boxes": everywhere[..., :4] * images.shape[2], "scores": everywhere[..., 4]}
