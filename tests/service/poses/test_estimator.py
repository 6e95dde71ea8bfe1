import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from models.spec.crop import Box, Crop, CropRule
from models.spec.skeleton import MPII
from service.errors import BadOption, DeadlineMissed, NotAnImage, NotReady, Overloaded
from service.inference.engine import Networks
from service.metrics import Metrics
from service.photos.crops import KeptPhotos, PhotoSource
from service.poses.admission import BoundedEstimator
from service.poses.estimator import Estimator
from service.poses.flip import average, with_mirrored
from service.poses.options import Options
from service.poses.people import Poses
from service.poses.refine import refined_crop, zoomed_out_crop
from service.poses.trip import Claim
from service.settings import Settings
from tests.support.standin import FinderStandIn, StandIn, compute, wait_until

BOXES = (Box(60, 10, 300, 500), Box(-20, -20, 100, 100), Box(400, 400, 200, 50))
RULE = CropRule()


def boxed(*boxes: Box, **options: bool) -> Options:
    return Options(boxes=boxes, **options)


def cut(photo: bytes, *crops: Crop, is_last: bool = True) -> np.ndarray:
    return PhotoSource(photo, RULE, 10**6, KeptPhotos(1e9)).cut(crops, is_last)[0]


def run(settings: Settings, engine: StandIn, metrics: Metrics, work: Callable[[Estimator], Awaitable[Poses]]) -> Poses:
    estimator = Estimator(settings, Networks(engine), metrics)
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
    assert set(found.timing) == {"decode", "crop", "find", "queue", "inference", "total"}
    assert sum(found.timing.values()) <= 2 * found.timing["total"]


def test_without_boxes_and_finder_the_whole_photo_is_one_person(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options()))
    (person,) = found.people
    assert (person.whole_image, person.box, person.score, person.heatmaps) == (True, Box(0, 0, 512, 512), None, None)
    assert engine.batches == [1]


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
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes
) -> None:
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(refine=True)))
    source = PhotoSource(astronaut, RULE, 10**6, KeptPhotos(1e9))
    whole = Crop.whole(512, 512)
    first = compute(source.cut([whole], is_last=False)[0])
    closer = refined_crop(whole, whole.to_photo(first["coordinates"][0]), first["confidence"][0])
    assert closer != whole
    second = compute(source.cut([closer], is_last=False)[0])
    (person,) = found.people
    assert (person.crop, person.whole_image, person.box) == (closer, True, Box(0, 0, 512, 512))
    np.testing.assert_allclose(person.joints, closer.to_photo(second["coordinates"][0]))
    assert engine.batches == [1, 1]


def test_refine_computes_only_those_whose_crop_changed(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = Crop.around(BOXES[1])
    closer = Crop(0, 0, 50)
    monkeypatch.setattr("service.poses.trip.refined_crop", lambda crop, *_: closer if crop == middle else crop)
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, boxed(*BOXES, refine=True)))
    assert engine.batches == [3, 1]
    assert [person.crop for person in found.people] == [Crop.around(BOXES[0]), closer, Crop.around(BOXES[2])]
    for person in found.people:
        expected = compute(cut(astronaut, person.crop, is_last=False))
        np.testing.assert_allclose(person.joints, person.crop.to_photo(expected["coordinates"][0]))


def test_refine_takes_no_crop_beside_the_photo(
    settings: Settings, engine: StandIn, metrics: Metrics, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.poses.trip.refined_crop", lambda *_: Crop(512, 0, 100))
    found = run(settings, engine, metrics, lambda e: e.estimate(astronaut, Options(refine=True)))
    assert found.people[0].crop == Crop.whole(512, 512)
    assert engine.batches == [1]


def find(
    engine: StandIn, finder: FinderStandIn, photo: bytes, options: Options, claim: Claim = lambda _: None
) -> Poses:
    estimator = Estimator(Settings(max_people=3), Networks(engine, finder), Metrics())
    estimator.start()
    try:
        return asyncio.run(estimator.estimate(photo, options, claim=claim))
    finally:
        estimator.close(20)


SMALL, LARGE, DOUBTFUL = (0.7, 0.1, 0.1, 0.3, 0.9), (0.1, 0.1, 0.4, 0.8, 0.8), (0.6, 0.6, 0.3, 0.3, 0.2)


def test_without_boxes_everyone_is_found_the_largest_first(engine: StandIn, astronaut: bytes) -> None:
    claims: list[int] = []
    found = find(engine, FinderStandIn(SMALL, LARGE, DOUBTFUL), astronaut, Options(flip=True), claims.append)
    assert [person.score for person in found.people] == pytest.approx([0.8, 0.9])
    assert [person.whole_image for person in found.people] == [False, False]
    assert (found.found, claims) == (2, [2])
    assert found.people[0].box.x == pytest.approx(0.1 * 512)
    assert found.people[0].crop == Crop.around(found.people[0].box)
    pixels = cut(astronaut, found.people[0].crop, is_last=False)
    expected = average(compute(with_mirrored(pixels)), MPII)
    np.testing.assert_allclose(found.people[0].joints, found.people[0].crop.to_photo(expected["coordinates"][0]))
    assert found.timing["find"] > 0


def test_one_is_the_main_person_and_none_the_whole_photo(engine: StandIn, astronaut: bytes) -> None:
    finder = FinderStandIn(SMALL, LARGE)
    (person,) = find(engine, finder, astronaut, Options(find="one")).people
    assert person.score == pytest.approx(0.8)
    assert finder.batches == [1]
    (person,) = find(engine, finder, astronaut, Options(find="none")).people
    assert (person.whole_image, person.score, finder.batches) == (True, None, [1])


def test_one_is_the_surest_whom_the_poses_leave_where_nobody_is_certain_before(
    engine: StandIn, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    vetoed, surest, other = (0.1, 0.1, 0.4, 0.8, 0.29), (0.6, 0.1, 0.3, 0.3, 0.28), (0.55, 0.5, 0.4, 0.4, 0.25)
    monkeypatch.setattr(
        "service.poses.finder.person_score",
        lambda _, __, score, ___: {0.29: 0.1, 0.28: 0.6, 0.25: 0.4}[round(score, 2)],
    )
    stand_in = FinderStandIn(vetoed, surest, other)
    stand_in.info.spec.calibration["pose"] = 4.0
    claims: list[int] = []
    found = find(engine, stand_in, astronaut, Options(find="one"), claims.append)
    (person,) = found.people
    assert (person.score, person.box.x) == (0.6, pytest.approx(0.6 * 512))
    assert (found.found, claims) == (2, [2])


def test_with_boxes_nobody_is_looked_for(engine: StandIn, astronaut: bytes) -> None:
    finder = FinderStandIn(SMALL)
    assert len(find(engine, finder, astronaut, boxed(*BOXES)).people) == 3
    assert finder.batches == []


def test_nobody_is_no_error_and_costs_no_pass(engine: StandIn, astronaut: bytes) -> None:
    claims: list[int] = []
    found = find(engine, FinderStandIn(), astronaut, Options(), claims.append)
    assert (found.people, found.found, engine.batches, claims) == ((), 0, [], [-1])


def test_of_too_many_people_the_largest_are_kept_and_all_are_counted(engine: StandIn, astronaut: bytes) -> None:
    row = [(0.19 * index, 0.1, 0.1 + index / 100, 0.2 + index / 100, 0.9) for index in range(5)]
    found = find(engine, FinderStandIn(*row), astronaut, Options())
    assert found.found == 5
    assert [person.box.x for person in found.people] == pytest.approx([512 * 0.19 * index for index in (4, 3, 2)])


def test_people_beyond_what_fits_are_refused_before_they_are_computed(engine: StandIn, astronaut: bytes) -> None:
    def refuse(images: int) -> None:
        raise Overloaded(f"{images} more", 1)

    with pytest.raises(Overloaded, match="1 more"):
        find(engine, FinderStandIn(SMALL, LARGE), astronaut, Options(), refuse)
    assert engine.batches == []


def test_whom_the_lower_edge_cuts_off_is_seen_zoomed_out_and_the_answer_is_taken_where_it_is_right(
    engine: StandIn, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims: list[int] = []
    cut_off = (0.1, 0.5, 0.3, 0.5, 0.9)
    sides: list[float] = []
    for is_right in (True, False):
        monkeypatch.setattr(
            "service.poses.trip.is_close_up", lambda _, side, *__, right=is_right: bool(sides.append(side)) or right
        )
        found = find(engine, FinderStandIn(cut_off, SMALL), astronaut, Options(), claims.append)
        (person,) = [person for person in found.people if person.box.y > 100]
        source = PhotoSource(astronaut, RULE, 10**6, KeptPhotos(1e9))
        first = Crop.around(person.box)
        joints = first.to_photo(compute(source.cut([first], is_last=False)[0])["coordinates"][0])
        assert person.crop == (zoomed_out_crop(person.box, joints) if is_right else first)
    assert claims == [2, 2]
    assert sides == pytest.approx([0.3 * 512] * 2)
