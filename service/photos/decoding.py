"""A photo's file -> pixels: which format, how large, which way up, and how finely it must be decoded.

The bytes decide the format. Only `FORMATS` are ever handed to a decoder, and of how many parts the file is (`parts`)
and how large the photo is are checked before a pixel is decoded. All functions are safe to call from many threads.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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

from models.spec.crop import OUTSIDE_COLOUR
from service.errors import Malformed, NotAnImage, ServiceError, TooLarge
from service.photos.limits import MAX_PARSED_BYTES, Pieces, check_parts, check_tiles

_Opener = Callable[[io.BytesIO], Image.Image]


@dataclass(frozen=True, slots=True)
class Cost:
    """What the time of decoding a photo depends on, known before it is decoded.

    Attributes:
        kind: Photos of one kind take times in proportion to their amounts.
        amount: Pixels, or bytes of those formats whose time is their entropy coding's, or whose size stands anywhere.
    """

    kind: str
    amount: float


def _open_tiff(file: io.BytesIO) -> Image.Image:
    image = TiffImagePlugin.TiffImageFile(file)
    image.is_animated = True  # of one picture only, Pillow reads all numbers in EXIF's directories, however many
    return image


# The plugins' own classes rather than Image.open, whose size check comes first, warns, and does not tell the size.
_OPENERS: Final[dict[str, tuple[Callable[[bytes], bool], _Opener]]] = {
    "JPEG": (lambda head: head.startswith(b"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    "PNG": (lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    "WebP": (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", WebPImagePlugin.WebPImageFile),
    "GIF": (lambda head: head.startswith((b"GIF87a", b"GIF89a")), GifImagePlugin.GifImageFile),
    "TIFF": (lambda head: head.startswith((b"II*\0", b"MM\0*")), _open_tiff),
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

_QUARTER_TURNS: Final = (5, 6, 7, 8)
"""Orientations that exchange width and height."""

SHARP: Final = 1.25
"""A crop gets no fewer decoded pixels for each of its own than this where there are more: libjpeg
averages what it leaves out.

Against decoding whole, half of the joints of 48 of MPII's development people move by less than 0.16 input pixels, less
than int8 moves them, and PCKh by -0.2 to +0.3 points; 640 x 480 with a box takes half of the time.
"""

FAITHFUL: Final = 2.0
"""A crop keeps as many when more than half is left out: values are off by 0.2 of 255 on average, and not by 0.9."""

_BAND_PIXELS: Final = 2**19  # converted to RGB at a time

_LARGEST_REDUCTION: Final = 8  # of libjpeg, which shrinks by 2, 4 or 8 while it decodes


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Photo:
    """A decoded photo, upright.

    Attributes:
        pixels: RGB, at 1 / `reduction` of the photo's size.
        width: Of the photo as a person sees it, in pixels.
        height: Likewise.
        reduction: Photo pixels in a decoded pixel, along each axis: 1, 2, 4 or 8.
    """

    pixels: Image.Image
    width: int
    height: int
    reduction: int


_SIZES: Final = {"PNG": (16, ">II"), "GIF": (6, "<HH"), "BMP": (18, "<ii")}  # where width and height stand, and how


def predict_cost(data: bytes, max_pixels: int) -> Cost:
    """What decoding will cost, by the first bytes alone: the event loop has no time for more.

    Args:
        data: Any bytes.
        max_pixels: Photos of more are refused, which costs nothing.
    """
    kind = next((name for name, (matches, _) in _OPENERS.items() if matches(data[:16])), "other")
    offset, layout = _SIZES.get(kind, (0, ""))
    if not layout or len(data) < offset + struct.calcsize(layout):
        return Cost(kind, len(data))
    width, height = struct.unpack_from(layout, data, offset)
    pixels = abs(width * height)
    return Cost(kind, pixels if pixels <= max_pixels else 0)


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """A photo's first frame in RGB, whole, turned as its EXIF orientation says.

    Args:
        data: A whole file in one of `FORMATS`.
        max_pixels: Most pixels (width x height) to decode.

    Raises:
        NotAnImage: The bytes are in none of `FORMATS`.
        Malformed: There are no bytes, or they are truncated or broken.
        TooLarge: The header tells of more pixels than the limit.
    """
    return PhotoFile.open(data, max_pixels).decode().pixels


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A photo's file with its header read.

    Attributes:
        name: Its format.
        image: Pillow's image, not yet decoded.
        orientation: EXIF's, still to be applied.
        width: Of the photo as a person sees it, in pixels.
        height: Likewise.
    """

    name: str
    image: Image.Image
    orientation: int
    width: int
    height: int

    @classmethod
    def open(cls, data: bytes, max_pixels: int) -> Self:
        """Read a photo's header.

        Args:
            data: A whole file in one of `FORMATS`.
            max_pixels: Most pixels (width x height) to accept.

        Raises:
            NotAnImage: The bytes are in none of `FORMATS`.
            Malformed: There are no bytes, the header is broken, or the file has more parts than any encoder makes.
            TooLarge: The header tells of more pixels than the limit.
        """
        name, image = _open(data)
        width, height = image.size
        if width * height > max_pixels:
            pixels = f"{width} x {height} = {width * height:,} pixels"
            raise TooLarge(f"the photo has {pixels}; the limit is {max_pixels:,}")
        check_tiles(name, image)
        orientation = _orientation(name, image)
        if orientation in _QUARTER_TURNS:
            width, height = height, width
        return cls(name, image, orientation, width, height)

    def decode(self, step: float = 0.0, background: tuple[int, int, int] = OUTSIDE_COLOUR) -> Photo:
        """The upright pixels, of a JPEG at the smallest scale that is sharp enough.

        Args:
            step: Photo pixels for each pixel of the finest crop to be cut out; 0 decodes at full scale.
            background: Colour (RGB) of what is transparent.

        Raises:
            Malformed: The file is truncated or broken, or has more parts than any encoder makes.
        """
        try:
            reduction = self._reduce(step)
            self.image.load()
            rgb = _to_rgb(self.image, background)
            turn = _TURNS.get(self.orientation)
            upright = rgb if turn is None else rgb.transpose(turn)
        except (MemoryError, ServiceError):
            raise  # our own failure, not the photo's, or already told
        except Exception as error:
            raise _broken(self.name, error) from error
        return Photo(upright, self.width, self.height, reduction)

    def _reduce(self, step: float) -> int:
        """Let libjpeg decode at the smallest scale that is sharp enough; how many photo pixels become one."""
        reduction, (width, height) = _LARGEST_REDUCTION, self.image.size
        while reduction > 1 and not self._may_reduce(reduction, step):
            reduction //= 2
        if reduction > 1:
            self.image.draft(None, (width // reduction, height // reduction))
        return reduction

    def _may_reduce(self, reduction: int, step: float) -> bool:
        """Whether a scale is fine enough; the last pixel, if cut, must stay the last when the photo is turned."""
        width, height = self.image.size
        least = SHARP if reduction == 2 else FAITHFUL  # halved photos are small, and are to take little time
        is_exact = self.orientation == 1 or width % reduction == height % reduction == 0
        is_fine = step >= reduction * least and min(width, height) >= reduction
        return self.name == "JPEG" and is_exact and is_fine


def _open(data: bytes) -> tuple[str, Image.Image]:
    if not data:
        raise Malformed("the photo is empty: 0 bytes, at least 1 is needed")
    for name, (matches, opener) in _OPENERS.items():
        if matches(data[:16]):
            check_parts(name, data)
            # A BMP's run lengths are read two bytes at a time.
            file = io.BytesIO(data) if name == "BMP" else Pieces(data, name)
            try:
                return name, opener(file)
            except ServiceError:
                raise
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
    if len(image.info.get("exif", b"")) > MAX_PARSED_BYTES:
        return 1  # a value that fills them takes Pillow seconds
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except ServiceError:
        raise  # Pillow decodes a PNG to look for them
    except Exception:  # broken EXIF data raise anything, and a photo without them is still a photo
        return 1


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Any mode to RGB, band by band: what a whole photo would need in between is many times the photo."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    rows = max(1, _BAND_PIXELS // image.width)
    bands = [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]
    convert: Callable[[Image.Image], Image.Image] = partial(_opaque, background=background)
    if image.mode.startswith(("I", "F")):
        lows, highs = zip(*(_range(np.asarray(image.crop(band))) for band in bands), strict=True)
        convert = partial(_scaled, low=min(lows), high=max(highs))
    rgb = Image.new("RGB", image.size)
    for band in bands:
        rgb.paste(convert(image.crop(band)), band)
    return rgb


def _opaque(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """8 bits a channel to RGB; what is transparent becomes the background."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    colours = image.convert("RGBA")
    rgb = Image.new("RGB", image.size, background)
    rgb.paste(colours, mask=colours.getchannel("A"))
    return rgb


def _scaled(image: Image.Image, low: float, high: float) -> Image.Image:
    """Grey of more than 8 bits to RGB, `low` black and `high` white."""
    scaled = (_finite(np.asarray(image)) - low) * np.float32(255 / max(high - low, 1e-12))
    return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")


def _range(grey: NDArray[np.generic]) -> tuple[float, float]:
    """Black and white: of unsigned 16 bits the range of the type, of everything else the extremes."""
    values = _finite(grey)
    return (0.0, 65535.0) if grey.dtype.kind == "u" else (float(values.min()), float(values.max()))


def _finite(grey: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.clip(np.nan_to_num(grey.astype(np.float32)), -1e30, 1e30)
