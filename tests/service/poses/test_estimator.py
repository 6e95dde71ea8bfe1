import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from models.spec.crop import Box, Crop, CropRule
from models.spec.skeleton import MPII
from service.errors import BadOption, DeadlineMissed, NotAnImage, NotReady
from service.metrics import Metrics
from service.photos.crops import KeptPhotos, PhotoSource
from service.poses.admission import BoundedEstimator
from service.poses.estimator import Estimator
from service.poses.flip import average, with_mirrored
from service.poses.options import Options
from service.poses.people import Poses
from service.poses.refine import REFINEMENTS, refined_crop, zoomed_out_crop
from service.settings import Settings
from tests.support.standin import StandIn, compute, wait_until

BOXES = (Box(60, 10, 300, 500), Box(-20, -20, 100, 100), Box(400, 400, 200, 50))
RULE = CropRule()


def boxed(*boxes: Box, **options: bool) -> Options:
    return Options(boxes=boxes, **options)


def cut(photo: bytes, *crops: Crop, is_last: bool = True) -> np.ndarray:
    return PhotoSource(photo, RULE, 10**6, KeptPhotos(1e9)).cut(crops, is_last)[0]


def run(settings: Settings, engine: StandIn, metrics: Metrics, work: Callable[[Estimator], Awaitable[Poses]]) -> Poses:
    estimator = Estimator(settings, engine, metrics)
    estimator.start()

    async def main() -> Poses:
        return await work(estimator)

    try:
        return asyncio.run(main())
    finally:
        engine.gate.set()
        estimator.close(20)


def test_people_come_in_the_order_of_their_boxes(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, boxed(*BOXES, heatmaps=True)))
    crops = [Crop.around(box) for box in BOXES]
    expected = compute(cut(astronaut, *crops))
    assert (found.width, found.height, found.skeleton) == (512, 512, MPII)
    for index, (person, box, crop) in enumerate(zip(found.people, BOXES, crops, strict=True)):
        assert (person.box, person.crop, person.whole_image) == (box, crop, False)
        np.testing.assert_allclose(person.joints, crop.to_photo(expected["coordinates"][index]))
        np.testing.assert_array_equal(person.heatmaps, expected["heatmaps"][index])
        np.testing.assert_allclose(person.std[0], [np.sqrt(0.03) * crop.side / 2, np.sqrt(0.01) * crop.side / 2, 45])
    assert set(found.timing) == {"decode", "crop", "queue", "inference", "total"}
    assert sum(found.timing.values()) <= 2 * found.timing["total"]


def test_without_boxes_the_whole_photo_is_one_person_and_passes_follow(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options()))
    assert [(person.whole_image, person.heatmaps) for person in found.people] == [(True, None)]
    refined = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(refine=True)))
    np.testing.assert_array_equal(found.people[0].joints, refined.people[0].joints)
    assert engine.batches[: len(engine.batches) // 2] * 2 == engine.batches
    assert len(engine.batches) > 4


def test_a_box_beside_the_photo_is_refused(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    with pytest.raises(BadOption, match=r"box 1, \[600, 0, 10, 10\], lies outside the photo of 512 x 512 pixels"):
        run(settings, engine, metrics, lambda e: e.estimate(astronaut, boxed(BOXES[0], Box(600, 0, 10, 10))))
    assert engine.batches == []


def test_the_pipeline_itself_has_no_deadline(engine: StandIn, metrics: Metrics, astronaut: bytes) -> None:
    impatient = Settings(deadline_seconds=1e-9)
    assert len(run(impatient, engine, metrics, lambda e: e.estimate(astronaut, boxed(*BOXES, flip=True))).people) == 3


@pytest.mark.parametrize("seconds", [0.05])
def test_a_missed_deadline_is_said_and_gives_its_permits_back(
    engine: StandIn, metrics: Metrics, astronaut: bytes, seconds: float
) -> None:
    engine.gate.clear()
    doors: list[BoundedEstimator] = []

    async def work(estimator: Estimator) -> Poses:
        doors.append(BoundedEstimator(estimator, seconds))
        return await doors[0].estimate(astronaut, Options())

    with pytest.raises(DeadlineMissed, match=r"within the deadline of 0\.05 s"):
        run(Settings(), engine, metrics, work)
    assert doors[0].admission.admitted_images == 0


def test_a_refused_photo_gives_its_permits_back(settings: Settings, engine: StandIn, metrics: Metrics) -> None:
    doors: list[BoundedEstimator] = []

    async def work(estimator: Estimator) -> Poses:
        doors.append(BoundedEstimator(estimator, 20))
        return await doors[0].estimate(b"some text", Options())

    with pytest.raises(NotAnImage):
        run(settings, engine, metrics, work)
    assert engine.batches == []
    assert doors[0].admission.admitted_images == 0


def test_what_could_not_be_done_in_time_is_not_begun(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    with pytest.raises(DeadlineMissed, match="before the photo was decoded"):
        run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(), time.monotonic() - 1))
    assert engine.batches == []


def test_cancelling_drops_what_still_waits(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    async def work(estimator: Estimator) -> Poses:
        engine.gate.clear()
        first = asyncio.create_task(estimator.estimate(astronaut, Options()))
        await asyncio.to_thread(wait_until, lambda: engine.batches == [1])
        second = asyncio.create_task(estimator.estimate(astronaut, boxed(*BOXES)))
        await asyncio.to_thread(wait_until, lambda: estimator.workers.waiting_images == 3)
        second.cancel()
        await asyncio.wait({second})
        engine.gate.set()
        return await first

    run(settings, engine, metrics, work)
    assert metrics.registry.get_sample_value("pose_dropped_images_total", {"reason": "cancelled"}) == 3


def test_what_comes_after_the_end_is_refused(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    async def work(estimator: Estimator) -> Poses:
        estimator.close(20)
        return await estimator.estimate(astronaut, Options())

    with pytest.raises(NotReady, match="the service is stopping"):
        run(settings, engine, metrics, work)


def test_flip_averages_with_the_mirror_image(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, boxed(*BOXES, flip=True)))
    pixels = cut(astronaut, *map(Crop.around, BOXES))
    expected = average(compute(with_mirrored(pixels)), MPII)
    for index, person in enumerate(found.people):
        np.testing.assert_allclose(person.joints, person.crop.to_photo(expected["coordinates"][index]))
        assert person.heatmaps is None
    assert sum(engine.batches) == 2 * len(BOXES)


def test_refine_goes_closer_to_the_square_around_the_joints(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.poses.trip.is_close_up", lambda *_: False)
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(refine=True)))
    source = PhotoSource(astronaut, RULE, 10**6, KeptPhotos(1e9))
    crops = [Crop.whole(512, 512)]
    outputs = compute(source.cut(crops, is_last=False)[0])
    for refinement in REFINEMENTS:
        crop = crops[-1]
        joints = crop.to_photo(outputs["coordinates"][0])
        closer = refined_crop(refinement, crop, joints, outputs["confidence"][0])
        if closer != crop:
            outputs = compute(source.cut([closer], is_last=False)[0])
            crops.append(closer)
    assert len(crops) > 1
    (person,) = found.people
    assert (person.crop, person.whole_image, person.box) == (crops[-1], True, Box(0, 0, 512, 512))
    np.testing.assert_allclose(person.joints, crops[-1].to_photo(outputs["coordinates"][0]))
    assert engine.batches == [1] * (len(crops) + 1)


def test_refine_computes_only_those_whose_crop_changed(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = Crop.around(BOXES[1])
    closer = Crop(0, 0, 50)
    monkeypatch.setattr("service.poses.trip.refined_crop", lambda _, crop, *__: closer if crop == middle else crop)
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, boxed(*BOXES, refine=True)))
    assert engine.batches == [3, 1]
    assert [person.crop for person in found.people] == [Crop.around(BOXES[0]), closer, Crop.around(BOXES[2])]
    for person in found.people:
        expected = compute(cut(astronaut, person.crop, is_last=False))
        np.testing.assert_allclose(person.joints, person.crop.to_photo(expected["coordinates"][0]))


def test_refine_takes_the_zoomed_out_pass_of_a_close_up(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[np.ndarray, ...]] = []
    monkeypatch.setattr("service.poses.trip.refined_crop", lambda _, crop, *__: crop)
    monkeypatch.setattr("service.poses.trip.is_close_up", lambda _, side, *seen: calls.append(seen) or side == 512)
    (person,) = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(refine=True))).people
    source = PhotoSource(astronaut, RULE, 10**6, KeptPhotos(1e9))
    whole = Crop.whole(512, 512)
    before = compute(source.cut([whole], is_last=False)[0])
    wide = zoomed_out_crop(512, 512, whole.to_photo(before["coordinates"][0]))
    after = compute(source.cut([wide])[0])
    assert (person.crop, person.whole_image, person.box) == (wide, True, Box(0, 0, 512, 512))
    np.testing.assert_allclose(person.joints, wide.to_photo(after["coordinates"][0]))
    for seen, expected in zip(calls[0], (person.joints, after["confidence"][0], before["confidence"][0]), strict=True):
        np.testing.assert_allclose(seen, expected)


def test_with_a_box_there_is_no_zoomed_out_pass(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.poses.trip.refined_crop", lambda _, crop, *__: crop)
    run(settings, engine, metrics, lambda e: e.estimate(astronaut, boxed(BOXES[0], refine=True)))
    assert engine.batches == [1]


def test_refine_takes_no_crop_beside_the_photo(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.poses.trip.is_close_up", lambda *_: False)
    monkeypatch.setattr("service.poses.trip.refined_crop", lambda *_: Crop(512, 0, 100))
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(refine=True)))
    assert found.people[0].crop == Crop.whole(512, 512)
    assert engine.batches == [1, 1]
