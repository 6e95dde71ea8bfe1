import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest
from PIL import Image

from service.errors import DeadlineMissed, Malformed, NotReady
from service.photos.decoders import DecodeQueue, Decoders, Job
from service.photos.decoding import Cost, predict_cost
from tests.support.standin import wait_until

COST = Cost("PNG", 1e6)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def decode(queue: DecodeQueue, clock: Clock, seconds: float, succeeded: bool = True) -> None:
    queue.add(Job(COST, clock.now + 100))
    job = queue.take()
    clock.now += seconds
    queue.finish(job, succeeded)


def measured(clock: Clock, workers: int = 2) -> DecodeQueue:
    """A queue that knows that a photo takes a second."""
    queue = DecodeQueue(workers, clock)
    for _ in range(100):
        decode(queue, clock, 1.0)
    return queue


def test_the_wait_is_for_what_is_left_of_the_photos_before() -> None:
    clock = Clock()
    queue = measured(clock)
    assert queue.seconds(COST) == pytest.approx(1.0, rel=0.01)
    for _ in range(4):
        queue.add(Job(COST, clock.now + 100))
    jobs = [queue.take(), queue.take()]
    assert (queue.running, len(queue)) == (2, 2)
    assert queue.wait_seconds == pytest.approx(2.0, rel=0.01)
    clock.now += 0.6
    assert queue.wait_seconds == pytest.approx(1.4, rel=0.01)
    clock.now += 10
    assert queue.wait_seconds == pytest.approx(1.0, rel=0.01)
    for job in jobs:
        queue.finish(job, succeeded=False)
    assert queue.seconds(COST) == pytest.approx(1.0, rel=0.01)


def test_nobody_waits_while_a_decoder_is_free() -> None:
    clock = Clock()
    queue = measured(clock)
    queue.add(Job(COST, clock.now + 100))
    assert queue.take() is not None
    assert queue.wait_seconds == 0
    queue.add(Job(COST, clock.now + 100))
    assert queue.take() is not None
    assert queue.wait_seconds == pytest.approx(1.0, rel=0.01)  # none is free, though nothing waits


def test_a_photo_that_would_be_late_is_refused_and_the_next_one_decoded() -> None:
    clock = Clock()
    queue = measured(clock)
    late, good = Job(COST, clock.now + 0.9), Job(COST, clock.now + 1.5)
    queue.add(good)
    queue.add(late)
    assert queue.take() is good
    with pytest.raises(DeadlineMissed, match="before the photo was decoded"):
        late.future.result(0)


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    decoders = Decoders(1)
    decoders.start()
    yield decoders
    decoders.close()
    for thread in decoders._threads:
        thread.join(20)
        assert not thread.is_alive()


def hold(decoders: Decoders) -> threading.Event:
    """Occupy the thread until the event is set."""
    gate, is_inside = threading.Event(), threading.Event()
    decoders.submit(lambda: is_inside.set() or gate.wait(20), COST, time.monotonic() + 20)
    assert is_inside.wait(20)
    return gate


def test_the_most_urgent_photo_is_decoded_first(decoders: Decoders) -> None:
    gate, order = hold(decoders), []
    now = time.monotonic()
    futures = [decoders.submit(lambda s=s: order.append(s), COST, now + s) for s in (300, 100, 200)]
    assert decoders.waiting_photos == 3
    gate.set()
    for future in futures:
        future.result(20)
    assert order == [100, 200, 300]


def test_a_cancelled_photo_leaves_the_queue_at_once(decoders: Decoders) -> None:
    gate, order = hold(decoders), []
    gone, stays = (decoders.submit(lambda n=n: order.append(n), COST, time.monotonic() + 100) for n in (1, 2))
    before = decoders.wait_seconds()
    gone.cancel()
    assert decoders.waiting_photos == 1
    assert decoders.wait_seconds() < before
    gate.set()
    stays.result(20)
    assert order == [2]


@pytest.mark.parametrize("error", [Malformed("broken"), SystemExit("killed")])
def test_a_failure_reaches_the_caller_and_the_thread_goes_on(decoders: Decoders, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        decoders.submit(fail, COST, time.monotonic() + 20).result(20)
    assert decoders.submit(lambda: 7, COST, time.monotonic() + 20).result(20) == 7


def test_what_waits_when_the_decoders_close_is_done_and_nothing_more_taken() -> None:
    decoders = Decoders(1)
    decoders.start()
    gate = hold(decoders)
    last = decoders.submit(lambda: "done", COST, time.monotonic() + 20)
    decoders.close()
    with pytest.raises(NotReady):
        decoders.submit(lambda: None, COST, time.monotonic() + 20)
    gate.set()
    assert last.result(20) == "done"
    wait_until(lambda: not any(thread.is_alive() for thread in decoders._threads))


def test_idle_decoders_end_when_they_are_closed() -> None:
    decoders = Decoders(3)
    decoders.start()
    decoders.close()
    wait_until(lambda: not any(thread.is_alive() for thread in decoders._threads))


@pytest.mark.parametrize("fails", [False, True])
def test_photos_are_freed_without_the_garbage_collector(decoders: Decoders, fails: bool) -> None:
    class Photo:
        def decode(self) -> None:
            if fails:
                raise Malformed("broken")

    gc.disable()
    try:
        photo = Photo()
        freed = weakref.ref(photo)
        future = decoders.submit(photo.decode, COST, time.monotonic() + 20)
        assert isinstance(future.exception(20), Malformed if fails else type(None))
        del photo, future
        wait_until(lambda: freed() is None)
    finally:
        gc.enable()


def test_the_cost_is_read_from_the_first_bytes(encode: Callable[..., bytes], astronaut: bytes) -> None:
    image = Image.new("RGB", (300, 200))
    for kind in ("PNG", "GIF", "BMP"):
        data = encode(image, kind)
        assert predict_cost(data, 10**6) == Cost(kind, 300 * 200)
        assert predict_cost(data, 50_000) == Cost(kind, 0)
        assert predict_cost(data[:17], 10**6).kind == kind
    assert predict_cost(astronaut, 10**6) == Cost("JPEG", len(astronaut))
    assert predict_cost(b"some text", 10**6) == Cost("other", 9)
    assert predict_cost(b"", 10**6) == Cost("other", 0)
