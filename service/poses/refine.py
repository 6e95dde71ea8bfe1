"""More passes: closer, over the square around the joints, and zoomed out, over a body that the photo cuts off."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.spec.crop import Box, Crop
from models.spec.skeleton import SEEN, Skeleton


@dataclass(frozen=True, slots=True)
class Refinement:
    """A closer pass.

    Attributes:
        margin: Side of its crop in units of the joints' longer extent.
        same_overlap: Intersection over union with the crop before, above which it is not worth its time.
    """

    margin: float
    same_overlap: float


REFINEMENTS: Final = (Refinement(1.8, 0.5), Refinement(1.4, 0.8))
"""In order: a wide one around a small person, whom the first pass sees too coarsely to be cut tight; then as tight as
MPII's crops, whose median is 1.4."""

_UPPER_BODY: Final = (
    "thorax", "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow",
    "left_wrist",
)  # fmt: skip
"""The joints that say how sure a pass is: a close-up shows these, and squeezes the legs in where it is misread."""

_ANKLES: Final = ("left_ankle", "right_ankle")

_ZOOMED_OUT_SIDE: Final = 2.2  # of the photo's height: as much below the photo as a body has below its hips
_HEADROOM: Final = 0.1  # of the photo's height, above it
_SURER: Final = 0.05  # in mean confidence: where a body goes on below the photo, the difference is 0.1 to 0.5
_CLOSE: Final = 0.35  # of the photo's shorter side: how far the upper body of a close-up reaches
_FEET_SHOWN: Final = 0.3  # mean confidence of the ankles, above which the photo shows them

_FEWEST_JOINTS: Final = 4
_SMALLEST_EXTENT: Final = 0.1  # of the crop before: below, the joints have collapsed into a blob rather than a person


def refined_crop(
    refinement: Refinement, crop: Crop, joints: NDArray[np.floating], confidence: NDArray[np.floating]
) -> Crop:
    """The square around the joints that are seen; the crop itself where too few are, or where it would hardly change.

    Args:
        refinement: How wide the square is, and when it is worth its time.
        crop: What the pass before saw.
        joints: [J, 2], its joints, in photo pixels.
        confidence: [J].
    """
    seen = joints[confidence >= SEEN]
    if len(seen) < _FEWEST_JOINTS:
        return crop
    low, high = seen.min(0), seen.max(0)
    extent = np.maximum(high - low, _SMALLEST_EXTENT * crop.side)
    corner = (low + high - extent) / 2
    closer = Crop.around(Box(*corner.tolist(), *extent.tolist()), margin=refinement.margin)
    return crop if overlap(crop, closer) > refinement.same_overlap else closer


def zoomed_out_crop(width: int, height: int, joints: NDArray[np.floating]) -> Crop:
    """The square that holds the whole body of somebody whom a photo shows down to the hips.

    Args:
        width: Of the photo, in pixels.
        height: Of the photo, in pixels.
        joints: [J, 2], in photo pixels: the square is centred over them.
    """
    side = _ZOOMED_OUT_SIDE * height
    middle = float(np.clip(np.median(joints[:, 0]), 0, width))
    return Crop(middle - side / 2, -_HEADROOM * height, side)


def can_tell_close_ups(skeleton: Skeleton) -> bool:
    """Whether a skeleton has the joints that `is_close_up` goes by; without them there is no zoomed-out pass."""
    return len(skeleton.indices(*_UPPER_BODY)) >= _FEWEST_JOINTS and len(skeleton.indices(*_ANKLES)) == len(_ANKLES)


def is_close_up(
    skeleton: Skeleton,
    shorter_side: int,
    joints: NDArray[np.floating],
    confidence: NDArray[np.floating],
    other_confidence: NDArray[np.floating],
) -> bool:
    """Whether a zoomed-out pass is right about a photo: it is surer, sees no feet, and the upper body is large.

    Args:
        skeleton: The joints' names.
        shorter_side: Of the photo, in pixels.
        joints: [J, 2], of the zoomed-out pass, in photo pixels.
        confidence: [J], of the zoomed-out pass.
        other_confidence: [J], of the passes before.
    """
    upper = np.array(skeleton.indices(*_UPPER_BODY))
    seen = joints[upper[confidence[upper] >= SEEN]]
    if len(seen) < _FEWEST_JOINTS or confidence[list(skeleton.indices(*_ANKLES))].mean() > _FEET_SHOWN:
        return False
    is_surer = confidence[upper].mean() >= other_confidence[upper].mean() + _SURER
    return bool(is_surer and np.ptp(seen, axis=0).max() >= _CLOSE * shorter_side)


def overlap(a: Crop, b: Crop) -> float:
    """Intersection over union of two squares; in units of the larger one, for the square of a tiny side is 0."""
    unit = max(a.side, b.side)
    width = min(a.x + a.side, b.x + b.side) - max(a.x, b.x)
    height = min(a.y + a.side, b.y + b.side) - max(a.y, b.y)
    common = max(0.0, width / unit) * max(0.0, height / unit)
    return common / ((a.side / unit) ** 2 + (b.side / unit) ** 2 - common)
