"""The people of a photo: their joints in photo pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.spec.crop import Box, Crop
from models.spec.skeleton import Skeleton
from service.inference.engine import Outputs
from service.metrics import PHOTO_STAGES

TIMING: Final = (*PHOTO_STAGES, "total")
"""What the timing of an answer holds, in order."""


@dataclass(frozen=True, slots=True)
class Person:
    """One person's joints, in photo pixels.

    Attributes:
        box: The box of the request or of the finder, or the whole photo.
        whole_image: Whether the whole photo was taken as one person.
        crop: The square that the network saw.
        joints: float64 [J, 2], x then y.
        confidence: float32 [J], 0 to 1.
        std: float64 [J, 3]: major and minor axis of the heatmap's spread in photo pixels, and the major axis' angle in
            degrees from +x towards +y.
        heatmaps: float32 [J, rows, columns], each sums to 1; None unless wanted.
        score: Calibrated probability that there is a person, boxed so that the pose is worth drawing; None where no
            finder has been asked.
    """

    box: Box
    whole_image: bool
    crop: Crop
    joints: NDArray[np.float64]
    confidence: NDArray[np.float32]
    std: NDArray[np.float64]
    heatmaps: NDArray[np.float32] | None
    score: float | None = None

    @classmethod
    def of(cls, box: Box, crop: Crop, outputs: Outputs, whole_image: bool) -> "Person":
        """A person from the network's outputs for one crop, which lack the first axis: crop units to photo pixels."""
        return cls(
            box=box,
            whole_image=whole_image,
            crop=crop,
            joints=crop.to_photo(outputs["coordinates"]),
            confidence=outputs["confidence"],
            std=principal_axes(crop.covariance_to_photo(outputs["covariance"])),
            heatmaps=outputs.get("heatmaps"),
        )


@dataclass(frozen=True, slots=True)
class Poses:
    """The people of one photo.

    Attributes:
        width: Of the photo as a person sees it, in pixels.
        height: Of the photo, in pixels.
        skeleton: What the joints are called, and how they hang together.
        people: In the order of the boxes; of those who were found, the largest first.
        found: How many there are; more than `people` where these are limited.
        timing: Seconds by `TIMING`.
        was_searched: Whether people were looked for.
    """

    width: int
    height: int
    skeleton: Skeleton
    people: tuple[Person, ...]
    found: int
    timing: Mapping[str, float]
    was_searched: bool = False


def principal_axes(covariance: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Standard deviations along the principal axes of 2 x 2 covariances, in closed form.

    Args:
        covariance: [..., 3]: Var x, Cov xy, Var y.

    Returns:
        [..., 3]: major >= minor >= 0 in the unit of x and y, and the major axis' angle in degrees from +x towards +y,
        in (-90, 90].
    """
    var_x, cov_xy, var_y = (covariance[..., index] for index in range(3))
    axes = np.empty(covariance.shape)
    mean, spread = (var_x + var_y) / 2, np.hypot((var_x - var_y) / 2, cov_xy)
    axes[..., 0], axes[..., 1] = mean + spread, mean - spread
    np.sqrt(np.maximum(axes[..., :2], 0), out=axes[..., :2])
    angle = np.degrees(np.arctan2(2 * cov_xy, var_x - var_y)) / 2
    axes[..., 2] = np.where(angle <= -90, 90.0, angle)
    return axes
