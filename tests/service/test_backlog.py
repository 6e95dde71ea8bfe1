from dataclasses import dataclass

from service.backlog import Backlog


@dataclass(eq=False)
class Item:
    name: str
    deadline: float


def backlog(*items: Item, seconds: float = 0.0) -> Backlog[Item]:
    waiting: Backlog[Item] = Backlog(lambda _: seconds)
    for item in items:
        waiting.add(item)
    return waiting


def test_the_most_urgent_comes_first_and_of_equals_the_one_that_came_first() -> None:
    waiting = backlog(Item("c", 3), Item("a", 1), Item("b", 2), Item("d", 3))
    assert [item.name for item in waiting] == ["a", "b", "c", "d"]
    assert waiting.first.name == "a"


def test_what_waits_no_longer_is_gone_at_once() -> None:
    gone, stays = Item("gone", 1), Item("stays", 2)
    waiting = backlog(gone, stays)
    assert waiting.discard(gone)
    assert not waiting.discard(gone)
    assert list(waiting) == [stays]


def test_what_would_be_late_comes_out_but_for_the_last() -> None:
    waiting = backlog(Item("a", 1), Item("b", 2), Item("c", 2.5), seconds=1.0)
    assert waiting.pop_late(0.0) is None
    assert [waiting.pop_late(1.6).name for _ in range(2)] == ["a", "b"]
    assert waiting.pop_late(1.6) is None
    assert waiting.pop_late(2.5) is None
    assert waiting.pop_late(2.6).name == "c"
    assert waiting.pop_late(2.6) is None
