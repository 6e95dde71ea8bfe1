from concurrent.futures import Future

import numpy as np
import pytest

from service.forecast import Throughput
from service.inference.schedule import Batch, Lane, Request, Schedule
from tests.support.standin import StandIn


class Bench:
    """A schedule with a clock of its own."""

    def __init__(self, streams: int = 2, batch: int = 1, images_per_second: float = 0.0) -> None:
        self.now = 0.0
        self.streams, self.batch = streams, batch
        self.schedule = Schedule(streams, lambda: self.now)
        self.lane = self.another(images_per_second)

    def another(self, images_per_second: float = 0.0) -> Lane:
        engine = StandIn(tuple(range(1, self.batch + 1)), self.streams)
        return Lane(engine, Throughput(lambda: self.now, images_per_second), lambda together, seconds: None)

    def add(self, images: int, deadline: float = 1000.0, lane: Lane | None = None) -> Request:
        pixels = np.zeros((images, 1, 1, 3), np.uint8)
        request = Request(lane or self.lane, pixels, frozenset(), deadline, Future(), self.now)
        self.schedule.add(request)
        return request

    def next(self) -> Request:
        """The request of the next batch, which is done at once."""
        batch = self.take()
        self.schedule.finish(batch)
        return batch.slices[0].request

    def take(self) -> Batch:
        batch = self.schedule.take()
        assert batch is not None
        return batch


def test_a_request_of_many_images_does_not_hold_up_many_of_one() -> None:
    bench = Bench()
    large = bench.add(40)
    small = [bench.add(1) for _ in range(10)]
    assert bench.next() is large
    assert [bench.next() for _ in small] == small
    assert bench.next() is large


def test_newcomers_join_at_the_present_turn_and_starve_nobody() -> None:
    bench = Bench()
    large = bench.add(40)
    order = []
    for _ in range(20):
        bench.add(1)
        order.append(bench.next())
    assert order.count(large) >= 5  # a round is as long as those who wait are many


def test_where_turns_would_make_an_answer_late_the_most_urgent_goes_first() -> None:
    bench = Bench(images_per_second=10.0)
    urgent = bench.add(8, deadline=1.0)
    bench.add(1, deadline=100.0)
    order = []
    while urgent.left:
        order.append(bench.next())
        bench.now += 0.1
    assert order[:4] == [urgent] * 4
    assert bench.now <= 1.0


def test_with_time_enough_requests_take_turns() -> None:
    bench = Bench(images_per_second=10.0)
    first, second = bench.add(3, deadline=50.0), bench.add(3, deadline=100.0)
    assert [bench.next() for _ in range(6)] == [first, second] * 3


def test_a_batch_is_filled_in_turn_and_remembers_each_requests_images() -> None:
    bench = Bench(streams=1, batch=4)
    first, second = bench.add(5), bench.add(2)
    slices = {part.request: (part.begin, part.end) for part in bench.take().slices}
    assert slices == {first: (0, 2), second: (0, 2)}
    assert bench.schedule.waiting_images == 3


def test_a_lonely_image_is_alone_and_others_wait_for_it() -> None:
    bench = Bench()
    bench.add(1)
    batch = bench.take()
    assert batch.beside == 0
    bench.add(3)
    assert bench.schedule.take() is None
    bench.schedule.finish(batch)
    assert [bench.take().beside, bench.take().beside] == [1, 1]


def test_no_more_batches_are_under_way_than_streams() -> None:
    bench = Bench(streams=2)
    bench.add(5)
    batches = [bench.take(), bench.take()]
    assert bench.schedule.take() is None
    bench.schedule.finish(batches[0])
    assert bench.take().slices[0].begin == 2


def test_engines_share_the_streams_and_no_batch_mixes_them() -> None:
    bench = Bench(streams=2, batch=4)
    other = bench.another()
    poses, boxes = bench.add(3), bench.add(2, lane=other)
    batches = [bench.take(), bench.take()]
    assert [(batch.lane, len(batch)) for batch in batches] == [(bench.lane, 3), (other, 2)]
    assert [batch.slices[0].request for batch in batches] == [poses, boxes]


def test_who_has_left_is_not_served() -> None:
    bench = Bench()
    gone, stays = bench.add(2), bench.add(1)
    assert bench.schedule.discard(gone)
    assert not bench.schedule.discard(gone)
    assert bench.next() is stays
    assert bench.schedule.take() is None


@pytest.mark.parametrize(("now", "is_late"), [(0.0, False), (0.65, True)])
def test_what_would_be_late_is_taken_out(now: float, is_late: bool) -> None:
    bench = Bench(images_per_second=10.0)
    request = bench.add(4, deadline=1.0)
    bench.add(1, deadline=9.0)
    bench.now = now
    assert (bench.schedule.pop_late() is request) == is_late


def test_time_is_short_where_it_is_for_all_before_a_request_together() -> None:
    bench = Bench(images_per_second=10.0)
    first = bench.add(3, deadline=1.1)
    bench.add(3, deadline=1.15)
    bench.add(3, deadline=1.2)
    order = []
    for _ in range(3):
        order.append(bench.next())
        bench.now += 0.1
    assert order == [first] * 3


def test_what_has_been_taken_takes_no_more_time() -> None:
    bench = Bench(images_per_second=10.0)
    request = bench.add(4)
    bench.next()
    assert request.seconds == pytest.approx(0.3)


def test_the_next_batch_is_of_the_engine_whose_requests_turn_it_is() -> None:
    bench = Bench(streams=1)
    other = bench.another()
    bench.add(2, deadline=10.0)
    bench.add(1, deadline=20.0, lane=other)
    assert [bench.next().lane for _ in range(3)] == [bench.lane, other, bench.lane]


def test_images_that_are_taken_are_not_expected_beside_themselves() -> None:
    bench = Bench(streams=4)
    bench.add(3)
    assert [bench.take().beside for _ in range(3)] == [2, 2, 2]


def test_a_request_waits_until_its_first_image_is_taken_and_is_computed_from_then_on() -> None:
    bench = Bench(streams=1)
    request = bench.add(2)
    request.wanted = frozenset({"confidence"})
    for begin, (taken, answered) in enumerate([(1.0, 2.0), (3.0, 5.0)]):
        bench.now = taken
        bench.next()
        request.add(begin, {"confidence": np.full((1, 16), begin, np.float32)}, answered)
    served = request.future.result(0)
    assert (served.queue_seconds, served.inference_seconds) == (1.0, 4.0)
    assert served.outputs["confidence"][:, 0].tolist() == [0, 1]
