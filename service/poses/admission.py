"""The door: how many images may be under way, so that all can be answered in time."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from service.errors import BadOption, DeadlineMissed, Overloaded
from service.forecast import Clock, Margin
from service.poses.estimator import Estimator
from service.poses.options import Options
from service.poses.people import Poses

_SHORT_WAIT: Final = 0.1  # of the deadline


@dataclass(frozen=True, slots=True)
class _Forecast:
    """The seconds of a request: its own work's, and those that it waits for others before."""

    own_seconds: float
    wait_seconds: float


class Admission:
    """Permits counted in images, from before a photo is decoded until its answer is there.

    A request waits for the slower of the decoders and the network. Predictions of that wait miss, so it is taken as
    longer by a margin that follows how far they have missed; the request's own work comes on top.

    Args:
        images_per_second: The drain rate as it is now; 0 while it is not known.
        deadline_seconds: Longest time to an answer that is worth admitting.
        decoder_wait_seconds: How long a photo that comes now waits for a decoder.
        clock: Tells the time, in seconds.
    """

    def __init__(
        self,
        images_per_second: Callable[[], float],
        deadline_seconds: float,
        decoder_wait_seconds: Callable[[], float] = lambda: 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._images_per_second = images_per_second
        self._deadline_seconds = deadline_seconds
        self._decoder_wait_seconds = decoder_wait_seconds
        self._clock = clock
        self._margin = Margin()
        self._best_rate = 0.0
        self._lock = threading.Lock()
        self._admitted = 0

    @property
    def admitted_images(self) -> int:
        """Images under way now."""
        return self._admitted

    @property
    def limit_images(self) -> float:
        """Images that may be under way: the drain rate times the deadline, less the margin."""
        return self._images_per_second() * self._deadline_seconds / self._margin.factor

    def check(self, images: int = 1) -> None:
        """See that a request could be admitted now, without holding anything for it.

        Raises:
            BadOption: The images alone could not be answered before the deadline at the best rate so far.
            Overloaded: The images could not be answered before the deadline beside those under way.
        """
        with self._lock:
            self._check(images)

    @contextmanager
    def admit(self, images: int, decode_seconds: float = 0.0) -> Iterator[Callable[[int], None]]:
        """Hold permits for a request's images, until they are answered, refused or given up.

        An idle service goes by the best rate that it has had, since one that slow runs have spoilt gets better by other
        runs only, and admits a single image at any rate. What it would not admit is refused at any time as too much to
        ask: there is no use in trying again.

        Args:
            images: Of the network, at most.
            decode_seconds: What a decoder is expected to need.

        Yields:
            A function that takes how many images more there are than was thought, and refuses as this one does.

        Raises:
            BadOption: The images alone could not be answered before the deadline at the best rate so far.
            Overloaded: The images could not be answered before the deadline beside those under way.
        """
        with self._lock:
            forecast = self._check(images, decode_seconds)
            self._admitted += images
        began = self._clock()
        missed: bool | None = None

        def claim(more: int) -> None:
            nonlocal images
            with self._lock:
                self._admitted -= images  # its own images do not stand in its way
                try:
                    if more > 0:
                        self._check(images + more)
                    images += more
                finally:
                    self._admitted += images

        try:
            yield claim
            missed = False
        except DeadlineMissed:
            missed = True
            raise
        finally:
            with self._lock:
                self._admitted -= images
                self._learn(forecast, self._clock() - began, missed)

    def _learn(self, forecast: _Forecast, seconds: float, missed: bool | None) -> None:
        """Compare a wait with what was predicted; short ones say nothing of the long ones that the margin is for."""
        if missed is None or forecast.wait_seconds < _SHORT_WAIT * self._deadline_seconds:
            return
        ratio = (seconds - forecast.own_seconds) / forecast.wait_seconds
        self._margin.learn(math.inf if missed else ratio)

    def _check(self, images: int, decode_seconds: float = 0.0) -> _Forecast:
        rate = self._images_per_second()
        self._best_rate = max(self._best_rate, rate)
        most = max(1.0, self._best_rate * self._deadline_seconds)
        if self._best_rate and images > most:
            raise BadOption(
                f"the people and options need up to {images} images of the network, and {int(most)} are the most that "
                f"fit in the limit of {self._deadline_seconds:g} s; send fewer boxes, "
                f"find one, or turn flip or refine off"
            )
        forecast = self._forecast(images, decode_seconds, rate)
        seconds = forecast.own_seconds + self._margin.factor * forecast.wait_seconds
        if self._admitted and seconds > self._deadline_seconds:
            raise Overloaded(
                f"{self._admitted} images are under way and {images} more would take {seconds:.1f} s; "
                f"the limit is {self._deadline_seconds:g} s",
                retry_after_seconds=(seconds - self._deadline_seconds) / self._margin.factor,
            )
        return forecast

    def _forecast(self, images: int, decode_seconds: float, rate: float) -> _Forecast:
        decoders = self._decoder_wait_seconds()
        if not decoders:
            decode_seconds = 0.0  # a cost that slow photos have spoilt gets better by other photos only
        network = self._admitted / rate if rate > 0 else 0.0
        own = decode_seconds + (images / rate if rate > 0 else 0.0)
        return _Forecast(own, max(decoders, network - decode_seconds))


class BoundedEstimator:
    """An estimator within a server's limits: what could not be answered before its deadline is refused at the door.

    Args:
        estimator: Makes the poses.
        deadline_seconds: Longest time to an answer.
    """

    def __init__(self, estimator: Estimator, deadline_seconds: float) -> None:
        self.estimator = estimator
        self._deadline_seconds = deadline_seconds
        rate = estimator.lane.throughput
        self.admission = Admission(lambda: rate.images_per_second, deadline_seconds, estimator.decoders.wait_seconds)

    async def estimate(self, data: bytes, options: Options) -> Poses:
        """Estimate the poses of the people in a photo; cancelling it drops what still waits.

        Args:
            data: The photo's file.
            options: Whose boxes or whom to find, and what else to answer.

        Raises:
            ServiceError: The photo, a box, the time that is left or the service's state does not allow an answer.
        """
        seconds = self._deadline_seconds
        deadline = time.monotonic() + seconds
        with self.admission.admit(options.images, self.estimator.predict_decode_seconds(data)) as claim:
            try:
                async with asyncio.timeout(seconds):
                    return await self.estimator.estimate(data, options, deadline, claim)
            except TimeoutError as error:
                raise DeadlineMissed(f"the photo was not done within the deadline of {seconds:g} s") from error
