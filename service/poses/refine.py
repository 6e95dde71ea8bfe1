"""More looks: closer, at the square around the joints found, and from a distance, at a body that the photo cuts off."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.spec.crop import Box, Crop
from models.spec.skeleton import JOINTS, UPPER_BODY


@dataclass(frozen=True, slots=True)
class Look:
    """One more pass.

    Attributes:
        margin: Side of its crop in units of the joints' longer extent.
        same_overlap: Intersection over union with the crop before, above which it is not worth its time.
    """

    margin: float
    same_overlap: float


LOOKS: Final = (Look(1.8, 0.5), Look(1.4, 0.8))
"""In order: a wide one around a small person, whom the first pass sees too coarsely to be cut tight; then as tight as
MPII's crops, whose median is 1.4."""

BELIEVED: Final = 0.1
"""Confidence from which a joint takes part: higher, and the doubtful parts of a small person are cut off."""

_UPPER_BODY: Final = (JOINTS.index("thorax"), *UPPER_BODY)
"""The joints that tell how sure a look is: a close-up shows these, and squeezes the legs in where it is misread."""

_ANKLES: Final = (JOINTS.index("left_ankle"), JOINTS.index("right_ankle"))

_DISTANT_SIDE: Final = 2.2  # of the photo's height: as much below the photo as a body has below its hips
_HEADROOM: Final = 0.1  # of the photo's height, above it
_SURER: Final = 0.05  # in mean confidence: where a body goes on below the photo, the difference is 0.1 to 0.5
_CLOSE: Final = 0.35  # of the photo's shorter side: how far the upper body of a close-up reaches
_SEEN: Final = 0.3  # mean confidence of the ankles, above which the photo shows them

_FEWEST_JOINTS: Final = 4
_SMALLEST_SHARE: Final = 0.1  # of the crop before: below, the joints have collapsed into a blob rather than a person


def refined_crop(look: Look, crop: Crop, joints: NDArray[np.floating], confidence: NDArray[np.floating]) -> Crop:
    """The square around believed joints; the crop itself where too few are, or where it would hardly change.

    Args:
        look: How wide the square is, and when it is worth its time.
        crop: What the pass before saw.
        joints: [J, 2], what it found, in photo pixels.
        confidence: [J].
    """
    believed = joints[confidence >= BELIEVED]
    if len(believed) < _FEWEST_JOINTS:
        return crop
    low, high = believed.min(0), believed.max(0)
    extent = np.maximum(high - low, _SMALLEST_SHARE * crop.side)
    corner = (low + high - extent) / 2
    found = Crop.around(Box(*corner.tolist(), *extent.tolist()), margin=look.margin)
    return crop if overlap(crop, found) > look.same_overlap else found


def distant_crop(width: int, height: int, joints: NDArray[np.floating]) -> Crop:
    """The square that holds the whole body of somebody whom a photo shows down to the hips.

    Args:
        width: Of the photo, in pixels.
        height: Likewise.
        joints: [J, 2], what was found, in photo pixels: the square is centred over them.
    """
    side = _DISTANT_SIDE * height
    middle = float(np.clip(np.median(joints[:, 0]), 0, width))
    return Crop(middle - side / 2, -_HEADROOM * height, side)


def is_close_up(
    shorter_side: int,
    joints: NDArray[np.floating],
    confidence: NDArray[np.floating],
    other_confidence: NDArray[np.floating],
) -> bool:
    """Whether a look from a distance is right about the photo: it is surer, sees no feet, and the upper body is large.

    Args:
        shorter_side: Of the photo, in pixels.
        joints: [J, 2], what it found, in photo pixels.
        confidence: [J], of what it found.
        other_confidence: [J], of the answer so far.
    """
    upper = np.array(_UPPER_BODY)
    believed = joints[upper[confidence[upper] >= BELIEVED]]
    if len(believed) < _FEWEST_JOINTS or confidence[list(_ANKLES)].mean() > _SEEN:
        return False
    is_surer = confidence[upper].mean() >= other_confidence[upper].mean() + _SURER
    return bool(is_surer and np.ptp(believed, axis=0).max() >= _CLOSE * shorter_side)


def overlap(a: Crop, b: Crop) -> float:
    """Intersection over union of two squares; in units of the larger one, for the square of a tiny side is 0."""
    unit = max(a.side, b.side)
    width = min(a.x + a.side, b.x + b.side) - max(a.x, b.x)
    height = min(a.y + a.side, b.y + b.side) - max(a.y, b.y)
    shared = max(0.0, width / unit) * max(0.0, height / unit)
    return shared / ((a.side / unit) ** 2 + (b.side / unit) ** 2 - shared)
