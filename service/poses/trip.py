"""The trip of one photo: its people are found, their crops cut and computed, pass by pass."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.spec.contract import JOINT_OUTPUTS, WHOLE_MAPS, ModelSpec
from models.spec.crop import Box, Crop
from models.spec.finder import FINDER_OUTPUTS, FinderSpec
from service.errors import BadOption
from service.inference.engine import Outputs
from service.inference.schedule import Lane, Served
from service.inference.workers import Workers
from service.photos.crops import KeptPhotos, PhotoSource
from service.photos.decoders import RECUT, Decoders
from service.photos.decoding import predict_cost
from service.poses import finder
from service.poses.flip import average, with_mirrored
from service.poses.options import Options
from service.poses.people import TIMING, Person, Poses
from service.poses.refine import can_tell_close_ups, is_close_up, is_cut_off, refined_crop, zoomed_out_crop

Claim = Callable[[int], None]
"""Takes how many images a photo needs beyond `Options.images`, below 0 for nobody; raises where these are too many."""

_Cut = Callable[[PhotoSource], tuple[NDArray[np.uint8], float]]
"""Cuts a network's images, uint8 [N, rows, columns, 3]; those and the seconds that it took."""


@dataclass(frozen=True, slots=True)
class Finder:
    """The network that boxes people, as a trip sees it."""

    spec: FinderSpec
    lane: Lane


@dataclass(frozen=True, slots=True)
class Stations:
    """What all trips use in common.

    Attributes:
        spec: The pose network's.
        decoders: Threads that decode and crop.
        cutters: Threads that crop decoded photos, which takes no time: these wait for no decoder.
        workers: Threads that compute.
        lane: The pose network's among them.
        finder: Finds people where there are no boxes; None: then the whole photo is one person.
        kept: Room for decoded photos that wait for another pass.
        max_pixels: Most pixels (width x height) of a photo.
        max_people: Most people of a photo, the largest.
    """

    spec: ModelSpec
    decoders: Decoders
    cutters: Decoders
    workers: Workers
    lane: Lane
    finder: Finder | None
    kept: KeptPhotos
    max_pixels: int
    max_people: int


class Trip:
    """One photo's trip.

    Args:
        stations: Where it goes.
        data: The photo's file.
        options: Whose boxes or whom to find, and what else to answer.
        deadline: Instant of `time.monotonic()` after which no answer is of use.
        claim: Hears of images that the options do not tell of: those of the people who were found.
    """

    def __init__(self, stations: Stations, data: bytes, options: Options, deadline: float, claim: Claim) -> None:
        self._stations, self._data, self._options, self._deadline = stations, data, options, deadline
        self._claim = claim
        self._finder = stations.finder if options.finds else None
        self._passes_left = options.passes + 2 * (self._finder is not None)  # the finder's, and zoomed out
        self._timing = dict.fromkeys(TIMING, 0.0)
        self._cost = predict_cost(data, stations.max_pixels)
        self._source: PhotoSource | None = None
        self._boxes: list[Box] = list(options.boxes)
        self._finder_scores: list[float] = []
        self._cut_off: list[int] = []  # indices of the people whom the photo's lower edge cuts off
        self._found = 0
        self._crops: list[Crop] = []
        self._outputs: list[Outputs] = []  # of each person, without the first axis

    async def run(self) -> Poses:
        """Make all passes; cancelling it drops what still waits.

        Raises:
            ServiceError: The photo, a box, the people found or the service's state do not allow an answer.
        """
        start = time.monotonic()
        if self._finder is not None:
            await self._find(self._finder)
        if self._boxes or self._finder is None:
            self._outputs = await self._estimate(self._first_crops)
            if self._cut_off:
                await self._zoom_out()
            if self._options.refine:
                await self._refine()
        self._timing["total"] = time.monotonic() - start
        return self._poses()

    async def _find(self, network: Finder) -> None:
        """A pass of the finder, whose boxes are those to go on with."""
        spec = network.spec

        def cut(source: PhotoSource) -> tuple[NDArray[np.uint8], float]:
            windows = spec.windows(source.width, source.height)
            pixels, seconds = source.cut(windows.squares, is_last=False, rule=spec.crop)
            return windows.trimmed(pixels), seconds

        outputs = await self._compute(network.lane, "find", frozenset(FINDER_OUTPUTS), cut)
        everyone = finder.find_people(spec, outputs, *self._size)
        self._found = len(everyone)
        wanted = finder.main_candidates(spec, everyone) if self._options.find == "one" else everyone
        people = wanted[: self._stations.max_people]
        self._boxes = [person.box for person in people]
        self._finder_scores = [person.finder_score for person in people]
        self._cut_off = [index for index, box in enumerate(self._boxes) if self._may_go_on_below(box)]
        zoomed_out = len(self._cut_off) * (1 + self._options.flip)
        self._claim((len(people) - 1) * self._options.images_per_person + zoomed_out)

    def _may_go_on_below(self, box: Box) -> bool:
        return can_tell_close_ups(self._stations.spec.skeleton) and is_cut_off(box, self._size[1])

    def _first_crops(self, source: PhotoSource) -> list[Crop]:
        """The crop of each box, or of the whole photo.

        Raises:
            BadOption: A box lies outside the photo.
        """
        rule = self._stations.spec.crop
        for index, box in enumerate(self._boxes):
            if not box.overlaps(source.width, source.height):
                sides = f"[{box.x:g}, {box.y:g}, {box.width:g}, {box.height:g}]"
                raise BadOption(
                    f"box {index}, {sides}, lies outside the photo of {source.width} x {source.height} pixels"
                )
        if self._boxes:
            self._crops = [Crop.around(box, rule.margin) for box in self._boxes]
        else:
            self._boxes = [Box(0, 0, source.width, source.height)]
            self._crops = [Crop.whole(source.width, source.height)]
        return self._crops

    async def _zoom_out(self) -> None:
        """A pass over more of those whom the photo cuts off, whose answer is taken where it is right about them."""
        crops = [
            zoomed_out_crop(self._boxes[index], self._crops[index].to_photo(self._outputs[index]["coordinates"]))
            for index in self._cut_off
        ]
        for index, crop, after in zip(self._cut_off, crops, await self._estimate(lambda _: crops), strict=True):
            before, shorter_side = self._outputs[index], min(self._boxes[index].width, self._boxes[index].height)
            joints, confidence = crop.to_photo(after["coordinates"]), after["confidence"]
            if is_close_up(self._stations.spec.skeleton, shorter_side, joints, confidence, before["confidence"]):
                self._crops[index], self._outputs[index] = crop, after

    async def _refine(self) -> None:
        """A closer pass over those people whose crop it changes."""
        changed: dict[int, Crop] = {}
        for index, (crop, outputs) in enumerate(zip(self._crops, self._outputs, strict=True)):
            closer = refined_crop(crop, crop.to_photo(outputs["coordinates"]), outputs["confidence"])
            if closer != crop and closer.overlaps(*self._size):
                changed[index] = closer
        if not changed:
            return
        computed = await self._estimate(lambda _: list(changed.values()))
        for (index, crop), outputs in zip(changed.items(), computed, strict=True):
            self._crops[index], self._outputs[index] = crop, outputs

    async def _estimate(self, choose_crops: Callable[[PhotoSource], Sequence[Crop]]) -> list[Outputs]:
        """A pass over people; the outputs of each, without the first axis."""

        def cut(source: PhotoSource) -> tuple[NDArray[np.uint8], float]:
            pixels, seconds = source.cut(choose_crops(source), is_last=self._passes_left == 1)
            return with_mirrored(pixels) if self._options.flip else pixels, seconds

        outputs = await self._compute(self._stations.lane, "inference", self._wanted, cut)
        if self._options.flip:
            outputs = average(outputs, self._stations.spec.skeleton)
        count = len(outputs["coordinates"])
        return [{name: values[index] for name, values in outputs.items()} for index in range(count)]

    async def _compute(self, lane: Lane, stage: str, wanted: frozenset[str], cut: _Cut) -> Outputs:
        """Cut a network's images in a decoder's thread and compute them, the seconds of which count as a stage's."""
        stations, answer = self._stations, Future[Served]()
        submitted = time.perf_counter()

        def cut_and_submit() -> tuple[float, float]:
            """Seconds until decoded, and of cropping."""
            stations.workers.ensure_open()  # the photo may have waited
            source = self._source = self._source or PhotoSource(
                self._data, stations.spec.crop, stations.max_pixels, stations.kept
            )
            images, crop_seconds = cut(source)
            decode_seconds = time.perf_counter() - submitted - crop_seconds
            stations.workers.submit(lane, images, wanted, self._latest(self._passes_left - 1), answer)
            return decode_seconds, crop_seconds

        stations.workers.ensure_open()  # closed decoders take nothing
        is_kept = self._source is not None and self._source.is_decoded
        threads, cost = (stations.cutters, RECUT) if is_kept else (stations.decoders, self._cost)
        try:  # the thread itself hands the crops on: the event loop would have to wake up in between
            decoded = await asyncio.wrap_future(threads.submit(cut_and_submit, cost, self._latest(self._passes_left)))
            served = await asyncio.wrap_future(answer)
        finally:
            answer.cancel()  # does nothing to an answer that is there
        self._passes_left -= 1
        seconds = (*decoded, served.queue_seconds, served.inference_seconds)
        for name, spent in zip(("decode", "crop", "queue", stage), seconds, strict=True):
            self._timing[name] += spent
        return served.outputs

    def _latest(self, passes: int) -> float:
        """The instant by which something must be done, so that passes after it end by the deadline."""
        return self._stations.lane.throughput.latest(self._deadline, passes)

    @property
    def _wanted(self) -> frozenset[str]:
        """Names of the outputs that the answer needs."""
        if self._options.flip:
            maps = {WHOLE_MAPS if WHOLE_MAPS in self._stations.spec.outputs else "heatmaps"}
        else:
            maps = {"heatmaps"} if self._options.heatmaps else set()
        return frozenset({*JOINT_OUTPUTS, *maps})

    @property
    def _size(self) -> tuple[int, int]:
        """Width and height of the photo, once its header has been read."""
        assert self._source is not None
        return self._source.width, self._source.height

    def _poses(self) -> Poses:
        skeleton, is_whole = self._stations.spec.skeleton, self._finder is None and not self._options.boxes
        people = []
        for box, crop, outputs in zip(self._boxes, self._crops, self._outputs, strict=True):
            shown = outputs if self._options.heatmaps else {name: outputs[name] for name in JOINT_OUTPUTS}
            people.append(Person.of(box, crop, shown, whole_image=is_whole))
        if self._finder is None:
            return Poses(*self._size, skeleton, tuple(people), len(people), self._timing)
        scores = [
            finder.person_score(self._finder.spec, skeleton, score, person.confidence)
            for person, score in zip(people, self._finder_scores, strict=True)
        ]
        chosen = finder.choose_people(people, scores)
        found = self._found - len(people) + len(chosen)
        if self._options.find == "one":
            chosen = sorted(chosen, key=lambda index: -scores[index])[:1]
        scored = tuple(replace(people[index], score=scores[index]) for index in chosen)
        return Poses(*self._size, skeleton, scored, found, self._timing, True)
