"""A photo's file -> pixels: which format, how large, which way up, and how finely it must be decoded.

The bytes decide the format. Only `FORMATS` ever reach a decoder. Four things are checked before a pixel is decoded: the
number of the file's parts (`limits`), the size of the photo, the time that it will take (`work`), and whether the file
is whole (`integrity`). All functions are safe to call from many threads.
"""

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from PIL import (
    AvifImagePlugin,
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
from service.photos.colours import bands, to_rgb
from service.photos.integrity import check_whole
from service.photos.limits import JPEG_END, MAX_PARSED_BYTES, Pieces, check_parts, check_tiles, has_all_scans
from service.photos.signatures import ADVICE, kind_of
from service.photos.work import check_work

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


def _open_jpeg(file: io.BytesIO) -> Image.Image:
    image = JpegImagePlugin.JpegImageFile(file)
    if image.mode == "CMYK" and "adobe" not in image.info:  # Adobe alone stores ink as its absence
        image.tile = [tile._replace(args=("CMYK", "")) for tile in image.tile]
    return image


def _open_tiff(file: io.BytesIO) -> Image.Image:
    image = TiffImagePlugin.TiffImageFile(file)
    image.is_animated = True  # of one picture only, Pillow reads all numbers in EXIF's directories, however many
    return image


# The plugins' own classes rather than Image.open, whose size check comes first, warns, and does not tell the size.
_OPENERS: Final[dict[str, _Opener]] = {
    "JPEG": _open_jpeg,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": _open_tiff,
    "BMP": BmpImagePlugin.BmpImageFile,
}
if AvifImagePlugin.SUPPORTED:
    _OPENERS["AVIF"] = AvifImagePlugin.AvifImageFile
try:
    from pillow_heif import HeifImageFile
except ImportError:  # the extra "heif" is not installed
    pass
else:
    _OPENERS["HEIC"] = HeifImageFile

FORMATS: Final = tuple(_OPENERS)
"""The formats that are read, the first frame of each."""

MAX_SIDE: Final = 65_535
"""Longest side of a photo, JPEG's own limit: decoders copy a row again and again while it comes in."""

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

_EXIF: Final = ("exif", "Raw profile type exif")  # where Pillow keeps EXIF data

_FILLING: Final = b"\xd7" * 64  # where pixels are missing, libjpeg makes up zeros

_LARGEST_REDUCTION: Final = 8  # of libjpeg, which shrinks by 2, 4 or 8 while it decodes


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Photo:
    """A decoded photo, upright.

    Attributes:
        pixels: RGB, at 1 / `reduction` of the photo's size.
        width: Of the photo as a person sees it, in pixels.
        height: Of the photo as a person sees it, in pixels.
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
    kind = kind_of(data) or "other"
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
        height: Of the photo as a person sees it, in pixels.
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
        name, image = _open(data, max_pixels)
        _check_size(image.width, image.height, max_pixels)
        check_tiles(name, image)
        with _decoding(name):
            check_work(name, image, data, max_pixels)
            check_whole(name, data)
            orientation = _orientation(name, image)
        width, height = image.size
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
        with _decoding(self.name):
            reduction = self._reduction(step)
            rgb = to_rgb(self._load(reduction), background)
            turn = _TURNS.get(self.orientation)
            upright = rgb if turn is None else rgb.transpose(turn)
        return Photo(upright, self.width, self.height, reduction)

    def _load(self, reduction: int) -> Image.Image:
        """The pixels as the file has them, of a JPEG at a fraction of its size."""
        file = getattr(self.image, "fp", None)
        if self.name == "JPEG" and isinstance(file, Pieces) and file.getvalue().rfind(JPEG_END, file.tell()) < 0:
            return _load_endless(file.getvalue(), reduction)
        _load_reduced(self.image, reduction)
        return self.image

    def _reduction(self, step: float) -> int:
        """How many photo pixels may become one, along each axis, while libjpeg decodes."""
        reduction = _LARGEST_REDUCTION
        while reduction > 1 and not self._may_reduce(reduction, step):
            reduction //= 2
        return reduction

    def _may_reduce(self, reduction: int, step: float) -> bool:
        """Whether a scale is fine enough; the last pixel, if cut, must stay the last when the photo is turned."""
        width, height = self.image.size
        least = SHARP if reduction == 2 else FAITHFUL  # halved photos are small, and are to take little time
        is_exact = self.orientation == 1 or width % reduction == height % reduction == 0
        is_fine = step >= reduction * least and min(width, height) >= reduction
        return self.name == "JPEG" and is_exact and is_fine


def _open(data: bytes, max_pixels: int) -> tuple[str, Image.Image]:
    if not data:
        raise Malformed("the photo is empty: 0 bytes, at least 1 is needed")
    name = kind_of(data)
    if name not in _OPENERS:
        raise _not_read(name, data)
    check_parts(name, data, max_pixels)
    with _decoding(name):
        try:
            return name, _OPENERS[name](Pieces(data, name))
        except Image.DecompressionBombError:  # before it says how many
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
            raise TooLarge(f"the photo has more than {most:,} pixels; the limit is {max_pixels:,}") from None


def _not_read(name: str | None, data: bytes) -> NotAnImage:
    formats = ", ".join(FORMATS)
    if name is None:
        return NotAnImage(f"the {len(data):,} bytes are not a photo in any of the formats {formats}")
    return NotAnImage(f"the file is {name}, which is not read: {ADVICE[name]}; the formats are {formats}")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooLarge(f"the photo has {width} x {height} = {width * height:,} pixels; the limit is {max_pixels:,}")
    if max(width, height) > MAX_SIDE:
        raise TooLarge(f"the photo has {width} x {height} pixels; the limit of a side is {MAX_SIDE:,}")


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """A decoder's errors as problems. Decoders raise anything on broken files: OSError, SyntaxError, IndexError..."""
    try:
        yield
    except (MemoryError, ServiceError):
        raise  # our own failure, not the photo's, or said already
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        what = "is truncated" if "truncated" in reason.lower() else "cannot be decoded"
        raise Malformed(f"the {name} photo {what}: {reason}") from error


def _load_reduced(image: Image.Image, reduction: int) -> None:
    if reduction > 1:
        image.draft(None, (image.width // reduction, image.height // reduction))
    image.load()


def _load_endless(data: bytes, reduction: int) -> Image.Image:
    """A JPEG that lacks its end. If nothing else is missing, what stands there changes no pixel.

    Raises:
        Malformed: More is missing.
    """
    body = data.removesuffix(b"\xff")
    image, other = (_open_jpeg(io.BytesIO(body + filling + JPEG_END)) for filling in (b"", _FILLING))
    for each in (image, other):
        _load_reduced(each, reduction)
    is_same = all(image.crop(band).tobytes() == other.crop(band).tobytes() for band in bands(image))
    if not is_same or not has_all_scans(data):
        raise Malformed("the JPEG photo is truncated: its last pixels are missing")
    return image


def _orientation(name: str, image: Image.Image) -> int:
    """The EXIF orientation still to be applied; 1, upright, where there is none or it cannot be read."""
    if name == "TIFF":
        return 1  # the plugin has applied it
    if name == "PNG" and "exif" not in image.info:
        image.load()  # they may follow the pixels
    if any(len(image.info.get(key) or b"") > MAX_PARSED_BYTES for key in _EXIF):
        return 1  # a value that fills them takes Pillow seconds
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF data raise anything, and a photo without them is still a photo
        return 1
