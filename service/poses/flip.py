"""Averaging over a crop and its mirror image.

The maps are averaged, and the answer is read from the average as the network reads it from its own map: where both
images agree that is their mean, and where they do not the surer one's place, never a place between two.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.spec.heatmaps import covariance, expectation, main_mode
from models.spec.skeleton import Skeleton
from service.inference.engine import Outputs, rows

_HALF: Final = np.float32(0.5)


def with_mirrored(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crops uint8 [N, h, w, 3], then their mirror images: [2N, h, w, 3]."""
    return np.concatenate([crops, crops[:, :, ::-1]])


def average(outputs: Outputs, skeleton: Skeleton) -> Outputs:
    """The outputs [N] of averaged maps from those of `with_mirrored` crops [2N].

    Args:
        outputs: With the network's whole `maps`, or, of files that lack them, its `heatmaps`.
        skeleton: The joints' names.
    """
    maps = outputs.get("maps", outputs.get("heatmaps"))
    assert maps is not None  # one of them is wanted wherever flip is
    count, joints = len(maps) // 2, list(skeleton.mirror)
    mirrored = rows(outputs, slice(count, None))
    heatmaps = main_mode(_HALF * (maps[:count] + maps[count:, joints, :, ::-1]))
    return {
        "coordinates": expectation(heatmaps),
        "covariance": covariance(heatmaps),
        "confidence": _HALF * (outputs["confidence"][:count] + mirrored["confidence"][:, joints]),
        "heatmaps": heatmaps,
    }
