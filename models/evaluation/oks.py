"""How good the poses of everybody in a photo are: average precision by object keypoint similarity (OKS).

OKS, COCO's measure, is the mean over a person's labelled joints of `exp(-d^2 / (2 s^2 k^2))`: d is the joint's distance
from its label, s^2 the person's area and k twice the joint's `SIGMAS`. Our packs have boxes and no outlines, so the
area is `AREA` of the box's. The average precision is the area below the precision-recall curve, which COCO samples at
101 places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.scenes import Scene
from models.evaluation.answers import Answer
from models.evaluation.finding import SizeRule, everybody, judge, precision

SIGMAS: Final = np.array(
    [0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.107, 0.079, 0.079, 0.079, 0.062, 0.072, 0.079, 0.079, 0.072, 0.062]
)
"""COCO's of hips, knees, ankles, shoulders, elbows and wrists; pelvis as a hip, thorax, neck and head as a shoulder."""

AREA: Final = 0.53
"""Of a box, a person's area: the usual fraction where there are no outlines."""

THRESHOLDS: Final = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
"""Similarities from which a pose is right, over which COCO takes the mean."""


@dataclass(frozen=True, slots=True)
class PosePrecision:
    """Average precision of poses, 0 to 1; nan where nobody counts.

    Attributes:
        people: Who counts: those with a labelled joint.
        mean: Over `THRESHOLDS`.
        at_50: Of poses that are right from a similarity of 0.5.
        at_75: From 0.75.
    """

    people: int
    mean: float
    at_50: float
    at_75: float


def similarity(
    joints: NDArray[np.floating],
    truths: NDArray[np.floating],
    labelled: NDArray[np.bool_],
    areas: NDArray[np.floating],
) -> NDArray[np.float64]:
    """OKS [n, m] of n poses with m people; 0 with those who have no labelled joint.

    Args:
        joints: [n, 16, 2] in photo pixels, infinite where a joint is left out.
        truths: [m, 16, 2] in photo pixels.
        labelled: [m, 16].
        areas: [m] in square photo pixels.
    """
    squares = np.square(joints[:, None] - truths[None]).sum(-1)
    near = np.exp(-squares / (2 * areas[:, None] * np.square(2 * SIGMAS)))
    return np.asarray((near * labelled).sum(-1) / np.maximum(labelled.sum(-1), 1))


def pose_precision(scenes: Sequence[Scene], answers: Sequence[Answer], counts: SizeRule = everybody) -> PosePrecision:
    """Average precision of poses in photos, ranked by their people's scores.

    Who is flagged, too small or without a labelled joint counts neither way, nor does a pose whose box is theirs.

    Args:
        scenes: The photos.
        answers: What is said of each.
        counts: Which boxes are large enough.
    """
    people = sum(int(_wanted(scene, counts).sum()) for scene in scenes)
    found = {}
    for threshold in THRESHOLDS:
        scores: list[NDArray[np.floating]] = [np.empty(0)]
        right: list[NDArray[np.bool_]] = [np.empty(0, bool)]
        for scene, answer in zip(scenes, answers, strict=True):
            hits, counted = _judge(scene, answer, counts, threshold)
            scores.append(answer.scores[counted])
            right.append(hits[counted])
        found[threshold] = precision(np.concatenate(scores), np.concatenate(right), people).average_precision
    return PosePrecision(people, float(np.mean(list(found.values()))), found[0.5], found[0.75])


def _wanted(scene: Scene, counts: SizeRule) -> NDArray[np.bool_]:
    """Which people [m] count."""
    return scene.counted & counts(scene, scene.boxes) & (scene.joints[..., 2] > 0).any(1)


def _judge(
    scene: Scene, answer: Answer, counts: SizeRule, threshold: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which poses [n] are right from a similarity on, and which count; the best scored chooses first."""
    wanted, labelled = _wanted(scene, counts), scene.joints[..., 2] > 0
    areas = AREA * scene.boxes[:, 2:].prod(1)
    alike = similarity(answer.joints, scene.joints[..., :2], labelled, areas) * labelled.any(1)
    by_box = judge(scene, answer, counts)
    of_unwanted = (by_box.people >= 0) & ~np.append(wanted, False)[by_box.people]
    right, counted, free = np.zeros(len(alike), bool), by_box.counted & ~of_unwanted, wanted.copy()
    for pose in np.argsort(-answer.scores, kind="stable"):
        candidates = np.where(free & (alike[pose] >= threshold), alike[pose], 0)
        if candidates.any():
            free[candidates.argmax()] = False
            right[pose] = counted[pose] = True
    return right, counted
