"""The bare session: what every figure over HTTP is compared with, and the witness that the machine kept its pace."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.spec.contract import JOINT_OUTPUTS, ModelSpec
from service.inference.engine import Engine
from service.inference.onnx_engine import OnnxEngine
from service.settings import Settings
from tests.benchmarks.photos import small_photo

STEADY: Final = 0.05
"""A pass counts when the session's times before and after it differ by no more than this share."""

_BATCHES: Final = (1, 2, 4)
_ATTEMPTS: Final = 2
_FEWEST_RUNS: Final = 5
_LOOK: Final = 0.1  # of a pass' time, before and after it, for the session
_WINDOW: Final = 0.65  # of a pass' time; the rest is its warm-up, and starting the generator


@dataclass(frozen=True)
class BatchTime:
    """Runs with batches of one size.

    Attributes:
        batch: Images in a run.
        streams: Runs side by side; 1 where each had the whole engine.
        runs: How many were timed.
        median_ms: Wall time of a run.
        images_per_second: By the median.
        cpu_ms: Processor time of an image.
    """

    batch: int
    streams: int
    runs: int
    median_ms: float
    images_per_second: float
    cpu_ms: float


def time_batches(engine: Engine, seconds: float) -> list[BatchTime]:
    """Time batches of 1, 2 and 4 and others that run at full speed, and all streams; `seconds` altogether."""
    sizes = sorted({*_BATCHES, *engine.batch_sizes})
    share = seconds / (len(sizes) + (engine.streams > 1))
    times = [time_batch(engine, size, share) for size in sizes]
    return [*times, time_batch(engine, 1, share, engine.streams)] if engine.streams > 1 else times


def time_batch(engine: Engine, size: int, seconds: float, streams: int = 1) -> BatchTime:
    """Time runs of one size for a while, and no fewer than five in each stream; the first is not counted."""
    pixels = np.repeat(small_photo().cut(), size, axis=0)

    def time_stream(_: int) -> list[float]:
        times: list[float] = []
        start = time.perf_counter()
        while len(times) < _FEWEST_RUNS or time.perf_counter() < start + seconds:
            begin = time.perf_counter()
            engine.run(pixels, JOINT_OUTPUTS, shared=streams > 1)
            times.append(time.perf_counter() - begin)
        return times

    engine.run(pixels, JOINT_OUTPUTS, shared=streams > 1)
    with ThreadPoolExecutor(streams) as pool:
        cpu_start = time.process_time()
        times = [each for stream in pool.map(time_stream, range(streams)) for each in stream]
        cpu_seconds = time.process_time() - cpu_start
    median = statistics.median(times)
    per_second, cpu_ms = streams * size / median, cpu_seconds * 1000 / size / len(times)
    return BatchTime(size, streams, len(times), median * 1000, per_second, cpu_ms)


class Witness:
    """A session like the service's in this process; it sleeps while the service works.

    Args:
        settings: As the service's.
        pass_seconds: For one pass, all told.
    """

    def __init__(self, settings: Settings, pass_seconds: float) -> None:
        self.engine = OnnxEngine(settings, ModelSpec)
        self.engine.warm_up()
        self.window_seconds = _WINDOW * pass_seconds
        self._look_seconds = _LOOK * pass_seconds

    def engine_names(self) -> dict[str, Any]:
        """What computes, for the results."""
        info = self.engine.info
        return {"provider": info.provider, "precision": info.precision, "threads": info.threads}

    def steadily(self, measure: Callable[[float], dict[str, Any]]) -> dict[str, Any]:
        """One pass: figures taken between two looks at the session; once more where these differ too much.

        Args:
            measure: Takes the figures; given the seconds of its window.
        """
        figures: dict[str, Any] = {}
        for _ in range(_ATTEMPTS):
            before = self._look()
            figures = measure(self.window_seconds)
            after = self._look()
            is_steady = abs(after / before - 1) <= STEADY
            figures |= {"session_before_ms": before, "session_after_ms": after, "steady": is_steady}
            if is_steady:
                break
        return figures

    def _look(self) -> float:
        return time_batch(self.engine, 1, self._look_seconds).median_ms
