"""What a request may ask for: one model for the query, the form, the JSON body, the command line and OpenAPI."""

import json
import math
import re
import reprlib
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, WithJsonSchema

from models.spec.crop import Box
from service.errors import BadOption

LARGEST_BOX_PX: Final = 1e9
"""Farthest corner and longest side of a box, in photo pixels: beyond every photo, and exact in arithmetic."""

_LONGEST_TEXT: Final = 64 * 1024
"""Characters of an option's text: more than any allowed number of boxes needs, and parsed in no time."""

# Possessive: digits once passed are never tried again, or a letter behind n of them would cost n * n steps.
_NUMBER: Final = re.compile(r"\s*+[+-]?(\d{1,9}+(\.\d{0,30}+)?|\.\d{1,30}+)([eE]-\d{1,2})?\s*+", re.ASCII)
_FLAGS: Final = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}
_SIDES: Final = ("x", "y", "width", "height")

_NUMBER_TEXT: Final = r"^\s*[+-]?(\d{1,9}(\.\d{0,30})?|\.\d{1,30})([eE]-\d{1,2})?\s*$"
_LENGTH_TEXT: Final = r"^\s*\+?(?=[0.]*[1-9])(\d{1,9}(\.\d{0,30})?|\.\d{1,30})([eE]-\d{1,2})?\s*$"
_PLACE: Final = {
    "anyOf": [
        {"type": "number", "minimum": -LARGEST_BOX_PX, "maximum": LARGEST_BOX_PX},
        {"type": "string", "pattern": _NUMBER_TEXT},
    ]
}
_LENGTH: Final = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": LARGEST_BOX_PX},
        {"type": "string", "pattern": _LENGTH_TEXT},
    ]
}
BOX_SCHEMA: Final = {
    "type": "array",
    "prefixItems": [_PLACE, _PLACE, _LENGTH, _LENGTH],
    "items": False,
    "minItems": 4,
    "description": "x, y, width, height in photo pixels",
    "examples": [[60, 10, 300, 500]],
}
"""JSON schema of a box in a list."""

_BOXES_SCHEMA: Final = {
    "anyOf": [
        {"type": "array", "items": BOX_SCHEMA, "minItems": 1},
        {"type": "string", "description": "`x,y,width,height`, several separated by `;`, or a JSON list"},
    ]
}
_FLAG_SCHEMA: Final = {"anyOf": [{"type": "boolean"}, {"enum": [*_FLAGS, 1, 0]}]}


def _read_flag(value: Any, info: ValidationInfo) -> bool | None:
    """A boolean, 1 or 0, or one of the words for them.

    Raises:
        BadOption: It is none of these.
    """
    if isinstance(value, bool):
        return value
    flag = _FLAGS.get(str(value)) if isinstance(value, int | str) else None
    if flag is None:
        raise BadOption(f"the option {info.field_name} is {_quoted(value)}; it must be true or false")
    return flag


def _read_boxes(value: Any, info: ValidationInfo) -> tuple[Box, ...]:
    """Boxes from a list of `[x, y, width, height]`, from JSON text of one, or from `x,y,w,h;x,y,w,h`.

    Raises:
        BadOption: A box is not four finite numbers or has no area; there are none or too many; or all are fractions.
    """
    rows = _rows_of_text(value) if isinstance(value, str) else value
    if not isinstance(rows, list | tuple):
        raise BadOption(f"the option boxes is {_quoted(value)}; it must be a list of [x, y, width, height]")
    if not rows:
        raise BadOption("the option boxes is empty; leave it out to have people found, or for find=none")
    most = (info.context or {}).get("max_people", math.inf)
    if len(rows) > most:
        raise BadOption(f"the request has {len(rows)} boxes; the limit is {most}")
    boxes = tuple(_box(index, row) for index, row in enumerate(rows))
    if all(box.x >= 0 and box.y >= 0 and box.x + box.width <= 1 and box.y + box.height <= 1 for box in boxes):
        raise BadOption("all boxes lie within 0 to 1; they must be in photo pixels, not in fractions of the photo")
    return boxes


def _read_find(value: Any, info: ValidationInfo) -> str:
    """One of the words of `Find`.

    Raises:
        BadOption: It is none of these.
    """
    if value not in get_args(Find):
        raise BadOption(f"the option {info.field_name} is {_quoted(value)}; it must be {', '.join(get_args(Find))}")
    return str(value)


Find = Literal["all", "one", "none"]
Flag = Annotated[bool, PlainValidator(_read_flag), WithJsonSchema(_FLAG_SCHEMA)]
Boxes = Annotated[tuple[Box, ...], PlainValidator(_read_boxes), WithJsonSchema(_BOXES_SCHEMA)]


class Options(BaseModel):
    """What a request asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    boxes: Boxes = Field(
        default=(),
        description="A tight box around each person, in photo pixels; each must overlap the photo. Left out: people "
        "are found.",
    )
    find: Annotated[Find, PlainValidator(_read_find), WithJsonSchema({"anyOf": [{"enum": list(get_args(Find))}]})] = (
        Field(
            default="all",
            description="Whom to look for where there are no boxes: all, the main person (one), or nobody (none): the "
            "whole photo is then one person.",
        )
    )
    heatmaps: Flag = Field(default=False, description="Whether the answer carries the heatmaps.")
    flip: Flag = Field(
        default=False,
        description="Whether each crop's mirror image is computed too, and both heatmaps averaged: twice the work.",
    )
    refine: Flag = Field(
        default=False,
        description="Whether a second pass takes a tighter crop around the joints of the first.",
    )

    @property
    def finds(self) -> bool:
        """Whether people are to be looked for."""
        return not self.boxes and self.find != "none"

    @property
    def passes(self) -> int:
        """How many passes over each person there are, one after the other, at most."""
        return 1 + self.refine

    @property
    def images_per_person(self) -> int:
        """How many images the network computes for a person, at most."""
        return (1 + self.flip) * self.passes

    @property
    def images(self) -> int:
        """Most images that the pose network computes for a photo; people yet to be found count as one."""
        return max(1, len(self.boxes)) * self.images_per_person


NAMES: Final = tuple(Options.model_fields)
"""The options of `POST /pose`."""


def parse_options(pairs: Iterable[tuple[str, Any]], max_people: int) -> Options:
    """Read options from name-value pairs, in the order of query, then body.

    Values are text (a query or a form) or what JSON holds, where null counts as left out. An option may occur once
    only, in any of the places.

    Raises:
        BadOption: An option is unknown, occurs twice, or has a value out of range.
    """
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name not in NAMES:
            raise BadOption(f"the option {_quoted(name)} is unknown; the options are {', '.join(NAMES)}")
        if isinstance(value, str) and len(value) > _LONGEST_TEXT:
            raise BadOption(f"the option {name} has {len(value):,} characters; the limit is {_LONGEST_TEXT:,}")
        if value is None:
            continue
        if name in values:
            raise BadOption(f"the option {name} is given twice; give it once, in the query or in the body")
        values[name] = value
    return Options.model_validate(values, context={"max_people": max_people})


def _rows_of_text(text: str) -> Any:
    if not text.lstrip().startswith("["):
        return [row.split(",") for row in text.split(";")] if text.strip() else []
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadOption(f"the option boxes is {_quoted(text)}, which is not JSON") from error


def _box(index: int, row: Any) -> Box:
    if isinstance(row, Box):
        return row
    if not isinstance(row, list) or len(row) != len(_SIDES):
        raise BadOption(f"box {index} is {_quoted(row)}; it must be four numbers: x, y, width, height")
    x, y, width, height = (_number(index, side, value) for side, value in zip(_SIDES, row, strict=True))
    for side, length in (("width", width), ("height", height)):
        if length <= 0:
            raise BadOption(f"box {index} has {side} {length:g}; it must be greater than 0")
    return Box(x, y, width, height)


def _number(index: int, side: str, value: Any) -> float:
    number = _to_float(value)
    if not math.isfinite(number):
        raise BadOption(f"box {index} has {side} {_quoted(value)}; it must be a finite number")
    if abs(number) > LARGEST_BOX_PX:
        raise BadOption(f"box {index} has {side} {number:g}; the limit is {LARGEST_BOX_PX:g} photo pixels")
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
