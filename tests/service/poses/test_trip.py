"""A trip's way through its stations: when it must be where, what it waits for, and what becomes of it when it ends."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.spec.crop import Box, Crop, CropRule
from service.errors import NotReady
from service.forecast import Throughput
from service.inference.engine import Networks
from service.inference.schedule import Served
from service.inference.workers import Workers
from service.metrics import Metrics
from service.photos.crops import PhotoSource
from service.photos.decoders import RECUT, Decoders
from service.poses.estimator import Estimator
from service.poses.options import Options
from service.settings import Settings
from tests.service.poses.test_estimator import BOXES, boxed, cut, run
from tests.support.contracts import make_spec
from tests.support.standin import StandIn, compute, wait_until

Patch = pytest.MonkeyPatch


def shifted(monkeypatch: Patch, pixels: int) -> None:
    """Let closer passes look beside the first."""
    monkeypatch.setattr("service.poses.trip.refined_crop", lambda crop, *_: Crop(crop.x + pixels, crop.y, crop.side))


def unchanged(monkeypatch: Patch) -> None:
    """Let closer passes keep their crops."""
    shifted(monkeypatch, 0)


@pytest.mark.parametrize(
    ("options", "pixels", "expected"),
    [
        (boxed(BOXES[0]), 1, [True]),
        (boxed(BOXES[0], refine=True), 0, [False]),  # no further pass was needed
        (boxed(BOXES[0], refine=True), 1, [False, True]),
        (Options(refine=True), 1, [False, True]),
    ],
)
def test_only_the_last_possible_pass_keeps_no_photo(
    options: Options,
    pixels: int,
    expected: list[bool],
    settings: Settings,
    engine: StandIn,
    metrics: Metrics,
    astronaut: bytes,
    monkeypatch: Patch,
) -> None:
    seen: list[bool] = []

    def recorded(source: PhotoSource, crops: list[Crop], is_last: bool = True) -> Any:
        seen.append(is_last)
        return original(source, crops, is_last)

    original = PhotoSource.cut
    shifted(monkeypatch, pixels)
    monkeypatch.setattr(PhotoSource, "cut", recorded)
    run(settings, engine, metrics, lambda e: e.estimate(astronaut, options))
    assert seen == expected


@pytest.mark.parametrize(("options", "passes"), [(boxed(BOXES[0]), 1), (boxed(BOXES[0], refine=True), 2)])
def test_decoding_and_computing_leave_time_for_the_passes_that_follow(
    options: Options,
    passes: int,
    settings: Settings,
    engine: StandIn,
    metrics: Metrics,
    astronaut: bytes,
    monkeypatch: Patch,
) -> None:
    deadline, seen = time.monotonic() + 1000, []

    def noting(method: Callable[..., Any], place: int) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            seen.append(deadline - arguments[place])
            return method(*arguments)

        return noted

    unchanged(monkeypatch)
    monkeypatch.setattr(Throughput, "latest", lambda _, deadline, runs: deadline - runs)
    monkeypatch.setattr(Decoders, "submit", noting(Decoders.submit, 3))
    monkeypatch.setattr(Workers, "submit", noting(Workers.submit, 4))
    run(settings, engine, metrics, lambda e: e.estimate(astronaut, options, deadline))
    assert seen == [passes, passes - 1]


def test_the_times_of_all_passes_are_added_up(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: Patch
) -> None:
    def serve(_: Workers, _lane: Any, images: Any, wanted: Any, _deadline: float, answer: Any) -> None:
        answer.set_result(Served(compute(images, wanted), 3.0, 5.0))

    monkeypatch.setattr("service.poses.trip.refined_crop", lambda crop, *_: Crop(crop.x + 1, crop.y, crop.side))
    monkeypatch.setattr(Workers, "submit", serve)
    timing = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(refine=True))).timing
    assert (timing["queue"], timing["inference"]) == (6.0, 10.0)


def test_who_leaves_while_the_photo_is_decoded_is_not_computed(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: Patch
) -> None:
    is_inside, gate = threading.Event(), threading.Event()

    def held(*arguments: Any, **options: Any) -> Any:
        is_inside.set()
        assert gate.wait(20)
        return original(*arguments, **options)

    async def work(estimator: Estimator) -> Any:
        task = asyncio.create_task(estimator.estimate(astronaut, Options()))
        await asyncio.to_thread(is_inside.wait, 20)
        task.cancel()
        await asyncio.wait({task})
        gate.set()
        await asyncio.to_thread(wait_until, lambda: not estimator.decoders._queue.running)

    original = PhotoSource.cut
    monkeypatch.setattr(PhotoSource, "cut", held)
    run(settings, engine, metrics, work)
    assert engine.batches == []


def occupy(decoders: Decoders, gate: threading.Event) -> None:
    decoders.submit(lambda: gate.wait(20), RECUT, time.monotonic() + 1000)
    wait_until(lambda: not decoders.waiting_photos)


def test_a_photo_that_waits_when_the_service_ends_is_not_decoded(
    engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: Patch
) -> None:
    gate = threading.Event()

    async def work(estimator: Estimator) -> Any:
        occupy(estimator.decoders, gate)
        task = asyncio.create_task(estimator.estimate(astronaut, Options()))
        await asyncio.to_thread(wait_until, lambda: estimator.decoders.waiting_photos == 1)
        estimator.workers.close(20)
        gate.set()
        return await task

    monkeypatch.setattr("service.poses.trip.PhotoSource", lambda *_: pytest.fail("it is decoded"))
    with pytest.raises(NotReady, match="stopping"):
        run(Settings(decode_workers=1), engine, metrics, work)


def test_a_further_pass_over_a_decoded_photo_waits_for_no_decoder(
    engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: Patch
) -> None:
    gate = threading.Event()

    async def work(estimator: Estimator) -> Any:
        def occupy_and_go_closer(crop: Crop, *_: Any) -> Crop:
            occupy(estimator.decoders, gate)
            return Crop(crop.x + 1, crop.y, crop.side)

        monkeypatch.setattr("service.poses.trip.refined_crop", occupy_and_go_closer)
        try:
            async with asyncio.timeout(10):
                return await estimator.estimate(astronaut, boxed(BOXES[0], refine=True))
        finally:
            gate.set()

    run(Settings(decode_workers=1), engine, metrics, work)
    assert engine.batches == [1, 1]


def test_a_boxs_margin_is_the_models(settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes) -> None:
    object.__setattr__(engine.info, "spec", make_spec(crop=CropRule(224, 1.5)))
    (person,) = run(settings, engine, metrics, lambda e: e.estimate(astronaut, boxed(BOXES[0]))).people
    assert person.crop == Crop.around(BOXES[0], 1.5)


def test_each_closer_crop_keeps_its_own_joints(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: Patch
) -> None:
    closer = {Crop.around(box): Crop.around(Box(box.x + 9, box.y, 60, 60)) for box in BOXES}
    monkeypatch.setattr("service.poses.trip.refined_crop", lambda crop, *_: closer.get(crop, crop))
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, boxed(*BOXES, refine=True)))
    assert [person.crop for person in found.people] == list(closer.values())
    expected = compute(cut(astronaut, *closer.values(), is_last=False))
    for person, coordinates in zip(found.people, expected["coordinates"], strict=True):
        np.testing.assert_allclose(person.joints, person.crop.to_photo(coordinates))


def test_closing_ends_every_thread_and_settings_say_how_many_decode(engine: StandIn, metrics: Metrics) -> None:
    estimator = Estimator(Settings(decode_workers=3, deadline_seconds=300), Networks(engine), metrics)
    threads = [*estimator.decoders._threads, *estimator._cutters._threads, *estimator.workers._threads]
    assert len(estimator.decoders._threads) == 3
    assert estimator.workers._stall_seconds == 300
    estimator.start()
    assert all(thread.is_alive() for thread in threads)
    estimator.close(20)
    wait_until(lambda: not any(thread.is_alive() for thread in threads))
