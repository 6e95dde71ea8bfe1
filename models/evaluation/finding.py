"""How well a finder finds people: average precision, and recall at a precision, by intersection over union.

Boxes are matched greedily by score, each with the free person that it overlaps most. To find a crowd, a person hardly
to be seen or one of another size than is asked about counts neither way, nor does what is found beside the boxes of a
photo that is not fully labelled.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.scenes import Scene
from models.spec.contract import INPUT
from models.spec.finder import FINDER_OUTPUTS, FinderSpec, overlap, suppress

LEAST_SCORE: Final = 0.05
"""Boxes below it are not measured."""

MOST_PEOPLE: Final = 300
"""Boxes of a photo that are measured at most."""

SAME: Final = 0.5
"""Intersection over union from which a box is a person's."""

SizeRule = Callable[[Scene, NDArray[np.float64]], NDArray[np.bool_]]
"""Says which boxes [n, 4] of a photo are of the size that is asked about, as bool [n]."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a finder says of a photo, highest score first.

    Attributes:
        boxes: float64 [n, 4], x, y, width, height in picture pixels.
        scores: float64 [n].
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Finding:
    """How well people are found, in percent.

    Attributes:
        average_precision: Area under the curve of precision over recall, precision made to fall.
        recall: At a precision of 90 %, the highest recall that has it.
        people: How many there are to find.
    """

    average_precision: float
    recall: float
    people: int


def _everybody(scene: Scene, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.ones(len(boxes), bool)


def _tenth(scene: Scene, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(boxes[:, 3] >= 0.1 * scene.height)


def _large(scene: Scene, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    sides = boxes[:, 2:].max(1, initial=0)
    return np.asarray(_tenth(scene, boxes) & (sides >= 0.15 * max(scene.width, scene.height)))


SIZES: Final[Mapping[str, SizeRule]] = {"everybody": _everybody, "tenth": _tenth, "large": _large}
"""Everybody; people of a tenth of the photo's height; those of them with 0.15 of its longer side."""


def run_finder(path: Path, scenes: Sequence[Scene], provider: str = "CPUExecutionProvider") -> list[Found]:
    """Ask a finder's file about photos, one by one.

    Raises:
        ContractError: The file is not a finder's.
        PackError: A picture cannot be decoded.
    """
    import onnxruntime  # noqa: PLC0415 - training needs no runtime

    session = onnxruntime.InferenceSession(str(path), providers=[provider])
    metadata = session.get_modelmeta().custom_metadata_map
    spec = FinderSpec.read(metadata, session.get_inputs(), session.get_outputs())

    def ask(scene: Scene) -> Found:
        picture, placement = spec.picture(scene.decode())
        (boxes,), (scores,) = session.run(list(FINDER_OUTPUTS), {INPUT: picture[None]})
        chosen = suppress(boxes, scores, spec.suppression, LEAST_SCORE, MOST_PEOPLE)
        return Found(placement.to_photo(boxes[chosen]), scores[chosen].astype(np.float64))

    return [ask(scene) for scene in scenes]


def measure(scenes: Sequence[Scene], found: Sequence[Found], size: SizeRule = _everybody) -> Finding:
    """Measure what was found in photos, the people of one size only; nan where there are none."""
    people, scores, right = 0, [], []
    for scene, ours in zip(scenes, found, strict=True):
        counts = ~scene.uncertain & size(scene, scene.boxes)
        matched, counted = _match(scene, ours, counts, size)
        people += int(counts.sum())
        scores.append(ours.scores[counted])
        right.append(matched[counted])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits = np.concatenate(right)[order].cumsum()
    if not people:
        return Finding(np.nan, np.nan, 0)
    recall, precision = hits / people, hits / np.arange(1, len(hits) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    area = float(np.sum(np.diff(recall, prepend=0) * falling))
    return Finding(100 * area, 100 * float(recall[precision >= 0.9].max(initial=0)), people)


def _match(
    scene: Scene, found: Found, counts: NDArray[np.bool_], size: SizeRule
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which boxes [n] of a photo are people that count, and which count at all."""
    overlaps = overlap(found.boxes, scene.boxes)
    free, matched = counts.copy(), np.zeros(len(found.boxes), bool)
    for index, row in enumerate(overlaps):
        possible = np.where(free, row, 0)
        if possible.max(initial=0) >= SAME:
            free[possible.argmax()], matched[index] = False, True
    forgiven = (overlaps[:, ~counts] >= SAME).any(1) | _within(found.boxes, scene.boxes[scene.uncertain])
    forgiven |= ~size(scene, found.boxes) | scene.incomplete
    return matched, matched | ~forgiven


def _within(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes [n] lie at least half within one of the others."""
    first, second = boxes[:, None], others[None]
    ends = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    shared = np.maximum(ends - np.maximum(first[..., :2], second[..., :2]), 0).prod(-1)
    return np.asarray((shared >= SAME * boxes[:, None, 2:].prod(-1)).any(1))
