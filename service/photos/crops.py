"""A photo's way in: bytes -> pixels -> the crops of its people. All functions are safe to call from many threads."""

import math
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.spec.crop import INPUT_SIZE, OUTSIDE_COLOUR, Box, Crop
from service.errors import BadOption
from service.photos.decoding import SHARP_PX, Photo, PhotoFile

_BYTES_PER_PIXEL: Final = 4  # of Pillow's RGB

_SMALLEST_SIDE_PX: Final = 0.01
"""Smaller crops are sampled as if of this size: Pillow keeps the edges of a window in single precision."""

_THINNEST: Final = 1 / 32
"""Thickness of the thinnest photo that is drawn, in output pixels; a thinner one changes none by more than 4 levels."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A photo's crops, ready for the network.

    Attributes:
        width: Of the photo as a person sees it, in pixels.
        height: Likewise.
        people: Box and crop of each person, in photo pixels.
        pixels: uint8 [N, 224, 224, 3], RGB.
        decode_seconds: From bytes to pixels.
        crop_seconds: From pixels to crops.
        photo: The decoded photo, where it was kept.
    """

    width: int
    height: int
    people: tuple[tuple[Box, Crop], ...]
    pixels: NDArray[np.uint8]
    decode_seconds: float
    crop_seconds: float
    photo: Photo | None = None

    @property
    def crops(self) -> list[Crop]:
        """The crop of each person."""
        return [crop for _, crop in self.people]


Keep = Callable[[Photo], bool]
"""Whether a decoded photo is kept for closer looks."""


class KeptPhotos:
    """Keeps decoded photos while there is room; what is not kept must be decoded again. Many threads may use it.

    Args:
        most_bytes: Of all photos together.
    """

    def __init__(self, most_bytes: float) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.RLock()  # a photo may end in the middle of `keep`

    def keep(self, photo: Photo) -> bool:
        """Whether there is room for the photo; it takes that room as long as it lives."""
        count = photo.pixels.width * photo.pixels.height * _BYTES_PER_PIXEL
        with self._lock:
            if self._bytes + count > self._most_bytes:
                return False
            self._bytes += count
        weakref.finalize(photo, self._give_back, count)
        return True

    def _give_back(self, count: int) -> None:
        with self._lock:
            self._bytes -= count


def prepare(data: bytes, boxes: Sequence[Box], max_pixels: int, keep: Keep | None = None) -> Prepared:
    """Decode a photo and cut out its people; without boxes, the whole photo.

    Args:
        data: A whole file in one of `FORMATS`.
        boxes: One for each person, in photo pixels.
        max_pixels: Most pixels (width x height) to decode.
        keep: Given where `recut` will look closer: decodes for crops of half the side.

    Raises:
        Malformed, NotAnImage, TooLarge: As `service.photos.decoding` raises them.
        BadOption: A box lies outside the photo.
    """
    start = time.perf_counter()
    file = PhotoFile.open(data, max_pixels)
    _check_boxes(boxes, file.width, file.height)
    whole = (Box(0, 0, file.width, file.height), Crop.whole(file.width, file.height))
    people = tuple((box, Crop.around(box)) for box in boxes) or (whole,)
    photo = file.decode(_needed_px([crop for _, crop in people]) / (2 if keep else 1))
    kept = photo if keep and keep(photo) else None
    return _cut_out(photo, people, time.perf_counter() - start, kept)


def recut(data: bytes, prepared: Prepared, crops: Sequence[Crop], max_pixels: int, keep: Keep) -> Prepared:
    """The same people with other crops, one for each; a photo that was not kept, or too coarsely, is decoded again."""
    start = time.perf_counter()
    photo = kept = prepared.photo  # good enough with `SHARP_PX`: decoding once more takes longer than it gives
    if photo is None or photo.reduction > max(1.0, _needed_px(crops) / SHARP_PX):
        photo = PhotoFile.open(data, max_pixels).decode(_needed_px(crops))
        kept = photo if keep(photo) else None
    people = tuple((box, crop) for (box, _), crop in zip(prepared.people, crops, strict=True))
    return _cut_out(photo, people, time.perf_counter() - start, kept)


def _needed_px(crops: Sequence[Crop]) -> float:
    """The side of the smallest crop, in photo pixels: what decides how coarsely a photo may be decoded."""
    return min(crop.side for crop in crops)


def cut_reduced(photo: Photo, crop: Crop) -> NDArray[np.uint8]:
    """`cut` a square of photo pixels from a photo that may have been decoded at a smaller scale."""
    scale = 1 / photo.reduction
    return cut(photo.pixels, Crop(crop.x * scale, crop.y * scale, crop.side * scale))


def _cut_out(photo: Photo, people: tuple[tuple[Box, Crop], ...], decode_seconds: float, kept: Photo | None) -> Prepared:
    start = time.perf_counter()
    pixels = np.stack([cut_reduced(photo, crop) for _, crop in people])
    return Prepared(photo.width, photo.height, people, pixels, decode_seconds, time.perf_counter() - start, kept)


def _check_boxes(boxes: Sequence[Box], width: int, height: int) -> None:
    for index, box in enumerate(boxes):
        if not box.overlaps(width, height):
            told = f"[{box.x:g}, {box.y:g}, {box.width:g}, {box.height:g}]"
            raise BadOption(f"box {index}, {told}, lies outside the photo of {width} x {height} pixels")


def cut(photo: Image.Image, crop: Crop) -> NDArray[np.uint8]:
    """Resample a square of photo pixels to the network's input, uint8 [224, 224, 3].

    Enlarging is bilinear. Shrinking averages areas: whole blocks of pixels first, then a triangle twice as wide as an
    output pixel, so nothing aliases. What lies outside the photo is `OUTSIDE_COLOUR`. Only the part of the photo
    under the square is touched, so neither memory nor time grows with the square.
    """
    canvas = Image.new("RGB", (INPUT_SIZE, INPUT_SIZE), OUTSIDE_COLOUR)
    side = max(crop.side, _SMALLEST_SIDE_PX)
    if min(photo.size) >= side / INPUT_SIZE * _THINNEST:
        x, y = _Axis.over(crop.x, side, photo.width), _Axis.over(crop.y, side, photo.height)
        patch = photo.reduce((x.factor, y.factor), (x.start, y.start, x.stop, y.stop))
        padded = Image.new("RGB", (x.before + patch.width + x.after, y.before + patch.height + y.after), OUTSIDE_COLOUR)
        padded.paste(patch, (x.before, y.before))
        window = (x.window[0], y.window[0], x.window[1], y.window[1])
        cells = padded.resize((x.cells, y.cells), Image.Resampling.BILINEAR, window)
        canvas.paste(cells, (x.first_cell, y.first_cell))
    return np.asarray(canvas)


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of a crop: the output pixels that the photo reaches ("cells"), and the photo pixels that they need.

    Attributes:
        first_cell: First output pixel that the photo reaches.
        cells: How many it reaches.
        start: First photo pixel that they need.
        stop: One past the last.
        factor: Photo pixels averaged into one before resampling.
        before: What lies outside the photo in front of `start`, in averaged pixels.
        after: Likewise behind `stop`.
        window: Begin and end of the cells, in averaged pixels from the beginning of `before`.
    """

    first_cell: int
    cells: int
    start: int
    stop: int
    factor: int
    before: int
    after: int
    window: tuple[float, float]

    @classmethod
    def over(cls, origin: float, side: float, length: int) -> Self:
        """The axis of a crop from `origin` to `origin + side`, over a photo of `length` pixels that it overlaps."""
        step = side / INPUT_SIZE
        first_cell = max(0, min(INPUT_SIZE - 1, math.floor(-origin / step) - 1))
        last_cell = min(INPUT_SIZE, max(first_cell + 1, math.ceil((length - origin) / step) + 1))
        begin, end = origin + first_cell * step, origin + last_cell * step
        reach = 1.5 * step + 2  # half the triangle's width, and the blocks that the averaging cuts
        start = max(0, min(length - 1, math.floor(begin - reach)))
        stop = min(length, max(start + 1, math.ceil(end + reach)))
        factor = max(1, min(int(step / 2), stop - start))
        before = max(0, math.ceil((start - begin + reach) / factor))
        after = max(0, math.ceil((end + reach - stop) / factor))
        offset = before - start / factor
        window = (begin / factor + offset, end / factor + offset)
        return cls(first_cell, last_cell - first_cell, start, stop, factor, before, after, window)
