"""Crops of a photo's file, one cut after the other. Functions and classes are safe to use from many threads."""

import threading
import time
import weakref
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.spec.crop import Crop, CropRule, cut
from service.photos.decoding import SHARP, Photo, PhotoFile

_BYTES_PER_PIXEL: Final = 4  # of Pillow's RGB


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


class PhotoSource:
    """A photo's file from which crops are cut, again and again: decoded as finely as each cut needs.

    Args:
        data: A whole file in one of `FORMATS`.
        rule: How the network wants its crops.
        max_pixels: Most pixels (width x height) to decode.
        kept: Where the decoded photo may wait for the next cut.

    Attributes:
        width: Of the photo as a person sees it, in pixels.
        height: Of the photo as a person sees it, in pixels.

    Raises:
        Malformed: There are no bytes, the header is broken, or the file has more parts than any encoder makes.
        NotAnImage: The bytes are in none of `FORMATS`.
        TooLarge: The photo has more pixels, or would take longer to decode, than the limits.
    """

    def __init__(self, data: bytes, rule: CropRule, max_pixels: int, kept: KeptPhotos) -> None:
        self._data, self._rule, self._max_pixels, self._kept = data, rule, max_pixels, kept
        self._file: PhotoFile | None = PhotoFile.open(data, max_pixels)
        self._photo: Photo | None = None
        self.width, self.height = self._file.width, self._file.height

    def cut(
        self, crops: Sequence[Crop], is_last: bool = True, rule: CropRule | None = None
    ) -> tuple[NDArray[np.uint8], float]:
        """Cut squares of photo pixels out.

        Args:
            crops: At least one.
            is_last: Whether no more will be cut; else the photo is kept if there is room, and decoded twice as finely
                for a closer pass of the same network.
            rule: How another network wants its crops; what the next pass needs does not follow from them.

        Returns:
            The crops uint8 [N, size, size, 3], RGB, and the seconds that it took without those of decoding.

        Raises:
            Malformed: The file is truncated or broken, or has more parts than any encoder makes.
        """
        size, outside = (rule or self._rule).size, (rule or self._rule).outside
        step = min(crop.side for crop in crops) / size
        photo = self._decode(step, step if is_last or rule else step / 2, keep=not is_last)
        start = time.perf_counter()
        scale = 1 / photo.reduction
        squares = (Crop(crop.x * scale, crop.y * scale, crop.side * scale) for crop in crops)
        pixels = np.stack([cut(photo.pixels, square, size, outside) for square in squares])
        return pixels, time.perf_counter() - start

    @property
    def is_decoded(self) -> bool:
        """Whether the decoded photo is kept for the next cut."""
        return self._photo is not None

    def _decode(self, step: float, next_step: float, keep: bool) -> Photo:
        """The kept photo if it is fine enough, else a newly decoded one, fine enough for the next cut too.

        `step` is photo pixels a crop's pixel, of this cut and of the next.
        """
        photo = self._photo  # good enough with `SHARP`: decoding once more takes longer than it gives
        if photo is None or photo.reduction > max(1.0, step / SHARP):
            file = self._file or PhotoFile.open(self._data, self._max_pixels)
            self._file = None  # Pillow decodes a file once
            photo = file.decode(next_step, self._rule.outside)
            self._photo = photo if keep and self._kept.keep(photo) else None
        return photo
