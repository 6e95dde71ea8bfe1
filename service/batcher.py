"""Many requests -> one batch -> many answers: one thread that owns the engine and its queue.

Natural batching: the moment the engine is free, its thread takes whatever waits, up to the largest batch that runs at
full speed. No timer runs, and a lonely request never waits for company. The unit is the image, so a request may spread
over batches; its answer is put together in order.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.engine import Engine, Estimates
from service.metrics import Metrics
from service.problems import DeadlineMissed, InferenceFailed, NotReady, ServiceError

_log = logging.getLogger(__name__)

_NEWEST_SHARE: Final = 0.2  # of the last batch in the averaged drain rate
_LAST_BATCH_SECONDS: Final = 5.0  # a runtime that computes while the process ends aborts it
_MOST_FAILURES: Final = 10  # runs in a row: one photo may be at fault, not ten


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
    parts: list[Estimates] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Images that wait."""
        return len(self.images) - self.taken

    def fail(self, error: ServiceError) -> None:
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)

    def add(self, part: Estimates) -> None:
        """Take the answer to the next images, and answer the request when it was the last."""
        self.parts.append(part if self.heatmaps else replace(part, heatmaps=None))
        if sum(map(len, self.parts)) < len(self.images):
            return
        now = time.monotonic()
        served = Served(Estimates.concatenate(self.parts), self.started - self.arrived, now - self.started)
        with contextlib.suppress(InvalidStateError):
            self.future.set_result(served)


@dataclass(frozen=True, slots=True)
class _Slice:
    """A run of one request's images in a batch."""

    request: _Request
    images: NDArray[np.uint8]


class Batcher:
    """Owns the engine's thread and its queue.

    Args:
        engine: Called from this batcher's thread only.
        metrics: Where batches and drops are recorded.
        stall_seconds: A batch that runs longer than this means that the engine hangs.
        images_per_second: How fast the engine is, as far as that is known; 0 where it is not.
    """

    def __init__(self, engine: Engine, metrics: Metrics, stall_seconds: float, images_per_second: float = 0.0) -> None:
        self._engine = engine
        self._metrics = metrics
        self._stall_seconds = stall_seconds
        self._changed = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._open: dict[Future[Served], _Request] = {}
        self._closed = False
        self._busy_since: float | None = None
        self._failures = 0
        self._rate = images_per_second
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Start the engine's thread."""
        self._thread.start()

    def close(self, timeout_seconds: float) -> None:
        """Answer what waits, then end the thread; what is left after the timeout is refused."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_seconds)
        self._refuse_all("the service is stopping")
        self._thread.join(_LAST_BATCH_SECONDS)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs, does not hang in its present batch, and has not failed ten times in a row."""
        busy_since = self._busy_since
        stalled = busy_since is not None and time.monotonic() - busy_since > self._stall_seconds
        return self._thread.is_alive() and not stalled and self._failures < _MOST_FAILURES

    @property
    def images_per_second(self) -> float:
        """How fast the engine drains the queue, averaged over its last batches; 0 before the first."""
        return self._rate

    @property
    def waiting_images(self) -> int:
        """Images that wait for the engine."""
        with self._changed:
            return sum(request.left for request in self._waiting)

    def ensure_open(self) -> None:
        """See that images are still taken.

        Raises:
            NotReady: The thread has stopped, or is to stop.
        """
        if self._closed or not self._thread.is_alive():
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
            NotReady: The thread has stopped.
        """
        request = _Request(images, heatmaps, deadline, future or Future())
        with self._changed:
            self.ensure_open()
            self._waiting.append(request)
            self._open[request.future] = request
            self._changed.notify()
        request.future.add_done_callback(self._forget)
        return request.future

    def _forget(self, future: "Future[Served]") -> None:
        """Drop an answered request; a callback that held the request would keep its crops until the gc comes."""
        self._open.pop(future, None)

    def _work(self) -> None:
        try:
            while batch := self._next_batch():
                self._serve(batch)
        except BaseException:
            _log.critical("the engine's thread has died", exc_info=True)
        finally:
            with self._changed:
                self._closed = True
            self._refuse_all("the engine has stopped: the service is stopping, or must be restarted")

    def _refuse_all(self, why: str) -> None:
        for request in tuple(self._open.values()):
            request.fail(NotReady(why))

    def _next_batch(self) -> list[_Slice]:
        """What waits, up to the largest batch; waits for the first image, and is empty only when closed."""
        with self._changed:
            while True:
                if batch := self._form_batch():
                    return batch
                if self._closed:
                    return []
                self._changed.wait()

    def _form_batch(self) -> list[_Slice]:
        """What the engine takes next: a size that it need not pad, since it would compute the padding."""
        self._waiting = deque(request for request in self._waiting if not self._is_dropped(request))
        waiting = sum(request.left for request in self._waiting)
        room = max((size for size in self._engine.batch_sizes if size <= waiting), default=0)
        batch: list[_Slice] = []
        while room:
            request = self._waiting[0]
            part = request.images[request.taken : request.taken + room]
            batch.append(_Slice(request, part))
            request.started = request.started or time.monotonic()
            request.taken += len(part)
            room -= len(part)
            if not request.left:
                self._waiting.popleft()
        return batch

    def _is_dropped(self, request: _Request) -> bool:
        """Whether nobody waits for this request any more; its remaining images are counted."""
        expired = time.monotonic() > request.deadline
        if not expired and not request.future.done():
            return False
        reason = "expired" if expired else "cancelled"
        self._metrics.dropped.labels(reason).inc(request.left)
        request.fail(DeadlineMissed("the deadline passed while the photo waited for the network"))
        return True

    def _serve(self, batch: list[_Slice]) -> None:
        try:
            wanted = any(part.request.heatmaps for part in batch)
            estimates = self._run(np.concatenate([part.images for part in batch]), wanted)
        except Exception:
            _log.exception("a batch of %d failed; its images are tried one by one", sum(len(p.images) for p in batch))
            self._serve_singly(batch)
            return
        begin = 0
        for part in batch:
            part.request.add(estimates[begin : begin + len(part.images)])
            begin += len(part.images)

    def _serve_singly(self, batch: list[_Slice]) -> None:
        """Give each image its own run, so that a bad one fails its own request only."""
        for part in batch:
            try:
                for index in range(len(part.images)):
                    part.request.add(self._run(part.images[index : index + 1], part.request.heatmaps))
            except Exception:
                _log.exception("the network failed on an image")
                part.request.fail(InferenceFailed("the network failed on this photo; others are not affected"))

    def _run(self, images: NDArray[np.uint8], heatmaps: bool) -> Estimates:
        start = self._busy_since = time.monotonic()
        self._failures += 1
        try:
            estimates = self._engine.run(images, heatmaps)
        finally:
            self._busy_since = None
        if len(estimates) != len(images):
            raise RuntimeError(f"the engine answered {len(estimates)} of {len(images)} images")
        self._failures = 0
        self._record(len(images), time.monotonic() - start)
        return estimates

    def _record(self, count: int, seconds: float) -> None:
        rate = count / max(seconds, 1e-6)
        self._rate = rate if self._rate == 0 else self._rate + _NEWEST_SHARE * (rate - self._rate)
        self._metrics.observe_batch(count, seconds)
