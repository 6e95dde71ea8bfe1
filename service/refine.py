"""Closer looks: the square around the joints that a first pass found, for photos without a box or with a loose one."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.crop import Box, Crop


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


def overlap(a: Crop, b: Crop) -> float:
    """Intersection over union of two squares; in units of the larger one, for the square of a tiny side is 0."""
    unit = max(a.side, b.side)
    width = min(a.x + a.side, b.x + b.side) - max(a.x, b.x)
    height = min(a.y + a.side, b.y + b.side) - max(a.y, b.y)
    shared = max(0.0, width / unit) * max(0.0, height / unit)
    return shared / ((a.side / unit) ** 2 + (b.side / unit) ** 2 - shared)
