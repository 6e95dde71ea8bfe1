"""A second, closer pass over the square around the joints of the first."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.spec.crop import Box, Crop
from models.spec.skeleton import SEEN

_MARGIN: Final = 1.4
"""Side of the closer crop in units of the joints' longer extent: the median of MPII's crops."""

_SAME_OVERLAP: Final = 0.8
"""Intersection over union with the crop before, above which a pass is not worth its time."""

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


def overlap(a: Crop, b: Crop) -> float:
    """Intersection over union of two squares; in units of the larger one, for the square of a tiny side is 0."""
    unit = max(a.side, b.side)
    width = min(a.x + a.side, b.x + b.side) - max(a.x, b.x)
    height = min(a.y + a.side, b.y + b.side) - max(a.y, b.y)
    common = max(0.0, width / unit) * max(0.0, height / unit)
    return common / ((a.side / unit) ** 2 + (b.side / unit) ** 2 - common)
