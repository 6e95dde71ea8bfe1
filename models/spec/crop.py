"""From a person's box to the square crop that the network sees, and back.

Photo coordinates are continuous: x right, y down, (0, 0) the outer corner of the first pixel. Normalised coordinates
are the network's: (-1, -1) the crop's top-left corner, (1, 1) its bottom-right.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

INPUT_SIZE: Final = 224
"""Side of the network's input, in pixels."""

MARGIN: Final = 1.25
"""Side of the crop, in units of the longer side of a tight box around the person."""

PIXEL_MEAN: Final = (0.485, 0.456, 0.406)
"""ImageNet's mean colour (RGB, 0 to 1), subtracted before the network; what lies outside the photo has this colour."""

PIXEL_STD: Final = (0.229, 0.224, 0.225)
"""ImageNet's standard deviation of each channel (RGB, 0 to 1)."""

OUTSIDE_COLOUR: Final = (124, 116, 104)
"""`PIXEL_MEAN` in 8 bits: the colour of everything outside the photo."""

_MPII_SCALE_PX: Final = 200.0
_MPII_CENTRE_SHIFT: Final = 15.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in photo pixels; (x, y) is its top-left corner and may lie outside the photo."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, width: float, height: float) -> bool:
        """Whether any of the box lies within a photo of this size."""
        return self.x < width and self.y < height and self.x + self.width > 0 and self.y + self.height > 0


@dataclass(frozen=True, slots=True)
class Crop:
    """A square in photo pixels; (x, y) is its top-left corner and may lie outside the photo."""

    x: float
    y: float
    side: float

    @classmethod
    def around(cls, box: Box, margin: float = MARGIN) -> Self:
        """The square with the box's centre and `margin` times its longer side."""
        side = margin * max(box.width, box.height)
        return cls(box.x + (box.width - side) / 2, box.y + (box.height - side) / 2, side)

    @classmethod
    def whole(cls, width: float, height: float) -> Self:
        """The smallest square around a whole photo, without a margin."""
        return cls.around(Box(0, 0, width, height), margin=1.0)

    @classmethod
    def from_mpii(cls, centre: tuple[float, float], scale: float) -> Self:
        """The literature's crop of MPII's `center` and `scale` (a person's height in units of 200 px)."""
        height = _MPII_SCALE_PX * scale
        x, y = centre[0], centre[1] + _MPII_CENTRE_SHIFT * scale
        return cls.around(Box(x - height / 2, y - height / 2, height, height))

    def overlaps(self, width: float, height: float) -> bool:
        """Whether any of the square lies within a photo of this size."""
        return Box(self.x, self.y, self.side, self.side).overlaps(width, height)

    def to_photo(self, coordinates: NDArray[np.floating]) -> NDArray[np.float64]:
        """Normalised coordinates [..., 2] to photo pixels [..., 2]."""
        corner = np.array([self.x, self.y])
        return np.asarray(corner + (np.asarray(coordinates, np.float64) + 1) / 2 * self.side)

    def from_photo(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Photo pixels [..., 2] to normalised coordinates [..., 2], the inverse of `to_photo`."""
        corner = np.array([self.x, self.y])
        return np.asarray((np.asarray(points, np.float64) - corner) / self.side * 2 - 1)

    def covariance_to_photo(self, covariance: NDArray[np.floating]) -> NDArray[np.float64]:
        """Variances and covariances in normalised units squared to photo pixels squared, any shape."""
        return np.asarray(np.asarray(covariance, np.float64) * (self.side / 2) ** 2)
