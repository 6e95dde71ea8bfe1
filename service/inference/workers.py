"""The threads that own the engines: they take batches from the schedule, run them, and hand the outputs on.

An engine with streams has a thread for each. Several engines share the threads: what one computes, the others wait for.
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.errors import DeadlineMissed, InferenceFailed, NotReady, OutOfMemory, ServiceError
from service.inference.engine import Outputs, rows
from service.inference.schedule import Batch, Lane, Request, Schedule, Served
from service.metrics import Metrics

_log = logging.getLogger(__name__)

_LAST_BATCH_SECONDS: Final = 5.0  # a runtime that computes while the process ends aborts it
_MOST_FAILURES: Final = 10  # of images of each thread in a row: one photo may be at fault, not ten


class Workers:
    """Threads over a `Schedule`.

    Args:
        lanes: The engines, called from these threads only.
        metrics: Where dropped images are counted.
        stall_seconds: A batch that runs longer than this means that its engine hangs.
    """

    def __init__(self, lanes: Sequence[Lane], metrics: Metrics, stall_seconds: float) -> None:
        streams = max(lane.engine.streams for lane in lanes)
        self._metrics = metrics
        self._stall_seconds = stall_seconds
        self._changed = threading.Condition()
        self._schedule = Schedule(streams, time.monotonic)
        self._open: dict[Future[Served], Request] = {}
        self._closed = False
        self._busy_since: dict[threading.Thread, float] = {}
        self._failures = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"engine-{index}", daemon=True) for index in range(streams)
        ]

    def start(self) -> None:
        """Start the threads."""
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
    def waiting_images(self) -> int:
        """Images that wait for an engine."""
        with self._changed:
            return self._schedule.waiting_images

    def ensure_open(self) -> None:
        """See that images are still taken.

        Raises:
            NotReady: A thread has stopped, or all are to stop.
        """
        if self._closed or not self._are_running():
            raise NotReady("the engine has stopped: the service is stopping, or must be restarted")

    def submit(
        self,
        lane: Lane,
        images: NDArray[np.uint8],
        wanted: frozenset[str],
        deadline: float,
        future: "Future[Served] | None" = None,
    ) -> "Future[Served]":
        """Queue images for an engine.

        Cancelling the future takes the images that still wait out of the queue.

        Args:
            lane: One of the engines.
            images: uint8 [N, size, size, 3], at least one.
            wanted: Names of the outputs.
            deadline: Instant of `time.monotonic()` after which no answer is wanted.
            future: Where the answer goes, for callers that wait for it already; a new one if left out.

        Raises:
            NotReady: A thread has stopped.
        """
        request = Request(lane, images, wanted, deadline, future or Future(), time.monotonic())
        with self._changed:
            self.ensure_open()
            self._schedule.add(request)
            self._open[request.future] = request
            self._changed.notify()
        request.future.add_done_callback(self._forget)
        return request.future

    def _forget(self, future: "Future[Served]") -> None:
        """Drop an answered request; a callback that held the request would keep its crops until the gc comes."""
        with self._changed:
            request = self._open.pop(future, None)
            if request is not None and self._schedule.discard(request):
                self._metrics.dropped.labels("cancelled" if future.cancelled() else "failed").inc(request.left)

    def _work(self) -> None:
        try:
            while batch := self._next_batch():
                self._serve(batch)
                self._finish(batch)
                del batch  # an idle thread would keep its crops
        except BaseException:
            _log.critical("an engine's thread has died", exc_info=True)
            with self._changed:
                self._closed = True
                self._refuse_all("the engine has stopped: the service must be restarted")
                self._changed.notify_all()

    def _refuse_all(self, why: str) -> None:
        for request in tuple(self._open.values()):
            request.fail(NotReady(why))

    def _next_batch(self) -> Batch | None:
        """What to run next; waits for it, and is None only when closed."""
        with self._changed:
            while True:
                self._drop_late()
                if batch := self._schedule.take():
                    self._busy_since[threading.current_thread()] = time.monotonic()
                    if len(self._schedule):
                        self._changed.notify()
                    return batch
                if self._closed and not len(self._schedule):
                    return None
                self._changed.wait()

    def _finish(self, batch: Batch) -> None:
        """Leave the processors to the others."""
        with self._changed:
            self._schedule.finish(batch)
            del self._busy_since[threading.current_thread()]
            self._changed.notify_all()

    def _drop_late(self) -> None:
        """Refuse the requests whose answers would be late, and count their remaining images."""
        while (request := self._schedule.pop_late()) is not None:
            self._metrics.dropped.labels("expired").inc(request.left)
            request.fail(DeadlineMissed("the deadline would have passed before the network was done with the photo"))

    def _serve(self, batch: Batch) -> None:
        try:
            outputs = self._run(batch, np.concatenate([part.images for part in batch.slices]), batch.wanted)
        except Exception as error:
            self._fail_or_retry(batch, error)
            return
        with self._changed:
            first, now = 0, time.monotonic()
            for part in batch.slices:
                part.request.add(part.begin, rows(outputs, slice(first, first + len(part))), now)
                first += len(part)

    def _fail_or_retry(self, batch: Batch, error: Exception) -> None:
        """Of several images give each its own run, so that a bad one fails its own request only."""
        if len(batch) == 1:
            self._fail(batch.slices[0].request, error)
            return
        _log.warning("a batch of %d failed (%s); its images are computed one by one", len(batch), error)
        for part in batch.slices:
            try:
                for index in range(part.begin, part.end):
                    outputs = self._run(batch, part.request.images[index : index + 1], part.request.wanted)
                    with self._changed:
                        part.request.add(index, outputs, time.monotonic())
            except Exception as own_error:
                self._fail(part.request, own_error)

    def _fail(self, request: Request, error: Exception) -> None:
        _log.error("the network failed on an image", exc_info=error)
        with self._changed:
            self._failures += 1
        failure = _refusal(error)
        failure.__cause__ = error
        request.fail(failure)

    def _run(self, batch: Batch, images: NDArray[np.uint8], wanted: frozenset[str]) -> Outputs:
        """One run of the engine, recorded.

        Raises:
            Exception: The engine's own.
            RuntimeError: It did not answer all images.
            ContractError: It answered what is no number, or what is not possible.
        """
        lane, computed = batch.lane, 0
        with self._changed:
            began = self._busy_since[threading.current_thread()] = lane.throughput.begin()
        try:
            outputs = lane.engine.run(images, wanted, shared=batch.beside > 0)
            if any(len(values) != len(images) for values in outputs.values()):
                raise RuntimeError(f"the engine did not answer all of {len(images)} images")
            lane.check(outputs)
            computed = len(images)
        finally:
            with self._changed:
                seconds = lane.throughput.end(began, computed)
        with self._changed:
            self._failures = 0
            lane.observe(computed + batch.beside, seconds)
        return outputs


def _refusal(error: Exception) -> ServiceError:
    if isinstance(error, MemoryError):
        return OutOfMemory("there is not enough memory to compute this photo now; try again later")
    return InferenceFailed("the network failed on this photo; others are not affected")
