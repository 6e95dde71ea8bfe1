"""Many requests -> one batch -> many answers: the threads that own the engine, and their queue.

Natural batching: the moment the engine is free, a thread takes whatever waits, up to the largest batch that runs at
full speed. No timer runs, and a lonely request never waits for company. An engine with streams has a thread for each:
few images get the whole engine, one after the other, and more get a stream each, as these become free. The unit is the
image, so a request may spread over batches; its answer is put together in order.
"""

import contextlib
import logging
import threading
import time
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.backlog import Backlog
from service.errors import DeadlineMissed, InferenceFailed, NotReady, ServiceError
from service.forecast import Throughput
from service.inference.engine import Engine, Estimates
from service.metrics import Metrics

_log = logging.getLogger(__name__)

_LAST_BATCH_SECONDS: Final = 5.0  # a runtime that computes while the process ends aborts it
_MOST_FAILURES: Final = 10  # of images of each thread in a row: one photo may be at fault, not ten


@dataclass(frozen=True, slots=True)
class Served:
    """The answer to a request: its estimates in order, and the seconds it waited and was computed."""

    estimates: Estimates
    queue_seconds: float
    inference_seconds: float


@dataclass(slots=True, eq=False)
class _Request:
    """A request in the queue; its images before `taken` are with the engine or answered."""

    images: NDArray[np.uint8]
    heatmaps: bool
    deadline: float
    future: "Future[Served]"
    arrived: float = field(default_factory=time.monotonic)
    started: float = 0.0
    taken: int = 0
    parts: dict[int, Estimates] = field(default_factory=dict)  # by the number of their first image

    @property
    def left(self) -> int:
        """Images that wait."""
        return len(self.images) - self.taken

    def fail(self, error: ServiceError) -> None:
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)

    def add(self, begin: int, part: Estimates) -> None:
        """Take the answer to the images from `begin` on, and answer the request when it was the last."""
        self.parts[begin] = part if self.heatmaps else replace(part, heatmaps=None)
        parts = [part for _, part in sorted(self.parts.items())]
        if sum(map(len, parts)) < len(self.images):
            return
        now = time.monotonic()
        served = Served(Estimates.concatenate(parts), self.started - self.arrived, now - self.started)
        with contextlib.suppress(InvalidStateError):
            self.future.set_result(served)


@dataclass(frozen=True, slots=True)
class _Slice:
    """A run of one request's images in a batch."""

    request: _Request
    begin: int
    end: int

    @property
    def images(self) -> NDArray[np.uint8]:
        return self.request.images[self.begin : self.end]


@dataclass(frozen=True, slots=True)
class _Batch:
    """What a thread gives to the engine.

    Attributes:
        beside: Images that other threads are expected to give to the engine meanwhile; with 0, it is alone.
    """

    slices: list[_Slice]
    beside: int

    def __len__(self) -> int:
        return sum(part.end - part.begin for part in self.slices)


class Batcher:
    """Owns the engine's threads and their queue.

    Args:
        engine: Called from this batcher's threads only.
        metrics: Where batches and drops are recorded.
        stall_seconds: A batch that runs longer than this means that the engine hangs.
        images_per_second: How fast the engine is, as far as that is known; 0 where it is not.
    """

    def __init__(self, engine: Engine, metrics: Metrics, stall_seconds: float, images_per_second: float = 0.0) -> None:
        self._engine = engine
        self._metrics = metrics
        self._stall_seconds = stall_seconds
        self._changed = threading.Condition()
        self._throughput = Throughput(time.monotonic, images_per_second)
        self._waiting: Backlog[_Request] = Backlog(lambda request: self._throughput.seconds(request.left))
        self._open: dict[Future[Served], _Request] = {}
        self._closed = False
        self._busy_since: dict[threading.Thread, float] = {}
        self._exclusive = False
        self._failures = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"engine-{index}", daemon=True) for index in range(engine.streams)
        ]

    def start(self) -> None:
        """Start the engine's threads."""
        for thread in self._threads:
            thread.start()

    def close(self, timeout_seconds: float) -> None:
        """Answer what waits, then end the threads; what is left after the timeout is refused."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._join(timeout_seconds)
        self._refuse_all("the service is stopping")
        self._join(_LAST_BATCH_SECONDS)

    def _join(self, seconds: float) -> None:
        limit = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, limit - time.monotonic()))

    @property
    def is_alive(self) -> bool:
        """Whether all threads run, none hangs in its batch, and they have not failed on ten images each in a row."""
        now = time.monotonic()
        stalled = any(now - since > self._stall_seconds for since in tuple(self._busy_since.values()))
        return self._are_running() and not stalled and self._failures < _MOST_FAILURES * len(self._threads)

    def _are_running(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    @property
    def images_per_second(self) -> float:
        """How fast the engine drains the queue, while it is busy; 0 before the first batch."""
        return self._throughput.images_per_second

    def latest(self, deadline: float, runs: int) -> float:
        """The instant by which something must be done, so that its further runs can be before the deadline."""
        return self._throughput.latest(deadline, runs)

    @property
    def waiting_images(self) -> int:
        """Images that wait for the engine."""
        with self._changed:
            return sum(request.left for request in self._waiting)

    def ensure_open(self) -> None:
        """See that images are still taken.

        Raises:
            NotReady: A thread has stopped, or all are to stop.
        """
        if self._closed or not self._are_running():
            raise NotReady("the engine has stopped: the service is stopping, or must be restarted")

    def submit(
        self,
        images: NDArray[np.uint8],
        deadline: float,
        heatmaps: bool = False,
        future: "Future[Served] | None" = None,
    ) -> "Future[Served]":
        """Queue a request's crops, uint8 [N, 224, 224, 3].

        Cancelling the future takes the images that still wait out of the queue.

        Args:
            images: At least one crop.
            deadline: Instant of `time.monotonic()` after which no answer is wanted.
            heatmaps: Whether the estimates shall have them.
            future: Where the answer goes, for callers that wait for it already; a new one if left out.

        Raises:
            NotReady: A thread has stopped.
        """
        request = _Request(images, heatmaps, deadline, future or Future())
        with self._changed:
            self.ensure_open()
            self._waiting.add(request)
            self._open[request.future] = request
            self._changed.notify()
        request.future.add_done_callback(self._forget)
        return request.future

    def _forget(self, future: "Future[Served]") -> None:
        """Drop an answered request; a callback that held the request would keep its crops until the gc comes."""
        with self._changed:
            request = self._open.pop(future, None)
            if request is not None and request.left and self._waiting.discard(request):
                self._metrics.dropped.labels("cancelled" if future.cancelled() else "failed").inc(request.left)

    def _work(self) -> None:
        try:
            while batch := self._next_batch():
                self._serve(batch)
                del batch  # an idle thread would keep its crops
                self._release()
        except BaseException:
            _log.critical("the engine's thread has died", exc_info=True)
            with self._changed:
                self._closed = True
                self._refuse_all("the engine has stopped: the service must be restarted")
                self._changed.notify_all()

    def _refuse_all(self, why: str) -> None:
        for request in tuple(self._open.values()):
            request.fail(NotReady(why))

    def _next_batch(self) -> _Batch | None:
        """What waits, up to the largest batch; waits for the first image, and is None only when closed."""
        with self._changed:
            while True:
                if batch := self._form_batch():
                    self._exclusive = batch.beside == 0
                    self._busy_since[threading.current_thread()] = time.monotonic()
                    if self._waiting:
                        self._changed.notify()
                    return batch
                if self._closed and not self._waiting:
                    return None
                self._changed.wait()

    def _release(self) -> None:
        """Leave the engine to the others."""
        with self._changed:
            self._exclusive = False
            del self._busy_since[threading.current_thread()]
            self._changed.notify_all()

    def _form_batch(self) -> _Batch | None:
        """What the engine takes next: whatever waits, as far as it takes that much at once."""
        self._drop_late()
        waiting = sum(request.left for request in self._waiting)
        if self._exclusive or not waiting:
            return None
        room = min(waiting, self._engine.batch_sizes[-1])
        batch = _Batch([], self._beside(waiting, room))
        while room:
            request = self._waiting.first
            begin, request.taken = request.taken, min(request.taken + room, len(request.images))
            batch.slices.append(_Slice(request, begin, request.taken))
            request.started = request.started or time.monotonic()
            room -= request.taken - begin
            if not request.left:
                self._waiting.discard(request)
        return batch

    def _beside(self, waiting: int, taken: int) -> int:
        """How many images will be with the engine besides those taken from the waiting ones."""
        streams, busy = len(self._threads), len(self._busy_since)
        if not busy and 2 * waiting <= streams:
            return 0  # in streams, half of the processor would idle
        return min(busy + waiting - taken, streams - 1)

    def _drop_late(self) -> None:
        """Refuse the requests whose answers would be late, and count their remaining images."""
        while (request := self._waiting.pop_late(time.monotonic())) is not None:
            self._metrics.dropped.labels("expired").inc(request.left)
            request.fail(DeadlineMissed("the deadline would have passed before the network was done with the photo"))

    def _serve(self, batch: _Batch) -> None:
        try:
            wanted = any(part.request.heatmaps for part in batch.slices)
            estimates = self._run(np.concatenate([part.images for part in batch.slices]), wanted, batch.beside)
        except Exception:
            _log.exception("a batch of %d failed; its images are tried one by one", len(batch))
            self._serve_singly(batch)
            return
        with self._changed:
            first = 0
            for part in batch.slices:
                last = first + part.end - part.begin
                part.request.add(part.begin, estimates[first:last])
                first = last

    def _serve_singly(self, batch: _Batch) -> None:
        """Give each image its own run, so that a bad one fails its own request only."""
        for part in batch.slices:
            try:
                for index in range(part.begin, part.end):
                    image = part.request.images[index : index + 1]
                    estimates = self._run(image, part.request.heatmaps, batch.beside)
                    with self._changed:
                        part.request.add(index, estimates)
            except Exception as error:
                _log.exception("the network failed on an image")
                with self._changed:
                    self._failures += 1
                failure = InferenceFailed("the network failed on this photo; others are not affected")
                failure.__cause__ = error
                part.request.fail(failure)

    def _run(self, images: NDArray[np.uint8], heatmaps: bool, beside: int) -> Estimates:
        computed = 0
        with self._changed:
            began = self._busy_since[threading.current_thread()] = self._throughput.begin()
        try:
            estimates = self._engine.run(images, heatmaps, shared=beside > 0)
            if len(estimates) != len(images):
                raise RuntimeError(f"the engine answered {len(estimates)} of {len(images)} images")
            computed = len(images)
        finally:
            with self._changed:
                seconds = self._throughput.end(began, computed)
        with self._changed:
            self._failures = 0
            self._metrics.observe_batch(computed + beside, seconds)
        return estimates
