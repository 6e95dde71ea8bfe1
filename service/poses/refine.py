"""More passes: closer, over the square around the joints, and zoomed out, over a body that the photo cuts off."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.spec.crop import Box, Crop
from models.spec.skeleton import SEEN, Skeleton

_MARGIN: Final = 1.4
"""Side of the closer crop in units of the joints' longer extent: the median of MPII's crops."""

_SAME_OVERLAP: Final = 0.8
"""Intersection over union with the crop before, above which a pass is not worth its time."""

_EDGE: Final = 0.02  # of the photo's height: how near to its lower edge a box ends that is cut off by it

_UPPER_BODY: Final = (
    "thorax", "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow",
    "left_wrist",
)  # fmt: skip
"""The joints that say how sure a pass is: a close-up shows these, and squeezes the legs in where it is misread."""

_ANKLES: Final = ("left_ankle", "right_ankle")

_ZOOMED_OUT_SIDE: Final = 2.2  # of the box's height: as much below it as a body has below its hips
_HEADROOM: Final = 0.1  # of the box's height, above it
_SURER: Final = 0.05  # in mean confidence: where a body goes on below the photo, the difference is 0.1 to 0.5
_CLOSE: Final = 0.35  # of the box's shorter side: how far the upper body of a close-up reaches
_FEET_SHOWN: Final = 0.3  # mean confidence of the ankles, above which the photo shows them

_FEWEST_JOINTS: Final = 4
_SMALLEST_EXTENT: Final = 0.1  # of the crop before: below, the joints have collapsed into a blob rather than a person


def refined_crop(crop: Crop, joints: NDArray[np.floating], confidence: NDArray[np.floating]) -> Crop:
    """The square around the joints that are seen; the crop itself where too few are, or where it would hardly change.

    Args:
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
    closer = Crop.around(Box(*corner.tolist(), *extent.tolist()), margin=_MARGIN)
    return crop if overlap(crop, closer) > _SAME_OVERLAP else closer


def is_cut_off(box: Box, photo_height: int) -> bool:
    """Whether a box of what is visible ends at the photo's lower edge, so that a body may go on below."""
    return box.y + box.height >= (1 - _EDGE) * photo_height


def zoomed_out_crop(box: Box, joints: NDArray[np.floating]) -> Crop:
    """The square that holds the whole body of somebody whom a box shows down to the hips.

    Args:
        box: Around what is visible, in photo pixels.
        joints: [J, 2], in photo pixels: the square is centred over them.
    """
    side = _ZOOMED_OUT_SIDE * box.height
    middle = float(np.clip(np.median(joints[:, 0]), box.x, box.x + box.width))
    return Crop(middle - side / 2, box.y - _HEADROOM * box.height, side)


def can_tell_close_ups(skeleton: Skeleton) -> bool:
    """Whether a skeleton has the joints that `is_close_up` goes by; without them there is no zoomed-out pass."""
    return len(skeleton.indices(*_UPPER_BODY)) >= _FEWEST_JOINTS and len(skeleton.indices(*_ANKLES)) == len(_ANKLES)


def is_close_up(
    skeleton: Skeleton,
    shorter_side: float,
    joints: NDArray[np.floating],
    confidence: NDArray[np.floating],
    other_confidence: NDArray[np.floating],
) -> bool:
    """Whether a zoomed-out pass is right about a person: it is surer, sees no feet, and the upper body is large.

    Args:
        skeleton: The joints' names.
        shorter_side: Of the box, in photo pixels.
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
