"""The photos that are sent: one person, small and large, with and without a box."""

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.spec.crop import Box, Crop, CropRule
from service.photos.crops import KeptPhotos, PhotoSource
from tests.benchmarks.wire import Call

_ASTRONAUT: Final = Path(__file__).parents[1] / "photos" / "astronaut.jpg"
_PART: Final = (0, 0, 512, 384)  # of the photo, in the cameras' format of 4:3
_PERSON: Final = (60, 10, 300, 374)
_MAX_PIXELS: Final = 2**26  # the service's default


@dataclass(frozen=True)
class Photo:
    """A photo of one person.

    Attributes:
        name: Its size in pixels, and whether a box comes with it.
        data: JPEG of quality 90.
        boxes: The person's box in photo pixels, or none: the whole photo is asked for.
    """

    name: str
    data: bytes
    boxes: tuple[Box, ...]

    def cut(self) -> NDArray[np.uint8]:
        """Decode the photo and cut its crop out as the service does, uint8 [1, 224, 224, 3]."""
        source = PhotoSource(self.data, CropRule(), _MAX_PIXELS, KeptPhotos(0))
        crops = [Crop.around(box) for box in self.boxes] or [Crop.whole(source.width, source.height)]
        return source.cut(crops)[0]

    @property
    def call(self) -> Call:
        """The request to our service."""
        boxes = ";".join(f"{box.x:g},{box.y:g},{box.width:g},{box.height:g}" for box in self.boxes)
        return Call(f"/pose?boxes={boxes}" if boxes else "/pose?find=none", self.data)


@cache
def small_photo() -> Photo:
    """640 x 480 pixels, with a box: the photo of most figures."""
    return _photo(640, 480)


@cache
def large_photo() -> Photo:
    """4000 x 3000 pixels, with a box."""
    return _photo(4000, 3000)


def whole(photo: Photo) -> Photo:
    """The same photo without its box, looked at once: whether a closer look is taken may depend on the size."""
    return Photo(photo.name.replace("a box", "whole"), photo.data, ())


def _photo(width: int, height: int) -> Photo:
    scale = width / _PART[2]
    with Image.open(_ASTRONAUT) as astronaut:
        photo = astronaut.crop(_PART).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90)
    return Photo(f"{width} x {height}, a box", file.getvalue(), (Box(*(side * scale for side in _PERSON)),))
