"""A photo's way in: bytes -> header check -> pixels -> crops.

The bytes decide the format. Only `FORMATS` are ever handed to a decoder, and a photo's size is read from its header
and checked before a pixel is decoded. All functions are safe to call from many threads.
"""

import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from models.crop import INPUT_SIZE, OUTSIDE_COLOUR, Box, Crop
from service.problems import BadOption, Malformed, NotAnImage, TooLarge

_Opener = Callable[[io.BytesIO], Image.Image]

# The plugins' own classes rather than Image.open, whose size check comes first, warns, and does not tell the size.
_OPENERS: Final[dict[str, tuple[Callable[[bytes], bool], _Opener]]] = {
    "JPEG": (lambda head: head.startswith(b"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    "PNG": (lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    "WebP": (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", WebPImagePlugin.WebPImageFile),
    "GIF": (lambda head: head.startswith((b"GIF87a", b"GIF89a")), GifImagePlugin.GifImageFile),
    "TIFF": (lambda head: head.startswith((b"II*\0", b"MM\0*")), TiffImagePlugin.TiffImageFile),
    "BMP": (lambda head: head.startswith(b"BM"), BmpImagePlugin.BmpImageFile),
}

FORMATS: Final = tuple(_OPENERS)
"""The formats that are read, the first frame of each."""

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What each EXIF orientation needs to stand upright."""

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
    """

    width: int
    height: int
    people: tuple[tuple[Box, Crop], ...]
    pixels: NDArray[np.uint8]
    decode_seconds: float
    crop_seconds: float


def prepare(data: bytes, boxes: Sequence[Box], max_pixels: int) -> Prepared:
    """Decode a photo and cut out its people; without boxes, the whole photo.

    Raises:
        Malformed, NotAnImage, TooLarge: As `decode` raises them.
        BadOption: A box lies outside the photo.
    """
    start = time.perf_counter()
    photo = decode(data, max_pixels)
    decoded = time.perf_counter()
    _check_boxes(boxes, *photo.size)
    whole = (Box(0, 0, *photo.size), Crop.whole(*photo.size))
    people = tuple((box, Crop.around(box)) for box in boxes) or (whole,)
    pixels = np.stack([cut(photo, crop) for _, crop in people])
    return Prepared(*photo.size, people, pixels, decoded - start, time.perf_counter() - decoded)


def recut(data: bytes, prepared: Prepared, crops: Sequence[Crop], max_pixels: int) -> Prepared:
    """The same people with other crops, one for each; `prepared` itself where all are the same.

    The photo is decoded again: to keep it while the network works would cost its memory for every waiting request. A
    crop that lies beside the photo altogether is not taken: there would be nothing to see.
    """
    sizes = (prepared.width, prepared.height)
    inside = [Box(crop.x, crop.y, crop.side, crop.side).overlaps(*sizes) for crop in crops]
    chosen = [new if ok else old for new, (_, old), ok in zip(crops, prepared.people, inside, strict=True)]
    if chosen == [crop for _, crop in prepared.people]:
        return prepared
    start = time.perf_counter()
    photo = decode(data, max_pixels)
    decoded = time.perf_counter()
    people = tuple((box, crop) for (box, _), crop in zip(prepared.people, chosen, strict=True))
    pixels = np.stack([cut(photo, crop) for crop in chosen])
    return Prepared(*sizes, people, pixels, decoded - start, time.perf_counter() - decoded)


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """A photo's first frame in RGB, turned as its EXIF orientation says.

    Args:
        data: A whole file in one of `FORMATS`.
        max_pixels: Most pixels (width x height) to decode.

    Raises:
        NotAnImage: The bytes are in none of `FORMATS`.
        Malformed: There are no bytes, or they are truncated or broken.
        TooLarge: The header tells of more pixels than the limit.
    """
    name, image = _open(data)
    width, height = image.size
    if width * height > max_pixels:
        pixels = f"{width} x {height} = {width * height:,} pixels"
        raise TooLarge(f"the photo has {pixels}; the limit is {max_pixels:,}")
    try:
        image.load()
        turn = _TURNS.get(_orientation(name, image))
        rgb = _to_rgb(image)
        return rgb if turn is None else rgb.transpose(turn)
    except MemoryError:
        raise  # our own failure, not the photo's
    except Exception as error:
        raise _broken(name, error) from error


def _open(data: bytes) -> tuple[str, Image.Image]:
    if not data:
        raise Malformed("the photo is empty: 0 bytes, at least 1 is needed")
    for name, (matches, opener) in _OPENERS.items():
        if matches(data[:16]):
            try:
                return name, opener(io.BytesIO(data))
            except Exception as error:
                raise _broken(name, error) from error
    raise NotAnImage(f"the {len(data):,} bytes are not a photo in any of the formats {', '.join(FORMATS)}")


def _broken(name: str, error: Exception) -> Malformed:
    """A decoder's error as a problem. Decoders raise anything on broken files: OSError, SyntaxError, IndexError..."""
    told = str(error).strip().splitlines() or [type(error).__name__]
    return Malformed(f"the {name} photo is truncated or broken: {told[0][:200]}")


def _orientation(name: str, image: Image.Image) -> int:
    """The EXIF orientation still to be applied; 1, upright, where there is none or it cannot be read."""
    if name == "TIFF":
        return 1  # the plugin has applied it
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF data raise anything, and a photo without them is still a photo
        return 1


def _check_boxes(boxes: Sequence[Box], width: int, height: int) -> None:
    for index, box in enumerate(boxes):
        if not box.overlaps(width, height):
            told = f"[{box.x:g}, {box.y:g}, {box.width:g}, {box.height:g}]"
            raise BadOption(f"box {index}, {told}, lies outside the photo of {width} x {height} pixels")


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB; what is transparent becomes the colour of what lies outside the photo."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, OUTSIDE_COLOUR)
        rgb.paste(colours, mask=colours.getchannel("A"))
        return rgb
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey values of more than 8 bits, scaled: unsigned 16-bit by its range, everything else from its extremes."""
    values: NDArray[np.float32] = np.clip(np.nan_to_num(grey.astype(np.float32)), -1e30, 1e30)
    low, high = (0.0, 65535.0) if grey.dtype.kind == "u" else (float(values.min()), float(values.max()))
    scaled: NDArray[np.float32] = (values - low) * (255 / max(high - low, 1e-12))
    return np.rint(scaled).astype(np.uint8)


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
