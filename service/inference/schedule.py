"""What waits for the networks, and what runs next. Pure: no threads, no locks, and the time comes from outside.

Natural batching: when a thread is free it takes whatever waits, up to the largest batch that runs at full speed. No
timer runs, and one image alone never waits for company. The unit is the image, so a request may spread over batches.

Images are taken from the waiting requests in turn, so that one of 40 boxes does not hold up 40 of one. Only where that
would make somebody's answer late the most urgent request goes first.
"""

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.spec.contract import check_values
from service.backlog import Backlog
from service.errors import ServiceError
from service.forecast import Clock, Throughput
from service.inference.engine import NetworkEngine, Outputs, concatenate

_CAUTION: Final = 1.5  # by which factor work may take longer than expected before turns make an answer late


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """An engine as the schedule sees it.

    Attributes:
        engine: Runs the batches.
        throughput: How fast it is.
        observe: Takes the images that were computed at once and the seconds of each run.
        check: Sees that outputs are what they can be.
    """

    engine: NetworkEngine[Any]
    throughput: Throughput
    observe: Callable[[int, float], None]
    check: Callable[[Outputs], None] = check_values


@dataclass(frozen=True, slots=True)
class Served:
    """The answer to a request: its outputs in order, and the seconds it waited and was computed."""

    outputs: Outputs
    queue_seconds: float
    inference_seconds: float


@dataclass(slots=True, eq=False)
class Request:
    """Images of one caller; those before `taken` are with the engine or answered.

    Attributes:
        turn: Rises with each image taken; the lowest is next.
    """

    lane: Lane
    images: NDArray[np.uint8]
    wanted: frozenset[str]
    deadline: float
    future: "Future[Served]"
    arrived: float
    started: float = 0.0
    taken: int = 0
    turn: int = 0
    answers: dict[int, Outputs] = field(default_factory=dict)  # by the number of their first image

    @property
    def left(self) -> int:
        """Images that wait."""
        return len(self.images) - self.taken

    @property
    def seconds(self) -> float:
        """How long the images that wait are expected to take."""
        return self.lane.throughput.seconds(self.left)

    def fail(self, error: ServiceError) -> None:
        """Answer with an error, unless there is an answer."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)

    def add(self, begin: int, outputs: Outputs, now: float) -> None:
        """Take the outputs of the images from `begin` on, and answer the request when they were the last."""
        self.answers[begin] = {name: outputs[name] for name in self.wanted}
        answers = [part for _, part in sorted(self.answers.items())]
        if sum(len(next(iter(part.values()))) for part in answers) < len(self.images):
            return
        with contextlib.suppress(InvalidStateError):
            self.future.set_result(Served(concatenate(answers), self.started - self.arrived, now - self.started))


@dataclass(slots=True)
class Slice:
    """A run of one request's images in a batch."""

    request: Request
    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin

    @property
    def images(self) -> NDArray[np.uint8]:
        """uint8 [N, size, size, 3]."""
        return self.request.images[self.begin : self.end]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What a thread gives to an engine.

    Attributes:
        beside: Images that other threads are expected to compute meanwhile; with 0, it is alone.
    """

    lane: Lane
    slices: Sequence[Slice]
    beside: int

    def __len__(self) -> int:
        return sum(map(len, self.slices))

    @property
    def wanted(self) -> frozenset[str]:
        """Names of the outputs that any of the requests wants."""
        return frozenset().union(*(part.request.wanted for part in self.slices))


class Schedule:
    """The requests that wait for one or several engines on the same processors, and the batches under way.

    Few images get the whole processor, one after the other; more get a stream each, as these become free.

    Args:
        streams: How many batches may be under way at once.
        clock: Tells the time, in seconds.
    """

    def __init__(self, streams: int, clock: Clock) -> None:
        self._streams, self._clock = streams, clock
        self._waiting: Backlog[Request] = Backlog(lambda request: request.seconds)
        self._running: set[Batch] = set()
        self._turn = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_images(self) -> int:
        """Images that wait."""
        return sum(request.left for request in self._waiting)

    def add(self, request: Request) -> None:
        """Let a request wait; its turn comes after that of those who are being served."""
        request.turn = self._turn + 1
        self._waiting.add(request)

    def discard(self, request: Request) -> bool:
        """Let a request wait no longer; whether it did."""
        return self._waiting.discard(request)

    def pop_late(self) -> Request | None:
        """Take out a request whose answer would come too late; None when there is none."""
        return self._waiting.pop_late(self._clock())

    def take(self) -> Batch | None:
        """The next batch, counted as under way; None while nothing may begin."""
        is_exclusive = any(batch.beside == 0 for batch in self._running)
        if is_exclusive or len(self._running) == self._streams or not self._waiting:
            return None
        lane = self._next().lane
        waiting = self.waiting_images
        room = min(lane.engine.batch_sizes[-1], sum(each.left for each in self._waiting if each.lane is lane))
        batch = Batch(lane, self._fill(lane, room), self._beside(waiting, room))
        self._running.add(batch)
        return batch

    def finish(self, batch: Batch) -> None:
        """Count a batch as done."""
        self._running.discard(batch)

    def _fill(self, lane: Lane, room: int) -> list[Slice]:
        """Take images of one engine's requests, in turn."""
        slices: dict[Request, Slice] = {}
        for _ in range(room):
            request = self._next(lane)
            part = slices.setdefault(request, Slice(request, request.taken, request.taken))
            self._turn = max(self._turn, request.turn)
            part.end = request.taken = request.taken + 1
            request.turn += 1
            request.started = request.started or self._clock()
            if not request.left:
                self._waiting.discard(request)
        return list(slices.values())

    def _next(self, lane: Lane | None = None) -> Request:
        """The request whose turn it is, or the most urgent one where turns would make an answer late."""
        requests = [request for request in self._waiting if lane in (None, request.lane)]
        until = self._clock()
        for request in requests:  # the most urgent first
            until += _CAUTION * request.seconds
            if until > request.deadline:
                return requests[0]
        return min(requests, key=lambda request: (request.turn, request.deadline))

    def _beside(self, waiting: int, taken: int) -> int:
        """How many images will be under way besides those taken from the waiting ones."""
        busy = len(self._running)
        if not busy and 2 * waiting <= self._streams:
            return 0  # in streams, half of the processor would idle
        return min(busy + waiting - taken, self._streams - 1)
