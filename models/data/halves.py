"""The half-bodies packs: photos that end within their person, with the box that a detector draws around what is seen.

A pack is a pair of files as `models.data.pack` has them, one person a line:

    {"id": "mpii_1_hips", "source": "mpii", "file": "1.webp", "width": 320, "height": 240, "cut": "hips",
     "box": [80, 50, 120, 190], "joints": [[x, y, v], ... 16], "head_size": 21.3}

Lengths are picture pixels; v is 0 for a joint that the photo does not show, 1 for a hidden one, else 2.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.data.pack import Example, read_example, read_packs

DEVELOPMENT_HALVES: Final = "halves-dev"
"""The pack for choosing and calibrating, never for training: half bodies of `dev`'s people."""


@dataclass(frozen=True, slots=True)
class HalfBody:
    """A person of whom a photo shows a part, a line of a pack.

    Attributes:
        person: Has the id of the whole person in the people pack, and the box of what is visible. The picture is the
            photo as it is, not a square; `size` is its longer side. Joints that are not labelled are not shown.
        cut: Where the photo ends, such as hips or left.
    """

    person: Example
    cut: str


def read_halves(folder: Path, packs: Iterable[str]) -> Iterator[HalfBody]:
    """Read packs one after the other, in the order of their lines; pictures stay encoded.

    Raises:
        PackError: A file is missing, cut or otherwise broken; or a line lacks something, or says what cannot be.
    """
    return read_packs(folder, packs, _half_body)


def _half_body(line: dict[str, Any], picture: bytes) -> HalfBody:
    cut = str(line["cut"])
    whole = line | {"id": str(line["id"]).removesuffix(f"_{cut}")}
    return HalfBody(read_example(whole, picture, (int(line["width"]), int(line["height"]))), cut)
