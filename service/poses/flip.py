"""Averaging over a crop and its mirror image.

DSNT is linear in the heatmap, so the average needs no second head: the coordinates of two averaged heatmaps are the
mean of theirs, and the covariance is the mean of theirs plus a quarter of the outer product of their difference.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.spec.skeleton import mirror
from service.inference.engine import Estimates

_HALF: Final = np.float32(0.5)


def with_mirrored(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crops uint8 [N, h, w, 3], then their mirror images: [2N, h, w, 3]."""
    return np.concatenate([crops, crops[:, :, ::-1]])


def average(estimates: Estimates, skeleton: Sequence[str]) -> Estimates:
    """The estimates [N] of averaged heatmaps from those of `with_mirrored` crops [2N]."""
    count = len(estimates) // 2
    straight, mirrored = estimates[:count], _unmirrored(estimates[count:], skeleton)
    difference = straight.coordinates - mirrored.coordinates
    x, y = difference[..., 0], difference[..., 1]
    between = np.stack([x * x, x * y, y * y], -1) * (_HALF * _HALF)
    return Estimates(
        coordinates=_HALF * (straight.coordinates + mirrored.coordinates),
        covariance=_HALF * (straight.covariance + mirrored.covariance) + between,
        confidence=_HALF * (straight.confidence + mirrored.confidence),
        heatmaps=_mean(straight.heatmaps, mirrored.heatmaps),
    )


def _mean(one: NDArray[np.float32] | None, other: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return None if one is None or other is None else _HALF * (one + other)


def _unmirrored(estimates: Estimates, skeleton: Sequence[str]) -> Estimates:
    """What the estimates of a mirrored crop say of the crop itself."""
    joints = list(mirror(skeleton))
    return Estimates(
        coordinates=estimates.coordinates[:, joints] * np.array([-1, 1], np.float32),
        covariance=estimates.covariance[:, joints] * np.array([1, -1, 1], np.float32),
        confidence=estimates.confidence[:, joints],
        heatmaps=None if estimates.heatmaps is None else estimates.heatmaps[:, joints, :, ::-1],
    )
