"""How well the whole chain does, photo in, people out: on photos in which everybody is boxed and some have joints.

A person who is not found counts as wrong in every joint.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.scenes import Scene
from models.evaluation.answers import Answer, AnswerError
from models.evaluation.calibration import expected_calibration_error
from models.evaluation.finding import (
    PRECISION,
    SCORE,
    SIZES,
    Alarms,
    Precision,
    SizeRule,
    alarms,
    average_precision,
    judge,
    judged,
    large,
    people_who_count,
)
from models.evaluation.oks import PosePrecision, pose_precision

RADIUS: Final = 0.1
"""Of the longer side of a person's box: how far a right joint lies from its label at most."""

_VISIBLE: Final = 2  # v of a joint that is seen


@dataclass(frozen=True, slots=True)
class AtScore:
    """What holds of the people whose score is at least `score`; fractions, nan where nothing counts.

    Attributes:
        score: The least.
        precision: Of their boxes, those of somebody.
        joints: How many joints are seen of large people, who are found or not.
        right: Of these, those that lie within `RADIUS` of their label.
    """

    score: float
    precision: float
    joints: int
    right: float


@dataclass(frozen=True, slots=True)
class Size:
    """Figures of the people of at least a size; fractions, nan where nobody counts.

    Attributes:
        boxes: Average precision of their boxes, and recall at a precision of `finding.PRECISION`.
        precision: Of the boxes with a score of `finding.SCORE` or more.
        recall: With these.
        poses: Average precision of their poses.
    """

    boxes: Precision
    precision: float
    recall: float
    poses: PosePrecision


@dataclass(frozen=True, slots=True)
class Chain:
    """All figures.

    Attributes:
        photos: How many.
        sizes: By least size of person.
        precise: At the least score at which the precision is `finding.PRECISION`.
        likely: At a score of `finding.SCORE`.
        calibration_error: Of the score as the probability that somebody is there, over the boxes that count.
        nobody: False people of a score of `finding.SCORE` or more in photos of nobody.
    """

    photos: int
    sizes: dict[str, Size]
    precise: AtScore
    likely: AtScore
    calibration_error: float
    nobody: Alarms


def measure(scenes: Sequence[Scene], answers: Sequence[Answer]) -> Chain:
    """All figures of what is said of photos.

    Raises:
        AnswerError: Somebody has no score.
    """
    if any(np.isnan(answer.scores).any() for answer in answers):
        raise AnswerError("somebody in the answers has no score: a service gives one where it finds people itself")
    scores, right = judged(scenes, answers)
    return Chain(
        photos=len(scenes),
        sizes={name: _size(scenes, answers, counts) for name, counts in SIZES.items()},
        precise=at_score(scenes, answers, least_score(scores, right)),
        likely=at_score(scenes, answers, SCORE),
        calibration_error=expected_calibration_error(scores, right) if len(scores) else np.nan,
        nobody=alarms(scenes, answers),
    )


def least_score(scores: NDArray[np.floating], right: NDArray[np.bool_], precision: float = PRECISION) -> float:
    """The least score from which on so many of the boxes [n] are right; infinite where there is none."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf) != 0)
    precise = np.cumsum(right[order])[last] / (last + 1) >= precision
    return float(scores[order][last][precise].min(initial=np.inf))


def at_score(scenes: Sequence[Scene], answers: Sequence[Answer], score: float) -> AtScore:
    """What holds of the people of at least a score; whoever is found with less is missed."""
    scores, right = judged(scenes, answers)
    hits = joints = 0
    for scene, answer in zip(scenes, answers, strict=True):
        seen = _seen(scene)
        joints += int(seen.sum())
        hits += int((_right(scene, answer, score) & seen).sum())
    chosen = scores >= score
    return AtScore(
        score=score,
        precision=float(right[chosen].mean()) if chosen.any() else np.nan,
        joints=joints,
        right=hits / joints if joints else np.nan,
    )


def _seen(scene: Scene) -> NDArray[np.bool_]:
    """Which joints [people, 16] are seen of large people who count."""
    return np.asarray((scene.joints[..., 2] == _VISIBLE) & (scene.counted & large(scene, scene.boxes))[:, None])


def _right(scene: Scene, answer: Answer, score: float) -> NDArray[np.bool_]:
    """Which joints [people, 16] of a photo's people lie near their label, where those are found with such a score."""
    radii = RADIUS * scene.boxes[:, 2:].max(1, initial=0)
    right = np.zeros(scene.joints.shape[:2], bool)
    found = judge(scene, answer).people
    for pose in np.flatnonzero((found >= 0) & (answer.scores >= score)):
        person = found[pose]
        distances = np.linalg.norm(answer.joints[pose] - scene.joints[person, :, :2], axis=-1)
        right[person] = distances <= radii[person]
    return right


def _size(scenes: Sequence[Scene], answers: Sequence[Answer], counts: SizeRule) -> Size:
    scores, right = judged(scenes, answers, counts)
    chosen, people = scores >= SCORE, people_who_count(scenes, counts)
    return Size(
        boxes=average_precision(scenes, answers, counts),
        precision=float(right[chosen].mean()) if chosen.any() else np.nan,
        recall=float(right[chosen].sum() / people) if people else np.nan,
        poses=pose_precision(scenes, answers, counts),
    )


def table(chain: Chain) -> str:
    """The figures in Markdown and sentences, fractions in per cent."""
    lines = [
        "| people of | people | AP of boxes | recall at a precision of 90 % | precision, recall at a score of 0.5 "
        "| people with joints | AP of poses (OKS) | at 0.5 | at 0.75 |",
        "| --- " * 9 + "|",
    ]
    for name, size in chain.sizes.items():
        boxes, poses = size.boxes, size.poses
        lines.append(
            f"| {name} | {boxes.people} | {_percent(boxes.average_precision)} | {_percent(boxes.recall)} "
            f"| {_percent(size.precision)}, {_percent(size.recall)} | {poses.people} | {_percent(poses.mean)} "
            f"| {_percent(poses.at_50)} | {_percent(poses.at_75)} |"
        )
    return "\n".join([*lines, "", *_sentences(chain)])


def _sentences(chain: Chain) -> list[str]:
    joints = [
        f"with a score of {at.score:.3f} or more (precision {_percent(at.precision)}): {_percent(at.right)} % of the "
        f"{at.joints} joints seen of large people are right"
        for at in (chain.precise, chain.likely)
    ]
    false = chain.nobody
    return [
        *joints,
        f"calibration error of the score: {chain.calibration_error:.3f}",
        f"{false.photos} photos of nobody: {false.false_people:.3f} people a photo with a score of {SCORE} or more, "
        f"{_percent(false.share)} % of the photos have any",
    ]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"
