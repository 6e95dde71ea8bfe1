"""The door: how many images may be under way, so that every one admitted can be answered in time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.problems import Overloaded


class Admission:
    """Permits counted in images, from before a photo is decoded until its answer is there.

    Args:
        images_per_second: The drain rate as it is now; 0 while it is not known.
        deadline_seconds: Longest wait that is worth admitting.
    """

    def __init__(self, images_per_second: Callable[[], float], deadline_seconds: float) -> None:
        self._images_per_second = images_per_second
        self._deadline_seconds = deadline_seconds
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
            Overloaded: The images could not be answered before the deadline.
        """
        with self._lock:
            self._check(images)

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Hold permits for a request's images.

        An idle service admits a single image whatever the rate, which one slow batch may have spoilt.

        Raises:
            Overloaded: The images could not be answered before the deadline.
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
        wait = (self._admitted + images) / rate if rate > 0 else 0.0
        if wait > self._deadline_seconds and (self._admitted or images > 1):
            raise Overloaded(
                f"{self._admitted} images are under way and {images} more would take {wait:.1f} s; "
                f"the limit is {self._deadline_seconds:g} s",
                retry_after_seconds=wait - self._deadline_seconds,
            )
