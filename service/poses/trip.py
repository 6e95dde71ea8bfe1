"""The trip of one photo: its crops are cut and computed, pass by pass, until its people are known."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from models.spec.contract import JOINT_OUTPUTS, ModelSpec
from models.spec.crop import Box, Crop
from service.errors import BadOption
from service.inference.engine import Outputs
from service.inference.schedule import Lane, Served
from service.inference.workers import Workers
from service.metrics import PHOTO_STAGES
from service.photos.crops import KeptPhotos, PhotoSource
from service.photos.decoders import RECUT, Decoders
from service.photos.decoding import predict_cost
from service.poses.flip import average, with_mirrored
from service.poses.options import Options
from service.poses.people import TIMING, Person, Poses
from service.poses.refine import (
    REFINEMENTS,
    Refinement,
    can_tell_close_ups,
    is_close_up,
    refined_crop,
    zoomed_out_crop,
)


@dataclass(frozen=True, slots=True)
class Stations:
    """What all trips use in common.

    Attributes:
        spec: The network's.
        decoders: Threads that decode and crop.
        cutters: Threads that crop decoded photos, which takes no time: these wait for no decoder.
        workers: Threads that compute.
        lane: The network's among them.
        kept: Room for decoded photos that wait for another pass.
        max_pixels: Most pixels (width x height) of a photo.
    """

    spec: ModelSpec
    decoders: Decoders
    cutters: Decoders
    workers: Workers
    lane: Lane
    kept: KeptPhotos
    max_pixels: int


class Trip:
    """One photo's trip.

    Args:
        stations: Where it goes.
        data: The photo's file.
        options: Whose boxes, and what else to answer.
        deadline: Instant of `time.monotonic()` after which no answer is of use.
    """

    def __init__(self, stations: Stations, data: bytes, options: Options, deadline: float) -> None:
        self._stations, self._data, self._options, self._deadline = stations, data, options, deadline
        self._timing = dict.fromkeys(TIMING, 0.0)
        self._passes_left = options.passes
        self._cost = predict_cost(data, stations.max_pixels)
        self._source: PhotoSource | None = None
        self._boxes: list[Box] = []
        self._crops: list[Crop] = []
        self._outputs: list[Outputs] = []  # of each person, without the first axis

    async def run(self) -> Poses:
        """Make all passes; cancelling it drops what still waits.

        Raises:
            ServiceError: The photo, a box or the service's state does not allow an answer.
        """
        start = time.monotonic()
        self._outputs = await self._compute(self._first_crops)
        for refinement in REFINEMENTS if self._options.refines else ():
            await self._refine(refinement)
        if self._options.zooms_out and can_tell_close_ups(self._stations.spec.skeleton):
            await self._zoom_out()
        self._timing["total"] = time.monotonic() - start
        return self._poses()

    def _first_crops(self, source: PhotoSource) -> list[Crop]:
        """The crop of each box, or of the whole photo.

        Raises:
            BadOption: A box lies outside the photo.
        """
        rule = self._stations.spec.crop
        self._boxes = list(self._options.boxes) or [Box(0, 0, source.width, source.height)]
        for index, box in enumerate(self._options.boxes):
            if not box.overlaps(source.width, source.height):
                sides = f"[{box.x:g}, {box.y:g}, {box.width:g}, {box.height:g}]"
                raise BadOption(
                    f"box {index}, {sides}, lies outside the photo of {source.width} x {source.height} pixels"
                )
        if self._options.boxes:
            self._crops = [Crop.around(box, rule.margin) for box in self._boxes]
        else:
            self._crops = [Crop.whole(source.width, source.height)]
        return self._crops

    async def _refine(self, refinement: Refinement) -> None:
        """A closer pass over those people whose crop it changes."""
        changed: dict[int, Crop] = {}
        for index, (crop, outputs) in enumerate(zip(self._crops, self._outputs, strict=True)):
            joints = crop.to_photo(outputs["coordinates"])
            closer = refined_crop(refinement, crop, joints, outputs["confidence"])
            if closer != crop and closer.overlaps(*self._size):
                changed[index] = closer
        self._passes_left -= 1
        if not changed:
            return
        computed = await self._compute(lambda _: list(changed.values()))
        for (index, crop), outputs in zip(changed.items(), computed, strict=True):
            self._crops[index], self._outputs[index] = crop, outputs

    async def _zoom_out(self) -> None:
        """A pass over more than the photo, whose answer is taken where the photo is a close-up."""
        (crop,), (before,) = self._crops, self._outputs
        width, height = self._size
        wide = zoomed_out_crop(width, height, crop.to_photo(before["coordinates"]))
        self._passes_left -= 1
        (outputs,) = await self._compute(lambda _: [wide])
        joints, skeleton = wide.to_photo(outputs["coordinates"]), self._stations.spec.skeleton
        if is_close_up(skeleton, min(width, height), joints, outputs["confidence"], before["confidence"]):
            self._crops, self._outputs = [wide], [outputs]

    async def _compute(self, choose_crops: Callable[[PhotoSource], list[Crop]]) -> list[Outputs]:
        """One pass: cut crops in a decoder's thread and compute them; the outputs of each, without the first axis."""
        stations, answer = self._stations, Future[Served]()
        submitted = time.perf_counter()

        def cut_and_submit() -> tuple[float, float]:
            """Seconds until decoded, and of cropping."""
            stations.workers.ensure_open()  # the photo may have waited
            source = self._source = self._source or PhotoSource(
                self._data, stations.spec.crop, stations.max_pixels, stations.kept
            )
            crops = choose_crops(source)
            pixels, crop_seconds = source.cut(crops, is_last=self._passes_left == 1)
            decode_seconds = time.perf_counter() - submitted - crop_seconds
            images = with_mirrored(pixels) if self._options.flip else pixels
            stations.workers.submit(stations.lane, images, self._wanted, self._latest(self._passes_left - 1), answer)
            return decode_seconds, crop_seconds

        stations.workers.ensure_open()  # closed decoders take nothing
        is_kept = self._source is not None and self._source.is_decoded
        threads, cost = (stations.cutters, RECUT) if is_kept else (stations.decoders, self._cost)
        try:  # the thread itself hands the crops on: the event loop would have to wake up in between
            decoded = await asyncio.wrap_future(threads.submit(cut_and_submit, cost, self._latest(self._passes_left)))
            served = await asyncio.wrap_future(answer)
        finally:
            answer.cancel()  # does nothing to an answer that is there
        seconds = (*decoded, served.queue_seconds, served.inference_seconds)
        for stage, spent in zip(PHOTO_STAGES, seconds, strict=True):
            self._timing[stage] += spent
        outputs = average(served.outputs, stations.spec.skeleton) if self._options.flip else served.outputs
        count = len(outputs["coordinates"])
        return [{name: values[index] for name, values in outputs.items()} for index in range(count)]

    def _latest(self, passes: int) -> float:
        """The instant by which something must be done, so that passes after it end by the deadline."""
        return self._stations.lane.throughput.latest(self._deadline, passes)

    @property
    def _wanted(self) -> frozenset[str]:
        """Names of the outputs that the answer needs."""
        if self._options.flip:
            maps = {"maps"} if "maps" in self._stations.spec.outputs else {"heatmaps"}
        else:
            maps = {"heatmaps"} if self._options.heatmaps else set()
        return frozenset({*JOINT_OUTPUTS, *maps})

    @property
    def _size(self) -> tuple[int, int]:
        """Width and height of the photo, once its header has been read."""
        assert self._source is not None
        return self._source.width, self._source.height

    def _poses(self) -> Poses:
        people = []
        for box, crop, outputs in zip(self._boxes, self._crops, self._outputs, strict=True):
            shown = outputs if self._options.heatmaps else {name: outputs[name] for name in JOINT_OUTPUTS}
            people.append(Person.of(box, crop, shown, whole_image=not self._options.boxes))
        return Poses(*self._size, self._stations.spec.skeleton, tuple(people), self._timing)
