"""The whole way of one photo, from bytes to people, with no HTTP in it."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.crop import Box, Crop
from service.admission import Admission
from service.batcher import Batcher
from service.engine import Engine, EngineInfo, Estimates
from service.flip import average, with_mirrored
from service.images import Prepared, prepare, recut
from service.metrics import Metrics
from service.options import Options
from service.problems import DeadlineMissed
from service.refine import LOOKS, Look, refined_crop
from service.settings import Settings

STAGES_TOLD: Final = ("decode", "crop", "queue", "inference", "total")
"""What an answer's timing tells, in order."""


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
        self._workers = ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="decode")
        self.batcher = Batcher(engine, metrics, max(_STALL_SECONDS, settings.deadline_seconds), images_per_second)
        self.admission = Admission(lambda: self.batcher.images_per_second, settings.deadline_seconds)

    @property
    def info(self) -> EngineInfo:
        """What computes."""
        return self._engine.info

    def start(self) -> None:
        """Start the engine's thread."""
        self.batcher.start()

    def close(self, timeout_seconds: float) -> None:
        """Finish what is under way and end all threads; what is left after the timeout is refused."""
        self.batcher.close(timeout_seconds)
        self._workers.shutdown(wait=False, cancel_futures=True)

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
        with self.admission.admit(options.images):
            try:
                async with asyncio.timeout(seconds):
                    return await self._estimate(data, options, start, start + seconds)
            except TimeoutError as error:
                raise DeadlineMissed(f"the photo was not done within the deadline of {seconds:g} s") from error

    async def _estimate(self, data: bytes, options: Options, start: float, deadline: float) -> Estimate:
        loop, limit = asyncio.get_running_loop(), self._settings.max_pixels
        photo = await loop.run_in_executor(self._workers, prepare, data, options.boxes, limit, options.refine)
        timing = {"decode": photo.decode_seconds, "crop": photo.crop_seconds, "queue": 0.0, "inference": 0.0}
        estimates = None
        for look in LOOKS if options.refine else ():
            if estimates is None:
                estimates = await self._infer(photo, replace(options, flip=False), deadline, timing)
            crops = _refined_crops(look, photo, estimates)
            refined = await loop.run_in_executor(self._workers, recut, data, photo, crops, limit)
            if refined is not photo:
                timing["decode"] += refined.decode_seconds
                timing["crop"] += refined.crop_seconds
                photo, estimates = refined, None
        if estimates is None or options.flip:
            estimates = await self._infer(photo, options, deadline, timing)
        people = tuple(_person(photo, index, estimates, options) for index in range(len(photo.people)))
        self._record(len(data), photo, people, timing)
        return Estimate(photo.width, photo.height, people, {**timing, "total": time.monotonic() - start})

    async def _infer(self, photo: Prepared, options: Options, deadline: float, timing: dict[str, float]) -> Estimates:
        """What the network says of a photo's crops; the time that it takes is added to `timing`."""
        images = with_mirrored(photo.pixels) if options.flip else photo.pixels
        served = await asyncio.wrap_future(self.batcher.submit(images, deadline, options.heatmaps))
        timing["queue"] += served.queue_seconds
        timing["inference"] += served.inference_seconds
        return average(served.estimates, self.info.contract.skeleton) if options.flip else served.estimates

    def _record(self, size: int, photo: Prepared, people: tuple[Person, ...], timing: Mapping[str, float]) -> None:
        for stage, seconds in timing.items():
            self._metrics.observe_stage(stage, seconds)
        self._metrics.image_bytes.observe(size)
        self._metrics.image_pixels.observe(photo.width * photo.height)
        self._metrics.people.inc(len(people))
        for person in people:
            self._metrics.observe_joints(person.std[:, 0], person.confidence)


def _refined_crops(look: Look, photo: Prepared, estimates: Estimates) -> list[Crop]:
    crops = [crop for _, crop in photo.people]
    return [
        refined_crop(look, crop, crop.to_photo(joints), confidence)
        for crop, joints, confidence in zip(crops, estimates.coordinates, estimates.confidence, strict=True)
    ]


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
    var_x, cov_xy, var_y = np.moveaxis(np.asarray(covariance, np.float64), -1, 0)
    mean = (var_x + var_y) / 2
    spread = np.hypot((var_x - var_y) / 2, cov_xy)
    major, minor = np.sqrt(np.maximum(mean + spread, 0)), np.sqrt(np.maximum(mean - spread, 0))
    angle = np.degrees(np.arctan2(2 * cov_xy, var_x - var_y)) / 2
    return np.stack([major, minor, np.where(angle <= -90, 90.0, angle)], axis=-1)
