import gc
import threading
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import DeadlineMissed, InferenceFailed, NotReady, OutOfMemory
from service.inference.engine import rows
from service.metrics import Metrics
from tests.support.bench import Bench, crops, hold, is_answer_to, is_closed, soon
from tests.support.standin import StandIn, compute, wait_until


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=8), st.integers(1, 8))
def test_each_caller_gets_its_own_answer_in_order(asked: list[tuple[int, bool]], largest: int) -> None:
    engine = StandIn(tuple(range(1, largest + 1)))
    bench = Bench(engine, Metrics())
    first = hold(bench, engine)
    requests = [(crops(size, seed), heatmaps) for seed, (size, heatmaps) in enumerate(asked)]
    futures = [bench.submit(images, soon(), heatmaps) for images, heatmaps in requests]
    engine.gate.set()
    assert all(is_answer_to(future, *request) for future, request in zip(futures, requests, strict=True))
    assert is_answer_to(first, crops(1, seed=99))
    total = sum(size for size, _ in asked)
    assert engine.batches[1:] == [min(largest, total - begin) for begin in range(0, total, largest)]
    bench.workers.close(20)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=8), st.integers(2, 4))
def test_streams_mix_no_answers_up_and_no_image_comes_twice(asked: list[tuple[int, bool]], streams: int) -> None:
    engine = StandIn((1,), streams)
    bench = Bench(engine, Metrics())
    requests = [(crops(size, seed), heatmaps) for seed, (size, heatmaps) in enumerate(asked)]
    futures = [bench.submit(images, soon(), heatmaps) for images, heatmaps in requests]
    assert all(is_answer_to(future, *request) for future, request in zip(futures, requests, strict=True))
    assert engine.batches == [1] * sum(size for size, _ in asked)
    bench.workers.close(20)


@pytest.fixture
def streaming(metrics: Metrics) -> Iterator[tuple[Bench, StandIn]]:
    """Workers of two streams."""
    engine = StandIn((1,), streams=2)
    bench = Bench(engine, metrics)
    yield bench, engine
    engine.gate.set()
    bench.workers.close(20)


def test_an_image_alone_has_the_whole_engine_and_those_that_come_later_wait(
    streaming: tuple[Bench, StandIn], metrics: Metrics
) -> None:
    bench, engine = streaming
    first = hold(bench, engine)
    others = bench.submit(crops(3), soon())
    time.sleep(0.05)
    assert engine.batches == [1]
    engine.gate.set()
    assert is_answer_to(first, crops(1, seed=99))
    assert is_answer_to(others, crops(3))
    assert engine.shared[:3] == [False, True, True]
    assert len(metrics.recent_single_image_seconds()) == engine.shared.count(False)


def test_several_images_have_a_stream_each(streaming: tuple[Bench, StandIn], metrics: Metrics) -> None:
    bench, engine = streaming
    engine.gate.clear()
    futures = [bench.submit(crops(5), soon()), bench.submit(crops(1, 1), soon())]
    wait_until(lambda: len(engine.batches) == 2)
    assert engine.shared == [True, True]
    assert bench.workers.waiting_images == 4
    engine.gate.set()
    assert is_answer_to(futures[0], crops(5))
    assert is_answer_to(futures[1], crops(1, 1))


def test_closing_waits_for_every_stream(streaming: tuple[Bench, StandIn]) -> None:
    bench, engine = streaming
    engine.gate.clear()
    future = bench.submit(crops(4), soon())
    wait_until(lambda: len(engine.batches) == 2)
    closing = threading.Thread(target=bench.workers.close, args=(20,))
    closing.start()
    wait_until(lambda: is_closed(bench))
    assert closing.is_alive()
    engine.gate.set()
    closing.join(20)
    assert is_answer_to(future, crops(4))
    assert not any(thread.is_alive() for thread in (closing, *bench.workers._threads))


def test_a_dying_stream_ends_them_all(streaming: tuple[Bench, StandIn]) -> None:
    bench, engine = streaming
    engine.gate.clear()
    engine.fails_on = lambda images: SystemExit("killed") if (images == 0).all() else None
    futures = [bench.submit(images, soon()) for images in (np.zeros((2, 224, 224, 3), np.uint8), crops(3))]
    engine.gate.set()
    for future in futures:
        with pytest.raises(NotReady):
            future.result(20)
    assert is_closed(bench)
    wait_until(lambda: not any(thread.is_alive() for thread in bench.workers._threads))


def test_runs_under_way_are_no_failures(metrics: Metrics) -> None:
    engine = StandIn((1,), streams=12)
    bench = Bench(engine, metrics)
    engine.gate.clear()
    future = bench.submit(crops(12), soon())
    wait_until(lambda: len(engine.batches) == 12)
    assert bench.workers.is_alive
    engine.gate.set()
    assert is_answer_to(future, crops(12))
    bench.workers.close(20)


def test_few_images_take_turns_with_the_whole_engine(metrics: Metrics) -> None:
    engine = StandIn((1,), streams=4)
    bench = Bench(engine, metrics)
    assert is_answer_to(bench.submit(crops(2), soon()), crops(2))
    assert engine.shared == [False, False]
    engine.gate.clear()
    future = bench.submit(crops(3), soon())
    wait_until(lambda: len(engine.batches) == 5)
    assert engine.shared[2:] == [True, True, True]
    engine.gate.set()
    assert is_answer_to(future, crops(3))
    bench.workers.close(20)


@pytest.mark.parametrize(("waiting", "batches"), [(3, [3]), (7, [4, 3]), (9, [4, 4, 1])])
def test_a_batch_is_whatever_waits_up_to_the_largest(waiting: int, batches: list[int], metrics: Metrics) -> None:
    engine = StandIn((1, 2, 4))
    bench = Bench(engine, metrics)
    hold(bench, engine)
    future = bench.submit(crops(waiting), soon())
    engine.gate.set()
    assert is_answer_to(future, crops(waiting))
    assert engine.batches[1:] == batches
    bench.workers.close(20)


def test_a_lonely_request_does_not_wait_for_company(bench: Bench, engine: StandIn) -> None:
    assert is_answer_to(bench.submit(crops(1), soon()), crops(1))
    assert engine.batches == [1]
    assert bench.lane.throughput.images_per_second > 0


def test_answered_crops_are_freed_without_the_garbage_collector(bench: Bench) -> None:
    images = np.array(crops(1))
    freed = weakref.ref(images)
    gc.disable()
    try:
        bench.submit(images, soon()).result(20)
        del images
        wait_until(lambda: freed() is None)
    finally:
        gc.enable()


def test_a_cancelled_request_is_dropped_and_counted(bench: Bench, engine: StandIn, metrics: Metrics) -> None:
    hold(bench, engine)
    gone, stays = bench.submit(crops(3, 1), soon()), bench.submit(crops(2, 2), soon())
    assert bench.workers.waiting_images == 5
    gone.cancel()
    engine.gate.set()
    assert is_answer_to(stays, crops(2, 2))
    assert engine.batches == [1, 2]
    assert metrics.registry.get_sample_value("pose_dropped_images_total", {"reason": "cancelled"}) == 3


def test_an_expired_request_is_refused_unseen(bench: Bench, engine: StandIn, metrics: Metrics) -> None:
    hold(bench, engine)
    late = bench.submit(crops(2), time.monotonic() - 1)
    engine.gate.set()
    with pytest.raises(DeadlineMissed):
        late.result(20)
    assert metrics.registry.get_sample_value("pose_dropped_images_total", {"reason": "expired"}) == 2


def test_a_request_cancelled_between_its_batches_gives_the_rest_up(bench: Bench, engine: StandIn) -> None:
    engine.gate.clear()
    future = bench.submit(crops(9), soon())
    wait_until(lambda: engine.batches == [4])
    future.cancel()
    engine.gate.set()
    assert is_answer_to(bench.submit(crops(1, 5), soon()), crops(1, 5))
    assert engine.batches == [4, 1]


def test_a_bad_image_fails_its_own_request_only(bench: Bench, engine: StandIn) -> None:
    engine.fails_on = lambda images: RuntimeError("bad") if (images == 0).all((1, 2, 3)).any() else None
    hold(bench, engine)
    bad = bench.submit(np.zeros((1, 224, 224, 3), np.uint8), soon())
    good = bench.submit(crops(2, 3), soon())
    engine.gate.set()
    with pytest.raises(InferenceFailed):
        bad.result(20)
    assert is_answer_to(good, crops(2, 3))
    assert bench.workers.is_alive


def test_a_failing_image_runs_once(bench: Bench, engine: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    engine.fails_on = lambda _: RuntimeError("bad")
    with pytest.raises(InferenceFailed):
        bench.submit(crops(1), soon()).result(20)
    engine.fails_on = lambda _: None
    assert is_answer_to(bench.submit(crops(1), soon()), crops(1))
    assert engine.batches == [1, 1]
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_memory_that_the_network_lacks_is_not_its_failure(bench: Bench, engine: StandIn) -> None:
    engine.fails_on = lambda _: MemoryError()
    with pytest.raises(OutOfMemory):
        bench.submit(crops(1), soon()).result(20)


def test_an_engine_that_answers_too_little_is_an_error(bench: Bench, engine: StandIn) -> None:
    engine.run = lambda images, wanted, shared: rows(compute(images, wanted), slice(0))  # type: ignore[method-assign]
    with pytest.raises(InferenceFailed):
        bench.submit(crops(2), soon()).result(20)


def test_a_dying_thread_answers_all_who_wait(bench: Bench, engine: StandIn) -> None:
    engine.fails_on = lambda _: SystemExit("killed")
    inside = hold(bench, engine)
    waiting = [bench.submit(crops(3, seed), soon()) for seed in range(4)]
    engine.gate.set()
    for future in (inside, *waiting):
        with pytest.raises(NotReady):
            future.result(20)
    wait_until(lambda: not bench.workers.is_alive)
    with pytest.raises(NotReady):
        bench.submit(crops(1), soon())


def test_an_engine_that_only_fails_is_noticed_and_one_good_run_clears_it(bench: Bench, engine: StandIn) -> None:
    engine.fails_on = lambda _: RuntimeError("bad")
    for _ in range(10):
        assert bench.workers.is_alive
        with pytest.raises(InferenceFailed):
            bench.submit(crops(1), soon()).result(20)
    assert not bench.workers.is_alive
    engine.fails_on = lambda _: None
    assert is_answer_to(bench.submit(crops(1), soon()), crops(1))
    assert bench.workers.is_alive


def test_the_rest_of_a_failed_request_is_dropped_and_counted(bench: Bench, engine: StandIn, metrics: Metrics) -> None:
    engine.fails_on = lambda images: RuntimeError("bad") if (images == 0).all((1, 2, 3)).any() else None
    future = bench.submit(np.concatenate([np.zeros((1, 224, 224, 3), np.uint8), crops(6)]), soon())
    with pytest.raises(InferenceFailed):
        future.result(20)
    assert is_answer_to(bench.submit(crops(1), soon()), crops(1))
    assert metrics.registry.get_sample_value("pose_dropped_images_total", {"reason": "failed"}) == 3


def test_a_batch_that_never_ends_is_noticed(engine: StandIn, metrics: Metrics) -> None:
    bench = Bench(engine, metrics, stall_seconds=0.01)
    future = hold(bench, engine)
    wait_until(lambda: not bench.workers.is_alive)
    engine.gate.set()
    assert is_answer_to(future, crops(1, seed=99))
    wait_until(lambda: bench.workers.is_alive)
    bench.workers.close(20)


def test_closing_answers_what_was_accepted(engine: StandIn, metrics: Metrics) -> None:
    bench = Bench(engine, metrics)
    futures = [hold(bench, engine), *(bench.submit(crops(3, seed), soon()) for seed in range(5))]
    closing = threading.Thread(target=bench.workers.close, args=(20,))
    closing.start()
    engine.gate.set()
    closing.join(20)
    assert all(future.result(0) for future in futures)
    with pytest.raises(NotReady):
        bench.submit(crops(1), soon())
