"""Finding people: which of the finder's boxes are people, and how likely. Pure arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.spec.crop import Box
from models.spec.finder import NECK_AND_SHOULDERS, FinderSpec, suppress
from models.spec.skeleton import SEEN, Skeleton
from service.inference.engine import Outputs
from service.poses.people import Person

LEAST_SCORE: Final = 0.3
"""Of a person in an answer: below, at most three in ten are somebody."""

_LEAST_PROBABILITY: Final = 1e-6  # that has a logit of use

_SAME_PLACE: Final = 0.1  # of the larger box's longer side: how near the joints of one person's two boxes are
_FEWEST_SHARED: Final = 4  # joints seen in both


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody whom the finder boxes, before a pose says whether that is a person.

    Attributes:
        box: Around what is visible, in photo pixels.
        finder_score: 0 to 1; a person's calibrated score follows from it and the pose (`person_score`).
    """

    box: Box
    finder_score: float


def find_people(spec: FinderSpec, outputs: Outputs, width: int, height: int) -> list[Candidate]:
    """Candidates for the people of a photo, the largest first; their poses are still to be judged.

    Args:
        spec: The finder's.
        outputs: The finder's, for the photo's windows.
        width: Of the photo.
        height: Of the photo.
    """
    boxes, scores = spec.windows(width, height).to_photo(outputs["boxes"], outputs["scores"])
    chosen = suppress(boxes, scores, spec.suppression, _least_finder_score(spec), len(scores))
    people = [Candidate(Box(*boxes[index].tolist()), float(scores[index])) for index in chosen]
    return sorted(people, key=lambda person: -person.box.width * person.box.height)


def main_candidates(spec: FinderSpec, people: Sequence[Candidate]) -> Sequence[Candidate]:
    """Those of whom one is the main person, the largest of those who are half as sure as the surest.

    Whoever the finder alone makes somebody, whatever the pose says, is known before the poses are; where there is no
    such person everyone stays, for the poses decide.
    """
    certain = [person for person in people if _logistic(_score_logit(spec, person.finder_score)) >= LEAST_SCORE]
    surest = max((person.finder_score for person in certain), default=0.0)
    return [person for person in certain if person.finder_score >= surest / 2][:1] or people


def person_score(spec: FinderSpec, skeleton: Skeleton, finder_score: float, confidence: NDArray[np.floating]) -> float:
    """The calibrated probability that there is a person, boxed so that the pose is worth drawing.

    A logistic regression of the finder's logit and of the mean confidence of neck, thorax and shoulders; a skeleton
    without these has the mean of all joints in their place.

    Args:
        spec: The finder's, which has the weights.
        skeleton: The joints' names.
        finder_score: 0 to 1.
        confidence: [J].
    """
    joints = list(skeleton.indices(*NECK_AND_SHOULDERS)) or list(range(len(confidence)))
    return _logistic(_score_logit(spec, finder_score) + spec.calibration["pose"] * float(confidence[joints].mean()))


def _score_logit(spec: FinderSpec, finder_score: float) -> float:
    """What a person's logit is but for the pose's part."""
    clipped = min(max(finder_score, _LEAST_PROBABILITY), 1 - _LEAST_PROBABILITY)
    return spec.calibration["bias"] + spec.calibration["finder"] * math.log(clipped / (1 - clipped))


def _least_finder_score(spec: FinderSpec) -> float:
    """The finder's score below which no pose, however sure, makes a box somebody."""
    most = math.log(LEAST_SCORE / (1 - LEAST_SCORE)) - spec.calibration["pose"]
    return _logistic((most - spec.calibration["bias"]) / spec.calibration["finder"])


def _logistic(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def choose_people(people: Sequence[Person], scores: Sequence[float]) -> list[int]:
    """Indices, in order, of those who are somebody, each body once: of two poses of one body the surer stays."""
    chosen: list[int] = []
    for index in sorted(range(len(people)), key=lambda index: -scores[index]):
        if scores[index] >= LEAST_SCORE and not any(_is_same(people[index], people[other]) for other in chosen):
            chosen.append(index)
    return sorted(chosen)


def _is_same(one: Person, other: Person) -> bool:
    """Whether two poses are of one body: the joints that both see lie in the same places."""
    shared = (one.confidence >= SEEN) & (other.confidence >= SEEN)
    if shared.sum() < _FEWEST_SHARED:
        return False
    distance = np.linalg.norm(one.joints[shared] - other.joints[shared], axis=1)
    side = max(one.box.width, one.box.height, other.box.width, other.box.height)
    return bool(np.median(distance) <= _SAME_PLACE * side)
