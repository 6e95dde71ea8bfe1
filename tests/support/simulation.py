"""The service under load in simulated time: its own arithmetic, with decoders and a network that only let time pass.

Admission, queues, rates and margins are the service's; simulated are the clock, the clients, how long a photo takes to
decode and an image to compute.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.errors import DeadlineMissed, Overloaded
from service.forecast import Throughput
from service.inference.schedule import Batch, Lane, Request, Schedule
from service.photos.decoders import RECUT, DecodeQueue, Job
from service.photos.decoding import Cost
from service.poses.admission import Admission
from tests.support.standin import StandIn

_RECUT_SECONDS = 0.002


@dataclass(frozen=True)
class Machine:
    """What the simulated service runs on, and what it is sent.

    Attributes:
        decode_seconds: Of a photo, on average.
        images_per_second: Of the network with all streams busy.
        looks: Images of each photo, one after the other.
        noise: Standard deviation of the logarithm of every single time.
        pace: By which factor everything takes longer, as a function of the time.
    """

    decode_seconds: float = 0.002
    images_per_second: float = 50.0
    looks: int = 4
    decoders: int = 2
    streams: int = 2
    noise: float = 0.3
    pace: Callable[[float], float] = lambda _: 1.0

    @property
    def capacity(self) -> float:
        """Photos a second, by the slower of decoders and network, at pace 1."""
        return min(self.decoders / self.decode_seconds, self.images_per_second / self.looks)


@dataclass(eq=False)
class _Photo:
    """A request; `answered` takes its status."""

    deadline: float
    looks_left: int
    permit: Any
    answered: Callable[[int], None]
    latest: float = 0.0
    job: Job | None = None
    request: Request | None = None
    is_done: bool = False


class Simulation:
    """A service that never was.

    Args:
        machine: What it runs on.
        deadline_seconds: As the setting.
        seed: Of arrivals and times.
    """

    def __init__(self, machine: Machine, deadline_seconds: float, seed: int = 0) -> None:
        self.now = 0.0
        self.machine = machine
        self.deadline_seconds = deadline_seconds
        self.statuses: list[tuple[float, int]] = []
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._throughput = Throughput(lambda: self.now)
        engine = StandIn((1,), machine.streams)
        self._lane = Lane(engine, self._throughput, lambda together, seconds: None)
        self._schedule = Schedule(machine.streams, lambda: self.now)
        self._photos: dict[Request, _Photo] = {}
        self._decoding = DecodeQueue(machine.decoders, lambda: self.now)
        self._recutting = DecodeQueue(machine.decoders, lambda: self.now)
        self.door = Admission(
            lambda: self._throughput.images_per_second,
            deadline_seconds,
            lambda: self._decoding.wait_seconds,
            lambda: self.now,
        )

    def open_loop(self, per_second: float, until: float) -> None:
        """Let photos come by chance (Poisson), whatever becomes of those before."""
        at = 0.0
        while (at := at + self._random.expovariate(per_second)) < until:
            self._at(at, lambda: self._arrive(lambda _: None))

    def closed_loop(self, clients: int, pause_seconds: float, until: float) -> None:
        """Let clients send a photo each, and the next one when it is answered, or a pause after a refusal."""

        def again(status: int) -> None:
            if self.now < until:
                self._at(self.now + (pause_seconds if status == 429 else 0.001), lambda: self._arrive(again))

        for index in range(clients):
            self._at(0.001 * index, lambda: self._arrive(again))

    def run(self) -> None:
        """Let everything happen."""
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()

    def share(self, begin: float, end: float, *statuses: int) -> float:
        """Share of all answers in a span of time that have one of these statuses."""
        return self.count(begin, end, *statuses) / sum(self._counts(begin, end).values())

    def count(self, begin: float, end: float, *statuses: int) -> int:
        """Answers in a span of time that have one of these statuses."""
        return sum(self._counts(begin, end)[status] for status in statuses)

    def _counts(self, begin: float, end: float) -> Counter[int]:
        return Counter(status for at, status in self.statuses if begin <= at < end)

    def _at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), event))

    def _after(self, mean_seconds: float, event: Callable[[], None]) -> None:
        noise = self.machine.noise
        factor = self._random.lognormvariate(-(noise**2) / 2, noise) * self.machine.pace(self.now)
        self._at(self.now + mean_seconds * factor, event)

    def _arrive(self, answered: Callable[[int], None]) -> None:
        cost = Cost("PNG", 1e6)
        permit = self.door.admit(self.machine.looks, self._decoding.seconds(cost))
        try:
            permit.__enter__()
        except Overloaded:
            self.statuses.append((self.now, 429))
            answered(429)
            return
        photo = _Photo(self.now + self.deadline_seconds, self.machine.looks, permit, answered)
        self._at(photo.deadline, lambda: self._finish(photo, 503))
        self._look(photo, cost)

    def _look(self, photo: _Photo, cost: Cost) -> None:
        photo.looks_left -= 1
        photo.latest = self._throughput.latest(photo.deadline, photo.looks_left)
        job = photo.job = Job(cost, self._throughput.latest(photo.latest, 1), lambda: photo)
        job.future.add_done_callback(lambda future: self._finish(photo, 503) if future.exception() else None)
        queue = self._recutting if cost is RECUT else self._decoding
        queue.add(job)
        self._decode(queue)

    def _decode(self, queue: DecodeQueue) -> None:
        while queue.running < self.machine.decoders and (job := queue.take()) is not None:
            seconds = _RECUT_SECONDS if queue is self._recutting else self.machine.decode_seconds
            self._after(seconds, lambda job=job: self._decoded(queue, job))

    def _decoded(self, queue: DecodeQueue, job: Job) -> None:
        queue.finish(job, succeeded=True)
        photo = job.work()
        if not photo.is_done:
            image = np.zeros((1, 1, 1, 3), np.uint8)
            photo.request = Request(self._lane, image, frozenset(), photo.latest, Future(), self.now)
            self._photos[photo.request] = photo
            self._schedule.add(photo.request)
            self._compute()
        self._decode(queue)

    def _compute(self) -> None:
        while True:
            while (late := self._schedule.pop_late()) is not None:
                self._finish(self._photos.pop(late), 503)
            batch = self._schedule.take()
            if batch is None:
                return
            began = self._throughput.begin()
            streams = self.machine.streams if batch.beside else 1
            mean = streams / self.machine.images_per_second
            self._after(mean, lambda batch=batch, began=began: self._computed(batch, began))

    def _computed(self, batch: Batch, began: float) -> None:
        self._throughput.end(began, 1)
        self._schedule.finish(batch)
        photo = self._photos.pop(batch.slices[0].request)
        if not photo.is_done:
            if photo.looks_left:
                self._look(photo, RECUT)
            else:
                self._finish(photo, 200)
        self._compute()

    def _finish(self, photo: _Photo, status: int) -> None:
        if photo.is_done:
            return
        photo.is_done = True
        self.statuses.append((self.now, status))
        error = DeadlineMissed("late") if status == 503 else None
        photo.permit.__exit__(type(error) if error else None, error, None)
        if photo.job is not None:
            self._decoding.discard(photo.job)
            self._recutting.discard(photo.job)
        if photo.request is not None and self._schedule.discard(photo.request):
            self._photos.pop(photo.request, None)
        photo.answered(status)
