"""The windows of a photo: the squares of it that a finder sees, and from its boxes of their pictures to the photo."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.spec.crop import Crop

_LONGEST_ASPECT: Final = 2.0  # of a photo that is seen as one picture; in longer ones people would be too small
_OVERLAP: Final = 0.5  # of a panorama's squares: whoever is at most half as wide is whole in one of them
_MOST_SQUARES: Final = 16
_NEAR: Final = 0.02  # of a square's side: a box that comes as near to an inner edge is cut by it


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a photo.

    Attributes:
        width: Of the photo, in pixels.
        height: Of the photo.
        size: Side of a square's picture, in pixels; a multiple of the stride.
        stride: The sides of what the finder sees are multiples of it.
    """

    width: int
    height: int
    size: int
    stride: int

    @property
    def squares(self) -> list[Crop]:
        """One around all of the photo, and of a panorama also several along it."""
        short, long = sorted((self.width, self.height))
        whole = Crop.whole(self.width, self.height)
        if long <= _LONGEST_ASPECT * short:
            return [whole]
        count = min(_MOST_SQUARES, 1 + math.ceil((long - short) / (short * (1 - _OVERLAP))))
        starts = np.linspace(0, long - short, count).tolist()
        return [whole, *(Crop(at, 0, short) if self.width > self.height else Crop(0, at, short) for at in starts)]

    @property
    def seen(self) -> tuple[int, int]:
        """Columns and rows of an only picture that the finder sees."""
        cell = max(self.width, self.height) * self.stride
        return -(-self.size * self.width // cell) * self.stride, -(-self.size * self.height // cell) * self.stride

    def trimmed(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The squares' pictures, uint8 [N, size, size, 3]; an only one without padding that the finder need not see."""
        if len(pictures) > 1:
            return pictures
        columns, rows = self.seen
        left, top = self._corner
        return np.ascontiguousarray(pictures[:, top : top + rows, left : left + columns])

    def to_photo(
        self, boxes: NDArray[np.floating], scores: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
        """What a finder says of the pictures, in the photo: cut at its edges, without what an inner edge cuts.

        Args:
            boxes: [N, C, 4] (x, y, width, height), in pixels of each square's trimmed picture.
            scores: [N, C].

        Returns:
            Boxes [n, 4] in photo pixels, all of some area, and their scores [n].
        """
        in_photo = [self._place(square, each) for square, each in zip(self.squares, boxes, strict=True)]
        is_whole = [self._are_whole(square, each) for square, each in zip(self.squares, in_photo, strict=True)]
        chosen = np.concatenate(is_whole)
        return np.concatenate(in_photo)[chosen], np.concatenate(list(scores))[chosen]

    @property
    def _corner(self) -> tuple[int, int]:
        """The first column and row that the finder sees of the squares' pictures: padding is trimmed at both ends."""
        if len(self.squares) > 1:
            return 0, 0
        columns, rows = self.seen
        return (self.size - columns) // 2, (self.size - rows) // 2

    def _place(self, square: Crop, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """Boxes [C, 4] of a square's trimmed picture in photo pixels, cut at the photo's edges."""
        scale, photo = square.side / self.size, (self.width, self.height)
        corner = np.array([square.x, square.y]) + (boxes[:, :2] + np.array(self._corner, np.float64)) * scale
        ends = np.clip(corner + boxes[:, 2:] * scale, 0, photo)
        corner = np.clip(corner, 0, photo)
        return np.concatenate([corner, ends - corner], axis=1)

    def _are_whole(self, square: Crop, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which boxes have an area and no inner edge of the square cuts: another square shows these people."""
        start = np.array([square.x, square.y])
        stop, near = start + square.side, _NEAR * square.side
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        is_cut = ((start > 0) & (low < start + near)) | ((stop < [self.width, self.height]) & (high > stop - near))
        return np.asarray((boxes[:, 2:] > 0).all(axis=1) & ~is_cut.any(axis=1))
