"""How well a finder boxes people: `python -m models.evaluation.finding --data FOLDER --model FILE.onnx`.

Prints, on whole photos of human labels, the average precision at an intersection over union of 0.5 and the recall at a
precision of 90 %, by least size of person and by data set, and how often a photo of nobody gets a person.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.pack import PackError
from models.data.scenes import DEVELOPMENT_SCENES, Scene, read_scenes
from models.spec.contract import INPUT
from models.spec.finder import FINDER_OUTPUTS, FinderSpec, overlap, suppress
from models.spec.metadata import ContractError

LEAST_IOU: Final = 0.5
"""Intersection over union from which a box is of a person."""

PRECISION: Final = 0.9
"""Share of right boxes at which recall is stated."""

SCORE: Final = 0.5
"""From which score a box in a photo of nobody counts as a false person."""

LEAST_SCORE: Final = 0.02
"""Below it boxes are not asked for: they hardly change an average precision."""

_MOST: Final = 100
_LONGER_SIDE: Final = 512  # of a photo, to which sizes in pixels refer

Compute = Callable[[NDArray[np.uint8]], tuple[NDArray[np.floating], NDArray[np.floating]]]
"""From inputs uint8 [N, H, W, 3] to boxes [N, C, 4] in input pixels and scores [N, C]."""

SizeRule = Callable[[Scene, NDArray[np.floating]], NDArray[np.bool_]]
"""Which of boxes [n, 4] of a scene are large enough to count, [n]."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a finder says of a photo: boxes [n, 4] (x, y, width, height) in photo pixels, and their scores [n]."""

    boxes: NDArray[np.floating]
    scores: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the boxes that are found in a photo are of.

    Attributes:
        people: intp [n], the labelled person of each, flagged ones included, or -1.
        right: bool [n], whether that is somebody who counts.
        counted: bool [n], whether the box counts, for or against the finder.
    """

    people: NDArray[np.intp]
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Precision:
    """How precise a finder is; nan where nobody counts.

    Attributes:
        people: Who counts.
        average_precision: At `LEAST_IOU`, 0 to 1.
        recall: The largest at a precision of at least `PRECISION`, 0 to 1.
    """

    people: int
    average_precision: float
    recall: float


@dataclass(frozen=True, slots=True)
class Alarms:
    """False people in photos of nobody; nan where there is no such photo.

    Attributes:
        photos: Of nobody.
        false_people: Boxes of at least a score, a photo.
        share: Of the photos that have such a box.
    """

    photos: int
    false_people: float
    share: float


def everybody(scene: Scene, boxes: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Every box, [n]."""
    return np.ones(len(boxes), bool)


def at_least_px(pixels: float, scene: Scene, boxes: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Boxes whose longer side has so many pixels where the photo's has 512, [n]."""
    return np.asarray(boxes[:, 2:].max(1) >= pixels / _LONGER_SIDE * max(scene.width, scene.height))


def large(scene: Scene, boxes: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Boxes of at least a tenth of the photo's height whose longer side is 0.15 of the photo's, [n]."""
    tall = boxes[:, 3] >= 0.1 * scene.height
    return np.asarray(tall & (boxes[:, 2:].max(1) >= 0.15 * max(scene.width, scene.height)))


SIZES: Final[Mapping[str, SizeRule]] = {"all": everybody, "64 px": partial(at_least_px, 64), "large": large}


def find_people(scenes: Sequence[Scene], compute: Compute, spec: FinderSpec) -> list[Found]:
    """What a finder says of photos, one by one.

    Args:
        scenes: The photos.
        compute: The finder's network with its decoding.
        spec: How a photo becomes its input, and which of its boxes stay.

    Raises:
        PackError: A picture cannot be decoded.
    """
    return [_find(scene, compute, spec) for scene in scenes]


def _find(scene: Scene, compute: Compute, spec: FinderSpec) -> Found:
    found = compute(spec.pictures(Image.fromarray(scene.decode())))
    boxes, scores = spec.windows(scene.width, scene.height).to_photo(*found)
    kept = suppress(boxes, scores, spec.suppression, LEAST_SCORE, _MOST)
    return Found(boxes[kept], scores[kept])


def average_precision(scenes: Sequence[Scene], found: Sequence[Found], counts: SizeRule = everybody) -> Precision:
    """Average precision and recall on the people that count.

    Boxes of flags c or d, boxes that are too small to count and what is found beside the boxes of incomplete photos
    count neither way.

    Args:
        scenes: The photos.
        found: What a finder says of each.
        counts: Which boxes are large enough.
    """
    scores, right = judged(scenes, found, counts)
    return precision(scores, right, people_who_count(scenes, counts))


def people_who_count(scenes: Sequence[Scene], counts: SizeRule = everybody) -> int:
    """How many people of photos are neither flagged nor too small."""
    return sum(int((scene.counted & counts(scene, scene.boxes)).sum()) for scene in scenes)


def judged(
    scenes: Sequence[Scene], found: Sequence[Found], counts: SizeRule = everybody
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Scores [n] of all boxes in photos that count, and which of them are right [n]."""
    scores: list[NDArray[np.floating]] = [np.empty(0)]
    right: list[NDArray[np.bool_]] = [np.empty(0, bool)]
    for scene, each in zip(scenes, found, strict=True):
        judgement = judge(scene, each, counts)
        scores.append(each.scores[judgement.counted])
        right.append(judgement.right[judgement.counted])
    return np.concatenate(scores), np.concatenate(right)


def precision(scores: NDArray[np.floating], right: NDArray[np.bool_], people: int) -> Precision:
    """Average precision and recall of boxes with scores [n] that are right or not [n].

    The average is the area below the largest precision at each recall or a higher one. Boxes of one score come at once.
    """
    if people == 0:
        return Precision(0, np.nan, np.nan)
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf) != 0)
    recalls, precisions = hits[last] / people, hits[last] / (last + 1)
    envelope = np.maximum.accumulate(precisions[::-1])[::-1]
    area = float((np.diff(recalls, prepend=0.0) * envelope).sum())
    return Precision(people, area, float(recalls[precisions >= PRECISION].max(initial=0.0)))


def judge(scene: Scene, found: Found, counts: SizeRule = everybody) -> Judgement:
    """Say of each box whom it is of; the best box chooses first."""
    order = np.argsort(-found.scores, kind="stable")
    boxes = found.boxes[order]
    wanted = scene.counted & counts(scene, scene.boxes)
    hits = _matched(overlap(boxes, scene.boxes), wanted, scene.counted)
    beside = (hits < 0) & ~_within(boxes, scene.boxes[~scene.counted]) & counts(scene, boxes) & (not scene.incomplete)
    people, right, counted = np.full(len(boxes), -1), np.zeros(len(boxes), bool), np.zeros(len(boxes), bool)
    people[order] = hits
    right[people >= 0] = wanted[people[people >= 0]]
    counted[order] = beside
    return Judgement(people, right, counted | right)


def _matched(iou: NDArray[np.float64], wanted: NDArray[np.bool_], counted: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The person of each box, or -1, from overlaps [boxes, people]; best box first, people who count first."""
    matched = np.full(len(iou), -1)
    free = np.ones(iou.shape[1], bool)
    for box, row in enumerate(iou):
        for group in (wanted, counted & ~wanted, ~counted):
            candidates = np.where(group & free & (row >= LEAST_IOU), row, 0)
            if candidates.any():
                matched[box] = candidates.argmax()
                free[matched[box]] = False
                break
    return matched


def _within(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which of boxes [n, 4] lie at least half within one of others [m, 4]."""
    first, second = boxes[:, None], others[None]
    ends = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    shared = np.maximum(ends - np.maximum(first[..., :2], second[..., :2]), 0).prod(-1)
    return np.asarray((shared >= 0.5 * np.maximum(first[..., 2:].prod(-1), 1e-9)).any(1))


def alarms(scenes: Sequence[Scene], found: Sequence[Found], score: float = SCORE) -> Alarms:
    """False people of at least a score in the photos of nobody."""
    nobody = [
        int((each.scores >= score).sum())
        for scene, each in zip(scenes, found, strict=True)
        if not len(scene.boxes) and not scene.incomplete
    ]
    if not nobody:
        return Alarms(0, np.nan, np.nan)
    return Alarms(len(nobody), float(np.mean(nobody)), float(np.mean(np.array(nobody) > 0)))


def precisions(scenes: Sequence[Scene], found: Sequence[Found]) -> dict[str, dict[str, Precision]]:
    """Precision by data set, all of them first, and by least size."""
    sources = ("everything", *dict.fromkeys(scene.source for scene in scenes))
    chosen = {
        source: [i for i, scene in enumerate(scenes) if source in ("everything", scene.source)] for source in sources
    }
    return {
        source: {
            size: average_precision([scenes[i] for i in indices], [found[i] for i in indices], counts)
            for size, counts in SIZES.items()
        }
        for source, indices in chosen.items()
    }


def table(measured: Mapping[str, Mapping[str, Precision]], false: Alarms) -> str:
    """A Markdown table of average precision and recall in per cent, and a line on photos of nobody."""
    lines = ["| photos | people of | people | AP | recall at a precision of 90 % |", "| --- | --- | --- | --- | --- |"]
    for source, by_size in measured.items():
        for size, row in by_size.items():
            shares = f"{100 * row.average_precision:.1f} | {100 * row.recall:.1f}"
            lines.append(f"| {source} | {size} | {row.people} | {shares} |")
    lines.append(
        f"\n{false.photos} photos of nobody: {false.false_people:.3f} people a photo with a score of {SCORE} or more, "
        f"{100 * false.share:.1f} % of the photos have any"
    )
    return "\n".join(lines)


def open_file(path: Path) -> tuple[Compute, FinderSpec]:
    """A finder's file on the CPU.

    Raises:
        ContractError: The file is not a finder's.
    """
    import onnxruntime  # noqa: PLC0415 - training measures torch networks and does not need it

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    spec = FinderSpec.read(session.get_modelmeta().custom_metadata_map, session.get_inputs(), session.get_outputs())

    def compute(images: NDArray[np.uint8]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        boxes, scores = session.run(list(FINDER_OUTPUTS), {INPUT: images})
        return boxes, scores

    return compute, spec


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m models.evaluation.finding", description=__doc__.partition("\n")[0].partition(":")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the scenes packs")
    parser.add_argument("--model", type=Path, required=True, help="a finder's .onnx file")
    parser.add_argument("--pack", default=DEVELOPMENT_SCENES, help="name of the pack")
    parser.add_argument("--strict", action="store_true", help="forgive nothing where not all people are boxed")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    try:
        scenes = list(read_scenes(options.data, [options.pack]))
        found = find_people(scenes, *open_file(options.model))
    except (PackError, ContractError) as error:
        raise SystemExit(str(error)) from error
    judged = [replace(scene, incomplete=False) for scene in scenes] if options.strict else scenes
    measured, false = precisions(judged, found), alarms(scenes, found)
    print(json.dumps(_document(measured, false)) if options.json else table(measured, false))


def _document(measured: Mapping[str, Mapping[str, Precision]], false: Alarms) -> dict[str, Any]:
    """The figures as JSON has them: null where nobody counts."""
    sources = {source: {size: asdict(row) for size, row in rows.items()} for source, rows in measured.items()}
    document = {**sources, "nobody": asdict(false)}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items()}
        return None if isinstance(value, float) and np.isnan(value) else value

    plained: dict[str, Any] = plain(document)
    return plained


if __name__ == "__main__":
    main()
