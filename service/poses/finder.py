"""Finding people: the pictures of a photo that the finder sees, and which of its boxes are people. Pure arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.spec.crop import Box, Crop, CropRule
from models.spec.finder import FinderSpec, suppress
from models.spec.skeleton import SEEN, Skeleton
from service.inference.engine import Outputs
from service.poses.people import Person

_LONGEST_ASPECT: Final = 2.0  # of a photo that is seen as one picture; in longer ones people would be too small
_WINDOW_OVERLAP: Final = 0.5  # of a panorama's squares: whoever is at most half as wide is whole in one of them
_MOST_WINDOWS: Final = 16

LEAST_SCORE: Final = 0.3
"""Of a person in an answer: below, at most three in ten are somebody."""

_LEAST_PROBABILITY: Final = 1e-6  # that has a logit of use
_NEAR: Final = 0.02  # of a window's side: a box that comes as near to an inner edge is cut by it

_NECK_AND_SHOULDERS: Final = ("upper_neck", "thorax", "right_shoulder", "left_shoulder")
_SAME_PLACE: Final = 0.1  # of the larger box's longer side: how near the joints of one person's two boxes are
_FEWEST_SHARED: Final = 4  # joints seen in both


@dataclass(frozen=True, slots=True)
class FoundPerson:
    """Somebody whom the finder has found.

    Attributes:
        box: Around what is visible, in photo pixels.
        score: The finder's own, 0 to 1.
    """

    box: Box
    score: float


def windows(width: int, height: int) -> list[Crop]:
    """The squares of a photo that the finder sees: one around all of it, and of a panorama also several along it."""
    short, long = sorted((width, height))
    whole = Crop.whole(width, height)
    if long <= _LONGEST_ASPECT * short:
        return [whole]
    count = min(_MOST_WINDOWS, 1 + math.ceil((long - short) / (short * (1 - _WINDOW_OVERLAP))))
    starts = np.linspace(0, long - short, count).tolist()
    return [whole, *(Crop(start, 0, short) if width > height else Crop(0, start, short) for start in starts)]


def crop_rule(spec: FinderSpec) -> CropRule:
    """How the squares are cut: as large as the finder wants the longer side of a photo."""
    return CropRule(size=spec.longest_side, margin=1.0, outside=spec.padding)


def trimmed(spec: FinderSpec, pictures: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The only picture of a photo without the bands of padding that the finder need not see; several as they are.

    Args:
        spec: The finder's.
        pictures: uint8 [N, size, size, 3], of the windows.
        width: Of the photo.
        height: Of the photo.
    """
    if len(pictures) > 1:
        return pictures
    left, top = _bands(spec, width, height)
    size = spec.longest_side
    return np.ascontiguousarray(pictures[:, top : size - top, left : size - left])


def _bands(spec: FinderSpec, width: int, height: int) -> tuple[int, int]:
    """Columns and rows of padding to trim at both ends of a photo's picture: what stays is a multiple of the stride."""
    size, long = spec.longest_side, max(width, height)
    needed = (math.ceil(size * length / long / spec.stride) * spec.stride for length in (width, height))
    left, top = ((size - min(size, side)) // 2 for side in needed)
    return left, top


def find_people(
    spec: FinderSpec, windows: Sequence[Crop], outputs: Outputs, width: int, height: int
) -> list[FoundPerson]:
    """Candidates for the people of a photo, the largest first; their poses are still to be judged.

    Args:
        spec: The finder's.
        windows: In photo pixels.
        outputs: The finder's, for the windows' pictures.
        width: Of the photo.
        height: Of the photo.
    """
    bands = _bands(spec, width, height) if len(windows) == 1 else (0, 0)
    boxes, scores = [], []
    for window, found, sure in zip(windows, outputs["boxes"], outputs["scores"], strict=True):
        in_photo = _to_photo(spec, window, bands, width, height, found)
        is_whole = _are_whole(in_photo, window, width, height)
        boxes.append(in_photo[is_whole])
        scores.append(sure[is_whole])
    all_boxes, all_scores = np.concatenate(boxes), np.concatenate(scores)
    chosen = suppress(all_boxes, all_scores, spec.suppression, _least_finder_score(spec), len(all_scores))
    people = [FoundPerson(Box(*all_boxes[index].tolist()), float(all_scores[index])) for index in chosen]
    return sorted(people, key=lambda person: -person.box.width * person.box.height)


def main_person(people: Sequence[FoundPerson]) -> list[FoundPerson]:
    """The largest of those who are half as sure as the surest; nobody where there is nobody."""
    surest = max((person.score for person in people), default=0.0)
    return [person for person in people if person.score >= surest / 2][:1]


def _to_photo(
    spec: FinderSpec, window: Crop, bands: tuple[int, int], width: int, height: int, boxes: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Boxes [C, 4] of a window's picture in photo pixels, cut at the photo's edges."""
    scale = window.side / spec.longest_side
    corner = np.array([window.x, window.y]) + (boxes[:, :2] + np.array(bands, np.float64)) * scale
    ends = np.clip(corner + boxes[:, 2:] * scale, 0, [width, height])
    corner = np.clip(corner, 0, [width, height])
    return np.concatenate([corner, ends - corner], axis=1)


def _are_whole(boxes: NDArray[np.float64], window: Crop, width: int, height: int) -> NDArray[np.bool_]:
    """Which boxes have an area and no inner edge of a panorama's window cuts: another window shows these people."""
    start, stop = np.array([window.x, window.y]), np.array([window.x, window.y]) + window.side
    low, high, near = boxes[:, :2], boxes[:, :2] + boxes[:, 2:], _NEAR * window.side
    is_cut = ((start > 0) & (low < start + near)) | ((stop < [width, height]) & (high > stop - near))
    return np.asarray((boxes[:, 2:] > 0).all(axis=1) & ~is_cut.any(axis=1))


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
    joints = list(skeleton.indices(*_NECK_AND_SHOULDERS)) or list(range(len(confidence)))
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
