"""The workers' threads: several engines share them, they end when the service does, and what fails is said."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from models.spec.contract import JOINT_OUTPUTS
from service.errors import InferenceFailed, NotReady
from service.forecast import Throughput
from service.inference import workers as workers_module
from service.inference.schedule import Lane
from service.inference.workers import Workers
from service.metrics import Metrics
from tests.support.bench import Bench, crops, hold, is_answer_to, is_closed, soon
from tests.support.standin import StandIn, compute, wait_until


@pytest.fixture
def engine() -> Iterator[StandIn]:
    """An engine of four streams."""
    engine = StandIn((1,), streams=4)
    yield engine
    engine.gate.set()


def have_ended(bench: Bench) -> bool:
    return not any(thread.is_alive() for thread in bench.workers._threads)


def closing(bench: Bench, seconds: float) -> threading.Thread:
    thread = threading.Thread(target=bench.workers.close, args=(seconds,))
    thread.start()
    wait_until(lambda: is_closed(bench))
    return thread


def test_engines_share_the_threads_and_each_answers_its_own(metrics: Metrics) -> None:
    engines = [StandIn((1,), streams=1), StandIn((1,), streams=2)]
    lanes = [Lane(engine, Throughput(time.monotonic), metrics.observe_batch) for engine in engines]
    workers = Workers(lanes, metrics, 20)
    workers.start()
    assert len(workers._threads) == 2
    for lane, engine in zip(lanes, engines, strict=True):
        future = workers.submit(lane, crops(1), frozenset(JOINT_OUTPUTS), soon())
        assert is_answer_to(future, crops(1))
        assert engine.batches == [1]
    workers.close(20)


def test_before_they_start_nothing_is_taken(engine: StandIn, metrics: Metrics) -> None:
    lane = Lane(engine, Throughput(time.monotonic), metrics.observe_batch)
    with pytest.raises(NotReady):
        Workers([lane], metrics, 20).submit(lane, crops(1), frozenset(JOINT_OUTPUTS), soon())


def test_threads_that_wait_for_one_image_end_when_it_is_the_last(bench: Bench, engine: StandIn) -> None:
    futures = [hold(bench, engine), bench.submit(crops(1), soon())]
    close = closing(bench, 20)
    wait_until(lambda: len(bench.workers._changed._waiters) == 3)  # type: ignore[attr-defined]  # all others wait again
    engine.gate.set()
    close.join(10)
    assert have_ended(bench)
    assert all(future.result(0) for future in futures)


def test_what_waits_is_computed_side_by_side_while_they_end(bench: Bench, engine: StandIn) -> None:
    together = threading.Barrier(2)
    hold(bench, engine)
    waiting = bench.submit(crops(4), soon())
    engine.fails_on = lambda _: None if len(engine.batches) == 1 else together.wait(5) and None
    close = closing(bench, 20)
    engine.gate.set()
    close.join(20)
    assert is_answer_to(waiting, crops(4))


def test_idle_threads_end_with_one_that_dies(bench: Bench, engine: StandIn) -> None:
    engine.fails_on = lambda _: SystemExit("killed")
    with pytest.raises(NotReady):
        bench.submit(crops(1), soon()).result(20)
    wait_until(lambda: have_ended(bench))


def test_what_is_left_when_the_patience_ends_is_refused_and_the_batch_under_way_waited_for(
    bench: Bench, engine: StandIn
) -> None:
    hold(bench, engine)
    waiting = bench.submit(crops(1), soon())
    close = closing(bench, 0.0)
    with pytest.raises(NotReady, match="the service is stopping"):
        waiting.result(20)
    close.join(0.1)
    assert close.is_alive()
    engine.gate.set()
    close.join(20)
    assert have_ended(bench)


def test_patience_with_a_hanging_engine_ends(bench: Bench, engine: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "_LAST_BATCH_SECONDS", 0.0)
    inside = hold(bench, engine)
    bench.workers.close(0.0)
    with pytest.raises(NotReady):
        inside.result(0)


def test_each_thread_may_fail_ten_times(bench: Bench, engine: StandIn) -> None:
    engine.fails_on = lambda _: RuntimeError("bad")
    for _ in range(40):
        assert bench.workers.is_alive
        with pytest.raises(InferenceFailed):
            bench.submit(crops(1), soon()).result(20)
    assert not bench.workers.is_alive


def test_a_failure_tells_its_cause_and_counts_for_no_image(bench: Bench, engine: StandIn) -> None:
    error = RuntimeError("bad")
    engine.fails_on = lambda _: error
    with pytest.raises(InferenceFailed) as refusal:
        bench.submit(crops(1), soon()).result(20)
    assert refusal.value.__cause__ is error
    assert bench.lane.throughput.images_per_second == 0


def test_what_is_no_number_is_a_failure(bench: Bench, engine: StandIn) -> None:
    engine.run = lambda images, wanted, shared: {  # type: ignore[method-assign]
        name: np.full_like(values, np.nan) for name, values in compute(images, wanted).items()
    }
    with pytest.raises(InferenceFailed):
        bench.submit(crops(1), soon()).result(20)
