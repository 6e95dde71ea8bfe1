"""From a person's box to the square crop that the network sees, its pixels, and back.

Photo coordinates are continuous: x right, y down, (0, 0) the outer corner of the first pixel. Normalised coordinates
are the network's: (-1, -1) the crop's top-left corner, (1, 1) its bottom-right.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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

_SMALLEST_SIDE_PX: Final = 0.01
"""Smaller crops are sampled as if of this size: Pillow keeps the edges of a window in single precision."""


@dataclass(frozen=True, slots=True)
class CropRule:
    """How a model wants its crops.

    Attributes:
        size: Side of the network's input, in pixels.
        margin: Side of the crop, in units of the box's longer side.
        outside: Colour (RGB, 8 bits) of everything outside the photo.
    """

    size: int = INPUT_SIZE
    margin: float = MARGIN
    outside: tuple[int, int, int] = OUTSIDE_COLOUR

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: The size is not 1 to 4096, the margin not 0.1 to 10, or the colour not three bytes.
        """
        is_colour = len(self.outside) == 3 and all(value in range(256) for value in self.outside)
        if self.size not in range(1, 4097) or not 0.1 <= self.margin <= 10 or not is_colour:
            raise ValueError(f"no crops of {self.size} px, margin {self.margin}, outside {self.outside} can be made")


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


def cut(photo: Image.Image, crop: Crop, size: int, outside: tuple[int, int, int] = OUTSIDE_COLOUR) -> NDArray[np.uint8]:
    """Resample a square of a photo's pixels to a network's input.

    Enlarging is bilinear. Shrinking averages areas: whole blocks of pixels first, then a triangle twice as wide as an
    output pixel, so nothing aliases. What lies outside the photo has one colour, and so has a photo thinner than a
    block. Only the part of the photo under the square is touched, and neither memory nor time grows with the square.

    Args:
        photo: RGB.
        crop: The square, in the photo's pixels.
        size: Side of the output, in pixels.
        outside: Colour (RGB) of what lies outside the photo.

    Returns:
        RGB [size, size, 3].
    """
    canvas = Image.new("RGB", (size, size), outside)
    step = max(crop.side, _SMALLEST_SIDE_PX) / size
    block = max(1, int(step / 2))
    if min(photo.size) < block or not crop.overlaps(*photo.size):
        return np.asarray(canvas)
    x, y = (
        _span(origin, length, step, size, block) for origin, length in zip((crop.x, crop.y), photo.size, strict=True)
    )
    patch = photo.reduce(block, (x.start, y.start, x.stop, y.stop))
    bordered = Image.new("RGB", (x.before + patch.width + x.after, y.before + patch.height + y.after), outside)
    bordered.paste(patch, (x.before, y.before))
    cells = bordered.resize((x.cells, y.cells), Image.Resampling.BILINEAR, (x.begin, y.begin, x.end, y.end))
    canvas.paste(cells, (x.first_cell, y.first_cell))
    return np.asarray(canvas)


class _Span(NamedTuple):
    """The output pixels ("cells") of one axis that a photo reaches, and the photo pixels that they need.

    `before` and `after` are blocks of border that the cells need beyond the photo; `begin` and `end`, the edges of the
    cells, count blocks from where the border begins.
    """

    first_cell: int
    cells: int
    start: int
    stop: int
    before: int
    after: int
    begin: float
    end: float


def _span(origin: float, length: int, step: float, size: int, block: int) -> _Span:
    """The span of `size` cells, `step` photo pixels each, from `origin`, over a photo of `length` pixels."""
    first = max(0, min(size - 1, math.floor(-origin / step) - 1))
    last = min(size, max(first + 1, math.ceil((length - origin) / step) + 1))
    begin, end = origin + first * step, origin + last * step
    reach = 1.5 * step + 2  # half the triangle's width, and the blocks that the edges cut
    start = max(0, min(length - 1, math.floor(begin - reach)))
    stop = min(length, max(start + 1, math.ceil(end + reach)))
    before = max(0, math.ceil((start - begin + reach) / block))
    after = max(0, math.ceil((end + reach - stop) / block))
    offset = before - start / block
    return _Span(first, last - first, start, stop, before, after, begin / block + offset, end / block + offset)
