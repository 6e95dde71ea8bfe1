"""What the service holds between its start and its stop, what it tells of it, and how long it is patient."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from service.api import lifecycle as lifecycle_module
from service.api.lifecycle import Lifecycle
from service.errors import Overloaded
from service.inference.engine import Networks
from service.photos.decoders import RECUT
from service.settings import Settings
from tests.support.client import Client
from tests.support.standin import StandIn, wait_until


def test_bodies_may_hold_a_fifth_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle_module, "memory_limit_bytes", lambda: 1000.0)
    uploads = Lifecycle(Settings()).uploads
    with uploads.hold() as take, uploads.hold() as take_too:
        take(150)
        take_too(50)
        with pytest.raises(Overloaded):
            take_too(1)


def test_before_its_start_it_lives_and_is_not_ready() -> None:
    lifecycle = Lifecycle(Settings())
    assert lifecycle.is_alive
    assert not lifecycle.is_ready


def test_a_failed_start_is_remembered(engine: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    error, lifecycle = RuntimeError("no card"), Lifecycle(Settings())
    monkeypatch.setattr(engine, "warm_up", fail)
    with pytest.raises(RuntimeError, match="no card"):
        asyncio.run(lifecycle.start(Networks(engine)))
    assert lifecycle.start_error is error


def engine_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith(("engine-", "decode-"))}


def test_the_rehearsal_leaves_no_threads_and_no_trace(engine: StandIn) -> None:
    async def main() -> None:
        before = engine_threads()
        lifecycle = Lifecycle(Settings(decode_workers=1))
        await lifecycle.start(Networks(engine))
        wait_until(lambda: len(engine_threads() - before) == 3)  # the engine's, a decoder and a cutter
        value = lifecycle.metrics.registry.get_sample_value
        assert value("pose_batch_size_count") == value("pose_single_image_inference_seconds_count") == 0
        assert lifecycle._lag_task is not None
        await lifecycle.stop()
        await asyncio.sleep(0)
        assert lifecycle._lag_task.cancelled()
        wait_until(lambda: engine_threads() <= before)

    asyncio.run(main())


def test_the_loops_lag_is_observed(engine: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        lifecycle = Lifecycle(Settings())
        await lifecycle.start(Networks(engine))
        value = lifecycle.metrics.registry.get_sample_value
        async with asyncio.timeout(20):
            while not value("pose_event_loop_lag_seconds_count"):
                await asyncio.sleep(0)
        await lifecycle.stop()

    monkeypatch.setattr(lifecycle_module, "_LAG_PERIOD_SECONDS", 0.001)
    asyncio.run(main())


@pytest.fixture
def held(client: Client, engine: StandIn, astronaut: bytes) -> Iterator[Client]:
    """A service whose engine is held by a photo while a second one waits."""
    engine.batches.clear()
    engine.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(client.post, "/pose?refine=false", content=astronaut) for _ in range(2)]
        workers = client.app.state.lifecycle.estimator.estimator.workers
        wait_until(lambda: workers.waiting_images == 1 and engine.batches == [1])
        yield client
        engine.gate.set()
        assert [answer.result().status_code for answer in answers] == [200, 200]


def test_gauges_tell_what_waits_what_is_under_way_and_what_may_be(held: Client) -> None:
    assert held.metric("pose_admitted_images") == 2
    assert held.metric("pose_queue_images") == 1
    assert held.metric("pose_decode_queue_photos") == 0
    admission = held.app.state.lifecycle.estimator.admission
    assert held.metric("pose_queue_limit_images") == pytest.approx(admission.limit_images)


def test_a_gauge_tells_how_many_photos_wait_for_a_decoder(client: Client) -> None:
    decoders, gate = client.app.state.lifecycle.estimator.estimator.decoders, threading.Event()
    with ExitStack() as stack:
        stack.callback(gate.set)
        for _ in decoders._threads:
            decoders.submit(lambda: gate.wait(20), RECUT, time.monotonic() + 1000)
        wait_until(lambda: not decoders.waiting_photos)
        decoders.submit(lambda: None, RECUT, time.monotonic() + 1000)
        assert client.metric("pose_decode_queue_photos") == 1
        assert client.metric("pose_queue_images") == 0


def test_a_second_signal_does_not_prolong_the_drain_and_the_delay_counts() -> None:
    lifecycle = Lifecycle(Settings(drain_seconds=10))
    assert (lifecycle.is_draining, lifecycle.drain_seconds_left) == (False, 0)
    lifecycle.drain(1000)
    assert 1000 < lifecycle.drain_seconds_left <= 1010
    lifecycle.drain(5000)
    assert lifecycle.drain_seconds_left <= 1010
    lifecycle.drain_until = time.monotonic() - 1
    assert (lifecycle.is_draining, lifecycle.drain_seconds_left) == (True, 0)


def recorded_close(lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The patience of each call that closes the estimator."""
    assert lifecycle.estimator is not None
    estimator, patience = lifecycle.estimator.estimator, list[float]()
    close: Callable[[float], None] = estimator.close

    def closed(seconds: float) -> None:
        patience.append(seconds)
        close(seconds)

    monkeypatch.setattr(estimator, "close", closed)
    return patience


def test_what_is_left_is_refused_when_the_drain_is_over_and_not_before(
    engine: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        lifecycle = Lifecycle(Settings())
        await lifecycle.start(Networks(engine))
        patience = recorded_close(lifecycle, monkeypatch)
        lifecycle.drain(1000)
        refusal = asyncio.create_task(lifecycle.refuse_the_rest())
        done, _ = await asyncio.wait({refusal}, timeout=0.05)
        assert not done and not patience
        refusal.cancel()
        lifecycle.drain_until = time.monotonic()
        await lifecycle.refuse_the_rest()
        assert patience == [0.0]

    asyncio.run(main())
