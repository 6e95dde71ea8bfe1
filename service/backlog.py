"""What waits and what comes next. Pure: no threads, no locks, and the time comes from outside."""

import bisect
import operator
from collections.abc import Callable, Iterator
from typing import Final, Generic, Protocol, TypeVar


class Waiting(Protocol):
    """Something with a latest instant at which its result is of use."""

    @property
    def deadline(self) -> float:
        """The instant, by the clock of whoever asks for what comes next."""


_T = TypeVar("_T", bound=Waiting)
_DEADLINE: Final = operator.attrgetter("deadline")


class Backlog(Generic[_T]):
    """What waits, the most urgent first; of equally urgent ones, the one that came first.

    A request's next pass thus goes before requests that came later, and how long a request waits depends on those
    before it only.

    Args:
        seconds: How long something is expected to take once it has begun.
    """

    def __init__(self, seconds: Callable[[_T], float]) -> None:
        self._seconds = seconds
        self._items: list[_T] = []

    def __iter__(self) -> Iterator[_T]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: _T) -> None:
        """Let something wait."""
        bisect.insort(self._items, item, key=_DEADLINE)

    def discard(self, item: _T) -> bool:
        """Let something wait no longer; whether it did."""
        try:
            self._items.remove(item)
        except ValueError:
            return False
        return True

    @property
    def first(self) -> _T:
        """The most urgent.

        Raises:
            IndexError: Nothing waits.
        """
        return self._items[0]

    def pop_late(self, now: float) -> _T | None:
        """Take the most urgent out if its result would come too late; None if it may begin.

        The last one that waits may begin as long as its deadline has not passed: nobody else would have the time that
        it takes, and expectations that a slow run has spoilt get better by other runs only.
        """
        if not self._items:
            return None
        needed = self._seconds(self.first) if len(self._items) > 1 else 0.0
        return self._items.pop(0) if now + needed > self.first.deadline else None
