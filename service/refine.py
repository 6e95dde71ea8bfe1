"""A second look: the square around the joints that a first pass found, for photos without a box or with a loose one."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.crop import Box, Crop

JOINTS_MARGIN: Final = 1.4
"""Side of the new crop in units of the joints' longer extent: the median of MPII's crops."""

BELIEVED: Final = 0.1
"""Confidence from which a joint takes part: higher, and the doubtful parts of a small person are cut off."""

_FEWEST_JOINTS: Final = 4
_SMALLEST_SHARE: Final = 0.1  # of the first crop: below, the joints have collapsed into a blob rather than a person
_SAME_OVERLAP: Final = 0.8


def refined_crop(crop: Crop, joints: NDArray[np.floating], confidence: NDArray[np.floating]) -> Crop:
    """The square around believed joints; the crop itself where too few are, or where it would hardly change.

    Args:
        crop: What the first pass saw.
        joints: [J, 2], what it found, in photo pixels.
        confidence: [J].
    """
    believed = joints[confidence >= BELIEVED]
    if len(believed) < _FEWEST_JOINTS:
        return crop
    low, high = believed.min(0), believed.max(0)
    extent = np.maximum(high - low, _SMALLEST_SHARE * crop.side)
    corner = (low + high - extent) / 2
    found = Crop.around(Box(*corner.tolist(), *extent.tolist()), margin=JOINTS_MARGIN)
    return crop if overlap(crop, found) > _SAME_OVERLAP else found


def overlap(a: Crop, b: Crop) -> float:
    """Intersection over union of two squares."""
    width = min(a.x + a.side, b.x + b.side) - max(a.x, b.x)
    height = min(a.y + a.side, b.y + b.side) - max(a.y, b.y)
    shared = max(0.0, width) * max(0.0, height)
    return shared / (a.side**2 + b.side**2 - shared)
