"""What a request may ask for: the same names and the same rules in a query, a form and a JSON body."""

import json
import math
import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from models.spec.crop import Box
from service.errors import BadOption
from service.poses.refine import LOOKS

NAMES: Final = ("boxes", "heatmaps", "flip", "refine")
"""The options of `POST /pose`."""

LARGEST_BOX_PX: Final = 1e9
"""Longest side of a box, in photo pixels: beyond every photo, and well within what arithmetic keeps exact."""

_LONGEST_TEXT: Final = 64 * 1024
"""Characters of an option's text: more than any allowed number of boxes needs, and parsed in no time."""

# Possessive: digits once passed are never tried again, or a letter behind n of them would cost n * n steps.
_NUMBER: Final = re.compile(r"\s*+[+-]?(\d++(\.\d*+)?|\.\d++)([eE][+-]?\d++)?\s*+", re.ASCII)
_SIDES: Final = ("x", "y", "width", "height")


@dataclass(frozen=True, slots=True)
class Options:
    """What a request asks for.

    Attributes:
        boxes: People's boxes in photo pixels; none means the whole photo.
        heatmaps: Whether the answer carries the heatmaps.
        flip: Whether each crop's mirror image is looked at too, and both heatmaps averaged.
        refine: Whether a first pass finds the crops that closer ones look at, and without boxes one from a distance.
    """

    boxes: tuple[Box, ...] = ()
    heatmaps: bool = False
    flip: bool = False
    refine: bool = False

    @property
    def images(self) -> int:
        """How many images the network is given for a photo, at most."""
        return max(1, len(self.boxes)) * (1 + self.flip) * self.looks

    @property
    def looks(self) -> int:
        """How many looks at a photo there are, one after the other, at most."""
        return 1 + len(LOOKS) * self.refine + self.from_a_distance

    @property
    def from_a_distance(self) -> bool:
        """Whether the last look is at a square much larger than the photo: a box tells where a body ends."""
        return self.refine and not self.boxes


def parse_options(given: Iterable[tuple[str, Any]], max_boxes: int) -> Options:
    """Read options from name-value pairs, in the order of query, then body.

    Values are text (a query or a form) or what JSON holds, where null counts as left out. An option may be given once
    only, wherever it stands.
    Without boxes, `refine` is on unless it is turned off.

    Raises:
        BadOption: An option is unknown, is given twice, or has a value out of range.
    """
    values: dict[str, Any] = {}
    for name, value in given:
        if name not in NAMES:
            raise BadOption(f"the option {_quoted(name)} is unknown; the options are {', '.join(NAMES)}")
        if isinstance(value, str) and len(value) > _LONGEST_TEXT:
            raise BadOption(f"the option {name} has {len(value):,} characters; the limit is {_LONGEST_TEXT:,}")
        if value is None:
            continue
        if name in values:
            raise BadOption(f"the option {name} is given twice; give it once, in the query or in the body")
        values[name] = value
    flags = {name: parse_flag(name, value) for name, value in values.items() if name != "boxes"}
    boxes = parse_boxes(values["boxes"], max_boxes) if "boxes" in values else ()
    return Options(boxes, **{"refine": not boxes, **flags})


def parse_flag(name: str, value: Any) -> bool:
    """A boolean, or the words `true` and `false`.

    Raises:
        BadOption: It is neither.
    """
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise BadOption(f"the option {name} is {_quoted(value)}; it must be true or false")


def parse_boxes(value: Any, max_boxes: int) -> tuple[Box, ...]:
    """Boxes from a list of `[x, y, width, height]`, from JSON text of one, or from `x,y,w,h;x,y,w,h`.

    Raises:
        BadOption: A box is not four finite numbers, or has no area, or there are none or too many.
    """
    rows = _rows_of_text(value) if isinstance(value, str) else value
    if not isinstance(rows, list):
        raise BadOption(f"the option boxes is {_quoted(value)}; it must be a list of [x, y, width, height]")
    if not rows:
        raise BadOption("the option boxes is empty; leave it out to use the whole photo")
    if len(rows) > max_boxes:
        raise BadOption(f"the request has {len(rows)} boxes; the limit is {max_boxes}")
    return tuple(_box(index, row) for index, row in enumerate(rows))


def _rows_of_text(text: str) -> Any:
    if not text.lstrip().startswith("["):
        return [row.split(",") for row in text.split(";")] if text.strip() else []
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadOption(f"the option boxes is {_quoted(text)}, which is not JSON") from error


def _box(index: int, row: Any) -> Box:
    if not isinstance(row, list) or len(row) != len(_SIDES):
        raise BadOption(f"box {index} is {_quoted(row)}; it must be four numbers: x, y, width, height")
    x, y, width, height = (_number(index, side, value) for side, value in zip(_SIDES, row, strict=True))
    for side, length in (("width", width), ("height", height)):
        if length <= 0:
            raise BadOption(f"box {index} has {side} {length:g}; it must be greater than 0")
        if length > LARGEST_BOX_PX:
            raise BadOption(f"box {index} has {side} {length:g}; the limit is {LARGEST_BOX_PX:g} photo pixels")
    return Box(x, y, width, height)


def _number(index: int, side: str, value: Any) -> float:
    number = _to_float(value)
    if not math.isfinite(number):
        raise BadOption(f"box {index} has {side} {_quoted(value)}; it must be a finite number")
    return number


def _to_float(value: Any) -> float:
    """A number, or a text that spells one; NaN for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _quoted(value: Any) -> str:
    """A client's value, short enough for a sentence."""
    try:
        text = reprlib.repr(value)
    except ValueError:  # more digits than Python prints
        text = "a number too long to print"
    return text if len(text) <= 60 else text[:57] + "..."
