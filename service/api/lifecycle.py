"""The life of the service: what it holds from start to stop, and whether it is alive and ready."""

import asyncio
import io
import logging
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from service.api.upload import UploadBudget
from service.errors import NotReady
from service.host import memory_limit_bytes
from service.inference.engine import Engine, Networks
from service.metrics import Metrics
from service.poses.admission import BoundedEstimator
from service.poses.estimator import Estimator
from service.poses.options import Options
from service.report.table4 import Report, build_report, time_engine
from service.settings import Settings

_log = logging.getLogger(__name__)

_LAG_PERIOD_SECONDS = 0.5
_PATIENCE_SECONDS = 600.0  # for the first photo, on however slow a machine
_START_RUNS = 10
_START_SECONDS = 0.5  # for these runs: the start is not to wait for a report that nobody may read
_ENOUGH_LIVE_RUNS = 20
_UPLOADS_FRACTION = 0.2  # of the memory that the process may use


class Lifecycle:
    """Everything that lives as long as the service.

    Attributes:
        settings: The operator's choices.
        metrics: What Prometheus reads.
        uploads: Lets bodies in as long as there is memory for them.
        estimator: The way of a photo; None before `start`.
        start_error: Why `start` failed.
        has_room: Whether one more request may be taken; a server with a limit of its own replaces it.
        drain_until: Instant of `time.monotonic()` by which accepted requests must be done, once the process is to stop:
            no longer ready, still finishing what it has accepted.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.uploads = UploadBudget(_UPLOADS_FRACTION * memory_limit_bytes())
        self.estimator: BoundedEstimator | None = None
        self.start_error: Exception | None = None
        self.has_room: Callable[[], bool] = lambda: True
        self.drain_until: float | None = None
        self._engine: Engine | None = None
        self._start_times: list[float] = []
        self._is_warm = False
        self._lag_task: asyncio.Task[None] | None = None
        self.metrics.watch({self.metrics.ready: lambda: float(self.is_ready)})
        self.metrics.memory_limit.set(memory_limit_bytes())

    async def start(self, networks: Networks) -> None:
        """Warm the networks up, then send a photo the whole way; ready when both are done.

        Raises:
            Exception: Whatever went wrong on the way: a service that cannot answer must not start.
        """
        try:
            await self._start(networks)
        except Exception as error:
            self.start_error = error
            raise

    async def _start(self, networks: Networks) -> None:
        engine = networks.pose
        await asyncio.to_thread(engine.warm_up)
        if networks.finder is not None:
            await asyncio.to_thread(networks.finder.warm_up)
        images_per_second = await self._rehearse(networks)
        self._start_times = await asyncio.to_thread(time_engine, engine, _START_RUNS, _START_SECONDS)
        self._engine = engine
        estimator = Estimator(self.settings, networks, self.metrics, images_per_second)
        self.estimator = BoundedEstimator(estimator, self.settings.deadline_seconds)
        self._watch(self.estimator, engine)
        estimator.start()
        self._lag_task = asyncio.create_task(self._sample_lag())
        self._is_warm = True
        _log.info("ready: %.1f images/s", images_per_second)

    async def _rehearse(self, networks: Networks) -> float:
        """Send a photo the whole way, with patience and without leaving a trace in the metrics; images per second."""
        estimator = Estimator(self.settings, networks, Metrics())
        estimator.start()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                photo = _synthetic_photo(networks.pose.info.spec.crop.size)
                for find in ("all", "none"):  # a photo of nobody, and its whole as a person
                    await estimator.estimate(photo, Options(find=find, heatmaps=True))
            return estimator.lane.throughput.images_per_second
        finally:
            await asyncio.to_thread(estimator.close, _PATIENCE_SECONDS)

    def _watch(self, bounded: BoundedEstimator, engine: Engine) -> None:
        metrics, estimator, admission = self.metrics, bounded.estimator, bounded.admission
        info, spec = engine.info, engine.info.spec
        metrics.describe_model(spec.name, spec.version, info.provider, info.precision, info.as_asked)
        metrics.describe_accuracy(spec.accuracy.dataset, spec.accuracy.total)
        metrics.watch(
            {
                metrics.queue_images: lambda: estimator.workers.waiting_images,
                metrics.admitted: lambda: admission.admitted_images,
                metrics.queue_limit: lambda: admission.limit_images,
                metrics.decode_queue: lambda: estimator.decoders.waiting_photos,
                metrics.memory: engine.memory_bytes,
            }
        )

    def report(self) -> Report:
        """Table 4 from live traffic, or from runs timed at start while there has been too little of it.

        Raises:
            NotReady: The engine is not warm yet.
        """
        if self._engine is None:
            raise NotReady("the service is still starting")
        live = self.metrics.recent_single_image_seconds()
        if len(live) >= _ENOUGH_LIVE_RUNS:
            return build_report(self._engine, live, "live traffic")
        return build_report(self._engine, self._start_times, "start")

    def drain(self, delay_seconds: float = 0.0) -> None:
        """Stop being ready; after the delay the accepted requests have `drain_seconds`."""
        if self.drain_until is None:
            self.drain_until = time.monotonic() + delay_seconds + self.settings.drain_seconds

    async def refuse_the_rest(self) -> None:
        """When the drain is over, refuse in so many words what the server would otherwise cut off."""
        await asyncio.sleep(self.drain_seconds_left)
        if self.estimator is not None:
            await asyncio.to_thread(self.estimator.estimator.close, 0.0)

    @property
    def drain_seconds_left(self) -> float:
        """What is left of delay and drain; zero before them."""
        return 0.0 if self.drain_until is None else max(0.0, self.drain_until - time.monotonic())

    @property
    def is_draining(self) -> bool:
        """Whether the process is to stop."""
        return self.drain_until is not None

    async def stop(self) -> None:
        """Finish what was accepted and end all threads."""
        self.drain()
        if self._lag_task is not None:
            self._lag_task.cancel()
        if self.estimator is not None:
            await asyncio.to_thread(self.estimator.estimator.close, self.drain_seconds_left)

    @property
    def is_alive(self) -> bool:
        """Whether the process is worth keeping: false when the engine hangs, is dead, or fails on every photo."""
        return self.estimator is None or self.estimator.estimator.workers.is_alive

    @property
    def is_ready(self) -> bool:
        """Whether new requests should be sent here."""
        return self._is_warm and self.is_alive and not self.is_draining

    async def _sample_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_PERIOD_SECONDS
            await asyncio.sleep(_LAG_PERIOD_SECONDS)
            self.metrics.loop_lag.observe(max(0.0, loop.time() - due))


def _synthetic_photo(size: int) -> bytes:
    """A square JPEG of grey noise, the same at every start."""
    noise = np.random.default_rng(0).integers(0, 256, (size, size), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()
