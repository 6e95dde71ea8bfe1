"""The whole way of one photo, from bytes to people, with no HTTP in it."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.spec.crop import Box, Crop
from service.errors import DeadlineMissed
from service.host import memory_limit_bytes, usable_cpus
from service.inference.engine import Engine, EngineInfo, Estimates
from service.inference.workers import Batcher, Served
from service.metrics import Metrics
from service.photos.crops import KeptPhotos, Prepared, prepare, recut
from service.photos.decoders import RECUT, Decoders
from service.photos.decoding import Cost, predict_cost
from service.poses.admission import Admission
from service.poses.flip import average, with_mirrored
from service.poses.options import Options
from service.poses.refine import LOOKS, Look, distant_crop, is_close_up, refined_crop
from service.settings import Settings

STAGES_TOLD: Final = ("decode", "crop", "queue", "inference", "total")
"""What an answer's timing tells, in order."""


_KEPT_SHARE: Final = 0.1  # of the memory that the process may use, for photos that wait for a closer look
_STALL_SECONDS: Final = 60.0  # a batch that runs for longer hangs, however short the clients' deadline


@dataclass(frozen=True, slots=True)
class Person:
    """One person's joints, in photo pixels.

    Attributes:
        box: The box that was asked for, or the whole photo.
        whole_image: Whether there was no box.
        crop: The square that the network saw.
        joints: float64 [J, 2], x then y.
        confidence: float32 [J], 0 to 1.
        std: float64 [J, 3]: major and minor axis of the heatmap's spread in photo pixels, and the major axis' angle in
            degrees from +x towards +y.
        heatmaps: float32 [J, rows, columns], each sums to 1; None unless asked for.
    """

    box: Box
    whole_image: bool
    crop: Crop
    joints: NDArray[np.float64]
    confidence: NDArray[np.float32]
    std: NDArray[np.float64]
    heatmaps: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """The people of one photo.

    Attributes:
        width: Of the photo as a person sees it, in pixels.
        height: Likewise.
        people: In the order of the boxes.
        timing: Seconds by `STAGES_TOLD`.
    """

    width: int
    height: int
    people: tuple[Person, ...]
    timing: Mapping[str, float]


class Estimator:
    """Takes photos through decoding, cropping, the queue and the network.

    `start` before the first `estimate`, `close` after the last.

    Args:
        settings: Limits and deadline.
        engine: The network.
        metrics: Where all that happens is recorded.
        images_per_second: How fast the engine is, as far as that is known; 0 where it is not.
    """

    def __init__(self, settings: Settings, engine: Engine, metrics: Metrics, images_per_second: float = 0.0) -> None:
        self._settings = settings
        self._engine = engine
        self._metrics = metrics
        self._kept = KeptPhotos(_KEPT_SHARE * memory_limit_bytes())
        workers = settings.decode_workers or usable_cpus()
        self.decoders = Decoders(workers)
        self._cutters = Decoders(workers)  # a closer look at a kept photo takes no time: it waits for no decoder
        self.batcher = Batcher(engine, metrics, max(_STALL_SECONDS, settings.deadline_seconds), images_per_second)
        self.admission = Admission(
            lambda: self.batcher.images_per_second, settings.deadline_seconds, self.decoders.wait_seconds
        )

    @property
    def info(self) -> EngineInfo:
        """What computes."""
        return self._engine.info

    def start(self) -> None:
        """Start the decoders' and the engine's threads."""
        self.decoders.start()
        self._cutters.start()
        self.batcher.start()

    def close(self, timeout_seconds: float) -> None:
        """Finish what is under way and end all threads; what is left after the timeout is refused."""
        self.batcher.close(timeout_seconds)
        for threads in (self.decoders, self._cutters):
            threads.close()  # what waits for one is refused by it

    async def estimate(self, data: bytes, options: Options) -> Estimate:
        """Find the joints of the people in a photo; cancelling it drops what still waits.

        Args:
            data: The photo's file.
            options: Whose boxes, and what else to answer.

        Raises:
            ServiceError: The photo, a box or the service's state does not allow an answer.
        """
        start = time.monotonic()
        seconds = self._settings.deadline_seconds
        cost = predict_cost(data, self._settings.max_pixels)
        with self.admission.admit(options.images, self.decoders.seconds(cost)):
            try:
                async with asyncio.timeout(seconds):
                    return await self._estimate(data, cost, options, start, start + seconds)
            except TimeoutError as error:
                raise DeadlineMissed(f"the photo was not done within the deadline of {seconds:g} s") from error

    async def _estimate(self, data: bytes, cost: Cost, options: Options, start: float, deadline: float) -> Estimate:
        limit, timing = self._settings.max_pixels, dict.fromkeys(STAGES_TOLD, 0.0)
        left = options.looks - 1
        photo, estimates = await self._look(
            lambda: prepare(data, options.boxes, limit, self._kept.keep if options.refine else None),
            cost,
            options,
            self.batcher.latest(deadline, left),
            timing,
        )
        for look in LOOKS if options.refine else ():
            left -= 1
            crops = _refined_crops(look, photo, estimates)
            if crops != photo.crops:
                cut = partial(recut, data, photo, crops, limit, self._kept.keep)
                again = RECUT if photo.photo else cost
                photo, estimates = await self._look(cut, again, options, self.batcher.latest(deadline, left), timing)
        if options.from_a_distance:
            photo, estimates = await self._look_from_a_distance(data, cost, photo, estimates, options, deadline, timing)
        people = tuple(_person(photo, index, estimates, options) for index in range(len(photo.people)))
        timing["total"] = time.monotonic() - start
        return Estimate(photo.width, photo.height, people, timing)

    async def _look_from_a_distance(
        self,
        data: bytes,
        cost: Cost,
        photo: Prepared,
        estimates: Estimates,
        options: Options,
        deadline: float,
        timing: dict[str, float],
    ) -> tuple[Prepared, Estimates]:
        """The answer of a look from a distance where the photo is a close-up, else the one so far."""
        (old,), width, height = photo.crops, photo.width, photo.height
        crop = distant_crop(width, height, old.to_photo(estimates.coordinates[0]))
        cut = partial(recut, data, photo, [crop], self._settings.max_pixels, self._kept.keep)
        distant, told = await self._look(cut, RECUT if photo.photo else cost, options, deadline, timing)
        joints = crop.to_photo(told.coordinates[0])
        close = is_close_up(min(width, height), joints, told.confidence[0], estimates.confidence[0])
        return (distant, told) if close else (photo, estimates)

    async def _look(
        self, cut: Callable[[], Prepared], cost: Cost, options: Options, deadline: float, timing: dict[str, float]
    ) -> tuple[Prepared, Estimates]:
        """Cut a photo's crops and let the network look at them; the time that it takes is added to `timing`."""
        answer: Future[Served] = Future()
        asked = time.perf_counter()

        def cut_and_submit() -> tuple[Prepared, float]:
            waited = time.perf_counter() - asked
            self.batcher.ensure_open()  # it may have waited
            photo = cut()
            images = with_mirrored(photo.pixels) if options.flip else photo.pixels
            self.batcher.submit(images, deadline, options.heatmaps, answer)
            return photo, waited

        self.batcher.ensure_open()  # closed workers take nothing
        try:  # the worker itself hands the crops on: the event loop would have to wake up in between
            threads = self._cutters if cost is RECUT else self.decoders
            job = threads.submit(cut_and_submit, cost, self.batcher.latest(deadline, 1))
            photo, waited = await asyncio.wrap_future(job)
            served = await asyncio.wrap_future(answer)
        finally:
            answer.cancel()  # does nothing to an answer that is there
        timing["decode"] += waited + photo.decode_seconds
        timing["crop"] += photo.crop_seconds
        timing["queue"] += served.queue_seconds
        timing["inference"] += served.inference_seconds
        return photo, average(served.estimates, self.info.contract.skeleton) if options.flip else served.estimates

    def record(self, size: int, estimate: Estimate) -> None:
        """Put an estimate, of a photo's file of `size` bytes, into the metrics; takes no part in answering."""
        for stage in STAGES_TOLD[:-1]:
            self._metrics.observe_stage(stage, estimate.timing[stage])
        self._metrics.image_bytes.observe(size)
        self._metrics.image_pixels.observe(estimate.width * estimate.height)
        self._metrics.people.inc(len(estimate.people))
        for person in estimate.people:
            self._metrics.observe_joints(person.std[:, 0], person.confidence)


def _refined_crops(look: Look, photo: Prepared, estimates: Estimates) -> list[Crop]:
    """Where to look closer; a crop that would lie beside the photo altogether is not taken."""
    crops = []
    for old, joints, confidence in zip(photo.crops, estimates.coordinates, estimates.confidence, strict=True):
        new = refined_crop(look, old, old.to_photo(joints), confidence)
        crops.append(new if new.overlaps(photo.width, photo.height) else old)
    return crops


def _person(photo: Prepared, index: int, estimates: Estimates, options: Options) -> Person:
    """From crop units to photo pixels."""
    box, crop = photo.people[index]
    return Person(
        box=box,
        whole_image=not options.boxes,
        crop=crop,
        joints=crop.to_photo(estimates.coordinates[index]),
        confidence=estimates.confidence[index],
        std=principal_axes(crop.covariance_to_photo(estimates.covariance[index])),
        heatmaps=None if estimates.heatmaps is None else estimates.heatmaps[index],
    )


def principal_axes(covariance: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Standard deviations along the principal axes of 2 x 2 covariances, in closed form.

    Args:
        covariance: [..., 3]: Var x, Cov xy, Var y.

    Returns:
        [..., 3]: major >= minor >= 0 in the unit of x and y, and the major axis' angle in degrees from +x towards +y,
        in (-90, 90].
    """
    var_x, cov_xy, var_y = (covariance[..., index] for index in range(3))
    axes = np.empty(covariance.shape)
    mean, spread = (var_x + var_y) / 2, np.hypot((var_x - var_y) / 2, cov_xy)
    axes[..., 0], axes[..., 1] = mean + spread, mean - spread
    np.sqrt(np.maximum(axes[..., :2], 0), out=axes[..., :2])
    angle = np.degrees(np.arctan2(2 * cov_xy, var_x - var_y)) / 2
    axes[..., 2] = np.where(angle <= -90, 90.0, angle)
    return axes
