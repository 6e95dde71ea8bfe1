"""A decoded picture's colours -> RGB: transparency, palettes, print colours, and grey of up to 32 bits."""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BAND_PIXELS: Final = 2**19  # converted to RGB at a time

_FULL_16_BITS: Final = 2**14
"""Grey of 16 bits whose brightest pixel is below this holds 14 bits or fewer, as cameras' and scanners' do."""


def bands(image: Image.Image) -> list[tuple[int, int, int, int]]:
    """A picture from top to bottom in rectangles (left, top, right, bottom) that take little memory."""
    rows = max(1, _BAND_PIXELS // image.width)
    return [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]


def to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Any mode to RGB, band by band: what a whole photo would need in between is many times the photo.

    Args:
        image: Decoded.
        background: Colour (RGB) of what is transparent.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    convert: Callable[[Image.Image], Image.Image] = partial(_opaque, background=background)
    if image.mode.startswith(("I", "F")):
        lows, highs = zip(*(_extremes(np.asarray(image.crop(band))) for band in bands(image)), strict=True)
        low, high = min(lows), max(highs)
        if not image.mode.startswith("I;16"):
            convert = partial(_stretched, low=low, high=high)
        else:
            low, high = (low, high) if high < _FULL_16_BITS else (0, 65535)
            convert = partial(_looked_up, levels=_levels(np.arange(2**16), low, high))
    rgb = Image.new("RGB", image.size)
    for band in bands(image):
        rgb.paste(convert(image.crop(band)), band)
    return rgb


def _opaque(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """8 bits a channel to RGB; what is transparent becomes the background."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    colours = image if image.mode == "RGBA" else image.convert("RGBA")
    rgb = Image.new("RGB", image.size, background)
    rgb.paste(colours, mask=colours)  # its own alpha, taken out while it is pasted
    return rgb


def _stretched(image: Image.Image, low: float, high: float) -> Image.Image:
    return Image.fromarray(_levels(np.asarray(image), low, high)).convert("RGB")


def _looked_up(image: Image.Image, levels: NDArray[np.uint8]) -> Image.Image:
    """16 bits to RGB by a table, which takes a tenth of the time."""
    return Image.fromarray(levels[np.asarray(image)]).convert("RGB")


def _levels(grey: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    """Grey in 8 bits, `low` black and `high` white."""
    scaled: NDArray[np.float32] = (_finite(grey) - low) * np.float32(255 / max(high - low, 1e-12))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _extremes(grey: NDArray[np.generic]) -> tuple[float, float]:
    values = grey if grey.dtype.kind == "u" else _finite(grey)
    return float(values.min()), float(values.max())


def _finite(grey: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.clip(np.nan_to_num(grey.astype(np.float32)), -1e30, 1e30)
