"""The threads that decode and crop photos, and their queue: the most urgent first, and none that would be late."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from service.backlog import Backlog
from service.errors import DeadlineMissed, NotReady
from service.forecast import Clock, Costs
from service.photos.decoding import Cost

_T = TypeVar("_T")

_LATE: Final = "the deadline would have passed before the photo was decoded"


RECUT: Final = Cost("recut", 1.0)
"""Of cutting other crops out of a photo that is decoded already."""


@dataclass(slots=True, eq=False)
class Job:
    """Work on one photo, and the latest instant at which its result is of use."""

    cost: Cost
    deadline: float
    work: Callable[[], Any] = field(default=lambda: None)
    future: "Future[Any]" = field(default_factory=Future)
    began: float = 0.0

    def run(self) -> bool:
        """Do the work and hand on what comes of it; whether it succeeded."""
        try:
            result = self.work()
        except BaseException as error:  # the caller's to see: a thread less would decode nothing
            _settle(self.future.set_exception, error)
            del self  # the error holds this frame, and with it would keep the photo until the garbage collector comes
            return False
        _settle(self.future.set_result, result)
        return True


def _settle(settle: Callable[[Any], None], result: Any) -> None:
    with contextlib.suppress(InvalidStateError):  # cancelled
        settle(result)


class DecodeQueue:
    """What waits for a decoder, what is being decoded, and how long all that will take. Pure, as `Backlog` is.

    Args:
        workers: How many photos are decoded at once.
        clock: Tells the time, in seconds.
    """

    def __init__(self, workers: int, clock: Clock) -> None:
        self._workers = workers
        self._clock = clock
        self._costs = Costs()
        self._waiting: Backlog[Job] = Backlog(self._job_seconds)
        self._running: set[Job] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Photos that are being decoded."""
        return len(self._running)

    def seconds(self, cost: Cost) -> float:
        """How long a decoder is expected to need for a photo."""
        return self._costs.seconds(cost.kind, cost.amount)

    @property
    def wait_seconds(self) -> float:
        """How long a photo that came now would wait for a decoder; 0 while one is free."""
        if len(self._running) + len(self._waiting) < self._workers:
            return 0.0
        now = self._clock()
        running = sum(max(0.0, self._job_seconds(job) - (now - job.began)) for job in self._running)
        return (running + sum(map(self._job_seconds, self._waiting))) / self._workers

    def add(self, job: Job) -> None:
        """Let a photo wait."""
        self._waiting.add(job)

    def discard(self, job: Job) -> None:
        """Let a photo wait no longer."""
        self._waiting.discard(job)

    def take(self) -> Job | None:
        """The next photo to decode, counted as being decoded; those that would be late are refused. None: no photo."""
        now = self._clock()
        while (late := self._waiting.pop_late(now)) is not None:
            _settle(late.future.set_exception, DeadlineMissed(_LATE))
        if not self._waiting:
            return None
        job = self._waiting.first
        self._waiting.discard(job)
        self._running.add(job)
        job.began = now
        return job

    def finish(self, job: Job, succeeded: bool) -> None:
        """Count a photo as decoded; one that failed says nothing of the cost of others."""
        self._running.discard(job)
        if succeeded:
            self._costs.learn(job.cost.kind, job.cost.amount, self._clock() - job.began)

    def _job_seconds(self, job: Job) -> float:
        return self.seconds(job.cost)


class Decoders:
    """Threads over a `DecodeQueue`.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        self._changed = threading.Condition()
        self._queue = DecodeQueue(workers, time.monotonic)
        self._open: dict[Future[Any], Job] = {}
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"decode-{index}", daemon=True) for index in range(workers)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads when nothing waits any more; does not wait for it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def waiting_photos(self) -> int:
        """Photos that wait for a decoder."""
        return len(self._queue)

    def wait_seconds(self) -> float:
        """How long a photo that came now would wait for a decoder."""
        with self._changed:
            return self._queue.wait_seconds

    def seconds(self, cost: Cost) -> float:
        """How long a decoder is expected to need for a photo."""
        with self._changed:
            return self._queue.seconds(cost)

    def submit(self, work: Callable[[], _T], cost: Cost, deadline: float) -> "Future[_T]":
        """Queue a photo's work. Cancelling the future takes it out of the queue.

        Args:
            work: Runs in one of the threads; its result, or what it raises, becomes the future's.
            cost: What its time depends on.
            deadline: Instant of `time.monotonic()` after which the result is of no use.

        Raises:
            NotReady: The threads are to end.
        """
        job = Job(cost, deadline, work)
        with self._changed:
            if self._closed:
                raise NotReady("the service is stopping")
            self._open[job.future] = job
            self._queue.add(job)
            self._changed.notify()
        job.future.add_done_callback(self._forget)
        return job.future

    def _forget(self, future: "Future[Any]") -> None:
        """Take a cancelled photo out; a callback that held the job would keep its photo until the gc comes."""
        with self._changed:
            if (job := self._open.pop(future, None)) is not None:
                self._queue.discard(job)

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            succeeded = job.run()
            with self._changed:
                self._queue.finish(job, succeeded)
            del job  # an idle thread would keep its photo

    def _next_job(self) -> Job | None:
        """What to do next; waits for it, and is None only when closed."""
        with self._changed:
            while (job := self._queue.take()) is None and not self._closed:
                self._changed.wait()
            return job
