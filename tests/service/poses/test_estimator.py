import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec.crop import Box, Crop
from models.spec.skeleton import JOINTS
from service.errors import DeadlineMissed, NotAnImage, NotReady
from service.metrics import Metrics
from service.photos.crops import KeptPhotos, prepare, recut
from service.poses.estimator import Estimate, Estimator, principal_axes
from service.poses.flip import average, with_mirrored
from service.poses.options import Options
from service.poses.refine import LOOKS, distant_crop, refined_crop
from service.settings import Settings
from tests.support.standin import StandIn, estimate, wait_until

BOXES = (Box(60, 10, 300, 500), Box(-20, -20, 100, 100), Box(400, 400, 200, 50))


def run(
    settings: Settings, engine: StandIn, metrics: Metrics, work: Callable[[Estimator], Awaitable[Estimate]]
) -> Estimate:
    estimator = Estimator(settings, engine, metrics)
    estimator.start()

    async def main() -> Estimate:
        return await work(estimator)

    try:
        return asyncio.run(main())
    finally:
        engine.gate.set()
        estimator.close(20)
        assert estimator.admission.admitted_images == 0


def test_people_come_in_the_order_of_their_boxes(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(BOXES, heatmaps=True)))
    prepared = prepare(astronaut, BOXES, settings.max_pixels)
    wanted = estimate(prepared.pixels)
    assert (found.width, found.height) == (512, 512)
    for index, (person, (box, crop)) in enumerate(zip(found.people, prepared.people, strict=True)):
        assert (person.box, person.crop, person.whole_image) == (box, crop, False)
        np.testing.assert_allclose(person.joints, crop.to_photo(wanted.coordinates[index]))
        np.testing.assert_array_equal(person.heatmaps, wanted.heatmaps[index])
        np.testing.assert_allclose(person.std[0], [np.sqrt(0.03) * crop.side / 2, np.sqrt(0.01) * crop.side / 2, 45])
    assert set(found.timing) == {"decode", "crop", "queue", "inference", "total"}
    assert sum(found.timing.values()) <= 2 * found.timing["total"]


def test_without_boxes_the_whole_photo_is_one_person(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options()))
    assert [(person.whole_image, person.heatmaps) for person in found.people] == [(True, None)]


def test_what_is_recorded_is_the_estimate(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    async def work(estimator: Estimator) -> Estimate:
        found = await estimator.estimate(astronaut, Options(BOXES))
        estimator.record(len(astronaut), found)
        return found

    found = run(settings, engine, metrics, work)
    value = metrics.registry.get_sample_value
    assert value("pose_people_total") == 3
    assert value("pose_joint_confidence_count") == value("pose_joint_std_pixels_count") == 48
    assert (value("pose_image_bytes_sum"), value("pose_image_pixels_sum")) == (len(astronaut), 512 * 512)
    for stage in ("decode", "crop", "queue", "inference"):
        assert value("pose_stage_seconds_sum", {"stage": stage}) == found.timing[stage]


def test_a_missed_deadline_is_told_and_gives_its_permits_back(
    engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    engine.gate.clear()
    with pytest.raises(DeadlineMissed, match=r"within the deadline of 0\.05 s"):
        run(Settings(deadline_seconds=0.05), engine, metrics, lambda e: e.estimate(astronaut, Options()))


def test_a_refused_photo_gives_its_permits_back(settings: Settings, engine: StandIn, metrics: Metrics) -> None:
    with pytest.raises(NotAnImage):
        run(settings, engine, metrics, lambda e: e.estimate(b"some text", Options()))
    assert engine.batches == []


def test_cancelling_drops_what_still_waits(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    async def work(estimator: Estimator) -> Estimate:
        engine.gate.clear()
        first = asyncio.create_task(estimator.estimate(astronaut, Options()))
        await asyncio.to_thread(wait_until, lambda: engine.batches == [1])
        second = asyncio.create_task(estimator.estimate(astronaut, Options(BOXES)))
        await asyncio.to_thread(wait_until, lambda: estimator.batcher.waiting_images == 3)
        second.cancel()
        await asyncio.wait({second})
        engine.gate.set()
        return await first

    run(settings, engine, metrics, work)
    assert metrics.registry.get_sample_value("pose_dropped_images_total", {"reason": "cancelled"}) == 3


def test_what_comes_after_the_end_is_refused(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    async def work(estimator: Estimator) -> Estimate:
        estimator.close(20)
        return await estimator.estimate(astronaut, Options())

    with pytest.raises(NotReady, match="the service is stopping"):
        run(settings, engine, metrics, work)


@given(st.floats(0, 100), st.floats(0, 1), st.floats(-89, 90))
def test_principal_axes_are_those_that_made_the_covariance(major: float, ratio: float, angle: float) -> None:
    minor = major * ratio
    turn = np.radians(angle)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = axes @ np.diag([major**2, minor**2]) @ axes.T
    found = principal_axes(np.array([matrix[0, 0], matrix[0, 1], matrix[1, 1]]))
    np.testing.assert_allclose(found[:2], [major, minor], atol=1e-4 * max(major, 1e-3))
    assert found[0] >= found[1] >= 0
    assert -90 < found[2] <= 90
    if major > 1e-3 and ratio < 0.99:
        assert abs((found[2] - angle + 90) % 180 - 90) < 1e-3


@pytest.mark.parametrize(
    ("covariance", "axes"),
    [([4, 0, 1], [2, 1, 0]), ([1, -0.0, 4], [2, 1, 90]), ([1, 0, 4], [2, 1, 90]), ([0, 0, 0], [0, 0, 0])],
)
def test_principal_axes_on_the_axes(covariance: list[float], axes: list[float]) -> None:
    np.testing.assert_allclose(principal_axes(np.array(covariance)), axes)


def test_flip_averages_with_the_mirror_image(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(BOXES, flip=True)))
    pixels = prepare(astronaut, BOXES, settings.max_pixels).pixels
    wanted = average(estimate(with_mirrored(pixels)), JOINTS)
    for index, person in enumerate(found.people):
        np.testing.assert_allclose(person.joints, person.crop.to_photo(wanted.coordinates[index]))
    assert sum(engine.batches) == 2 * len(BOXES)


def test_refine_looks_closer_at_the_square_around_the_joints(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.poses.estimator.is_close_up", lambda *_: False)
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(refine=True)))
    kept = KeptPhotos(1e9)
    prepared = prepare(astronaut, (), settings.max_pixels, kept.keep)
    crops = [prepared.people[0][1]]
    for look in LOOKS:
        told, crop = estimate(prepared.pixels), crops[-1]
        closer = refined_crop(look, crop, crop.to_photo(told.coordinates[0]), told.confidence[0])
        if closer != crop:
            prepared = recut(astronaut, prepared, [closer], settings.max_pixels, kept.keep)
            crops.append(closer)
    assert len(crops) > 1
    (person,) = found.people
    assert (person.crop, person.whole_image, person.box) == (crops[-1], True, Box(0, 0, 512, 512))
    np.testing.assert_allclose(person.joints, crops[-1].to_photo(estimate(prepared.pixels).coordinates[0]))
    assert engine.batches == [1] * (len(crops) + 1)


def test_refine_takes_the_look_from_a_distance_at_a_close_up(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[np.ndarray, ...]] = []
    monkeypatch.setattr("service.poses.estimator.refined_crop", lambda look, crop, *_: crop)
    monkeypatch.setattr("service.poses.estimator.is_close_up", lambda side, *told: asked.append(told) or side == 512)
    (person,) = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(refine=True))).people
    first = prepare(astronaut, (), settings.max_pixels, KeptPhotos(1e9).keep)
    so_far = estimate(first.pixels)
    crop = distant_crop(512, 512, first.crops[0].to_photo(so_far.coordinates[0]))
    told = estimate(recut(astronaut, first, [crop], settings.max_pixels, KeptPhotos(1e9).keep).pixels)
    assert (person.crop, person.whole_image, person.box) == (crop, True, Box(0, 0, 512, 512))
    np.testing.assert_allclose(person.joints, crop.to_photo(told.coordinates[0]))
    for got, wanted in zip(asked[0], (person.joints, told.confidence[0], so_far.confidence[0]), strict=True):
        np.testing.assert_allclose(got, wanted)


def test_with_a_box_there_is_no_look_from_a_distance(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.poses.estimator.refined_crop", lambda look, crop, *_: crop)
    run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(BOXES[:1], refine=True)))
    assert engine.batches == [1]


def test_refine_takes_no_crop_beside_the_photo(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.poses.estimator.is_close_up", lambda *_: False)
    monkeypatch.setattr("service.poses.estimator.refined_crop", lambda *_: Crop(512, 0, 100))
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(refine=True)))
    assert found.people[0].crop == Crop.whole(512, 512)
    assert engine.batches == [1, 1]


def test_refine_looks_no_closer_after_a_first_pass_that_changes_nothing(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.poses.estimator.refined_crop", lambda look, crop, *_: crop)
    run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(refine=True)))
    assert engine.batches == [1, 1]
