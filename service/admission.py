"""The doors: how many images may be under way, so that all can be answered in time, and how many bytes of bodies."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.problems import BadOption, Overloaded


class Admission:
    """Permits counted in images, from before a photo is decoded until its answer is there.

    Args:
        images_per_second: The drain rate as it is now; 0 while it is not known.
        deadline_seconds: Longest wait that is worth admitting.
    """

    def __init__(self, images_per_second: Callable[[], float], deadline_seconds: float) -> None:
        self._images_per_second = images_per_second
        self._deadline_seconds = deadline_seconds
        self._best_rate = 0.0
        self._lock = threading.Lock()
        self._admitted = 0

    @property
    def admitted_images(self) -> int:
        """Images under way now."""
        return self._admitted

    @property
    def limit_images(self) -> float:
        """Images that may be under way: the drain rate times the deadline."""
        return self._images_per_second() * self._deadline_seconds

    def check(self, images: int = 1) -> None:
        """See that a request could be admitted now, without holding anything for it.

        Raises:
            BadOption: The images alone could not be answered before the deadline at the best rate so far.
            Overloaded: The images could not be answered before the deadline beside those under way.
        """
        with self._lock:
            self._check(images)

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Hold permits for a request's images.

        An idle service goes by the best rate that it has had, since one that slow runs have spoilt gets better by other
        runs only, and admits a single image at any rate. What it would not admit is refused at any time as too much to
        ask: there is no use in trying again.

        Raises:
            BadOption: The images alone could not be answered before the deadline at the best rate so far.
            Overloaded: The images could not be answered before the deadline beside those under way.
        """
        with self._lock:
            self._check(images)
            self._admitted += images
        try:
            yield
        finally:
            with self._lock:
                self._admitted -= images

    def _check(self, images: int) -> None:
        rate = self._images_per_second()
        self._best_rate = max(self._best_rate, rate)
        most = max(1.0, self._best_rate * self._deadline_seconds)
        if self._best_rate and images > most:
            raise BadOption(
                f"the boxes and options need up to {images} images of the network, and {int(most)} are the most that "
                f"fit in the limit of {self._deadline_seconds:g} s; send fewer boxes, or turn flip or refine off"
            )
        wait = (self._admitted + images) / rate if rate > 0 else 0.0
        if self._admitted and wait > self._deadline_seconds:
            raise Overloaded(
                f"{self._admitted} images are under way and {images} more would take {wait:.1f} s; "
                f"the limit is {self._deadline_seconds:g} s",
                retry_after_seconds=wait - self._deadline_seconds,
            )


class Bodies:
    """Bytes held for the bodies that are being read or answered; for one thread, the event loop's.

    Args:
        most_bytes: Of all bodies together; one alone may have more.
    """

    def __init__(self, most_bytes: float) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """A function that takes the bytes to be held for a body as it comes, until the end of the `with` block.

        Raises:
            Overloaded: From that function: the bodies of all requests have too many bytes.
        """
        own_bytes = 0

        def take(count: int) -> None:
            nonlocal own_bytes
            others = self._held_bytes - own_bytes
            if others and self._held_bytes + count > self._most_bytes:
                raise Overloaded(
                    f"the bodies of other requests under way hold {others:,} bytes; with this one they would hold more "
                    f"than {self._most_bytes:,.0f}",
                    retry_after_seconds=1,
                )
            own_bytes += count
            self._held_bytes += count

        try:
            yield take
        finally:
            self._held_bytes -= own_bytes
