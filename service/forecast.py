"""How long work will take, by how long it has taken. Pure: no threads, no locks, and the time comes from outside."""

from collections.abc import Callable
from typing import Final

Clock = Callable[[], float]
"""Seconds since whenever, never backwards: `time.monotonic`, or a test's own."""

_WINDOW_IMAGES: Final = 32.0  # that a rate is averaged over: it smooths a single slow run, and follows a slower machine
_KNOWN_IMAGES: Final = 4.0  # weight of a rate that was measured beforehand

_WINDOW_PHOTOS: Final = 16.0  # of a kind, that its cost is averaged over
_UNMEASURED: Final = (0.005, 100_000.0)  # seconds and pixels or bytes, of a kind that has not been decoded yet

_LEAST_MARGIN: Final = 1.25
_MOST_MARGIN: Final = 3.0
_MISSES: Final = 0.01  # of waits that may be longer than the margin allows
_STEP: Final = 0.1  # that a longer one adds


class Ratio:
    """A ratio of two sums that forget: each addition lets what came before fade.

    Args:
        over: What the numerator starts from.
        under: What the denominator starts from.
    """

    def __init__(self, over: float = 0.0, under: float = 0.0) -> None:
        self._over = over
        self._under = under

    def add(self, over: float, under: float, keep: float) -> None:
        """Add to both sums, of which `keep` (0 to 1) remains."""
        self._over = keep * self._over + over
        self._under = keep * self._under + under

    @property
    def value(self) -> float:
        """The ratio; 0 before the first addition."""
        return self._over / max(self._under, 1e-6)


class Throughput:
    """Images computed in a second of being busy, however many runs are under way at once.

    A run's own time would count the seconds of overlapping runs twice, or, with the images of the others added to its
    own, those images twice.

    Args:
        clock: Tells the time, in seconds.
        images_per_second: The rate as far as it is known; 0 where it is not.
    """

    def __init__(self, clock: Clock, images_per_second: float = 0.0) -> None:
        self._clock = clock
        known = _KNOWN_IMAGES if images_per_second > 0 else 0.0
        self._rate = Ratio(known, known / max(images_per_second, 1e-6))
        self._run = Ratio()
        self._runs = 0
        self._counted_until = 0.0

    def begin(self) -> float:
        """Count a run as under way; the time, for `end`."""
        now = self._clock()
        if self._runs == 0:
            self._counted_until = now
        self._runs += 1
        return now

    def end(self, began: float, images: int) -> float:
        """Count a run as over, which has computed `images` (0 where it failed); its seconds."""
        now = self._clock()
        self._runs -= 1
        keep = (1 - 1 / _WINDOW_IMAGES) ** max(1, images)
        self._rate.add(images, now - self._counted_until, keep)
        self._run.add(now - began, 1, keep)
        self._counted_until = now
        return now - began

    @property
    def images_per_second(self) -> float:
        """The rate while busy; 0 before the first run."""
        return self._rate.value

    def seconds(self, images: int) -> float:
        """How long these images take once the network has begun with them, all others waiting."""
        rate = self.images_per_second
        return max(self._run.value, images / rate) if rate > 0 else 0.0

    def latest(self, deadline: float, runs: int) -> float:
        """The instant by which something must be done, so that further runs, one after the other, end by the deadline.

        At most half of the time that is left is kept for them: an expectation that slow runs have spoilt gets better by
        other runs only.
        """
        left = max(0.0, deadline - self._clock())
        return deadline - min(runs * self._run.value, left / 2)


class Costs:
    """Seconds of a decoder for a photo, by its kind and an amount (pixels or bytes) to which they are proportional."""

    def __init__(self) -> None:
        self._seconds_per_unit: dict[str, Ratio] = {}

    def seconds(self, kind: str, amount: float) -> float:
        """What a photo is expected to take."""
        return self._of(kind).value * amount

    def learn(self, kind: str, amount: float, seconds: float) -> None:
        """Take note of what a photo has taken."""
        self._of(kind).add(seconds, amount, 1 - 1 / _WINDOW_PHOTOS)

    def _of(self, kind: str) -> Ratio:
        return self._seconds_per_unit.setdefault(kind, Ratio(*_UNMEASURED))


class Margin:
    """By which factor waits may turn out longer than predicted: their 99th percentile, within bounds.

    Each longer one widens it by a tenth, each other one narrows it by a thousandth, so it comes to rest where one in a
    hundred is longer.
    """

    def __init__(self) -> None:
        self.factor = _LEAST_MARGIN

    def learn(self, ratio: float) -> None:
        """Take note of a wait, as a multiple of its prediction."""
        step = _STEP * (1 - _MISSES) if ratio > self.factor else -_STEP * _MISSES
        self.factor = min(_MOST_MARGIN, max(_LEAST_MARGIN, self.factor * (1 + step)))
