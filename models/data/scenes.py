"""The scenes pack: whole photos in which every person is boxed, to train and measure a finder on.

A pair of files as the people pack's (`models.data.pack`), one photo a line:

    {"id": "coco_1", "source": "coco", "file": "1.jpg", "width": 464, "height": 309,
     "boxes": [[x, y, width, height, flags], ...], "incomplete": true}

Boxes hold what is visible, in picture pixels. Of the flags, `c` marks a crowd or group and `d` a person hardly to be
seen: to find them is neither right nor wrong. Of an `incomplete` photo some people have no box.
"""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.pack import PackError, read_packs

DEVELOPMENT_SCENES: Final = "scenes-dev"
"""The pack for choosing and measuring, never for training."""

_UNCERTAIN: Final = frozenset("cd")


@dataclass(frozen=True, slots=True)
class Scene:
    """A labelled photo, a line of a pack.

    Attributes:
        id: Unique name.
        source: Data set it comes from.
        picture: The encoded picture.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        boxes: float64 [people, 4], x, y, width, height in picture pixels.
        flags: Of each box.
        incomplete: Whether some people have no box.
    """

    id: str
    source: str
    picture: bytes
    width: int
    height: int
    boxes: NDArray[np.float64]
    flags: tuple[str, ...]
    incomplete: bool

    @property
    def uncertain(self) -> NDArray[np.bool_]:
        """Which boxes [people] are crowds, or people hardly to be seen."""
        return np.array([bool(_UNCERTAIN & set(flags)) for flags in self.flags], bool)

    def decode(self) -> Image.Image:
        """The picture in RGB.

        Raises:
            PackError: It cannot be decoded.
        """
        try:
            with Image.open(io.BytesIO(self.picture)) as image:
                return image.convert("RGB")
        except (OSError, ValueError) as error:
            raise PackError(f"the picture of {self.id} cannot be decoded: {error}") from error


def training_scenes(folder: Path) -> list[str]:
    """Names of the scenes packs in a folder that are for training.

    Raises:
        PackError: There is none.
    """
    names = sorted(path.stem for path in folder.glob("scenes-train-*.tar"))
    if not names:
        raise PackError(f"{folder} holds no training scenes (scenes-train-*.tar with scenes-train-*.jsonl.gz)")
    return names


def read_scenes(folder: Path, packs: Iterable[str]) -> Iterator[Scene]:
    """Read packs one after the other, in the order of their lines; pictures stay encoded.

    Raises:
        PackError: A file is missing, cut or otherwise broken; or a line lacks something, or says what cannot be.
    """
    return read_packs(folder, packs, _scene)


def _scene(text: str, pictures: dict[str, bytes]) -> Scene:
    """A line as a scene; what the line lacks is a `KeyError`, what cannot be a `ValueError` or `TypeError`."""
    line = json.loads(text)
    boxes = np.array([box[:4] for box in line["boxes"]], np.float64).reshape(-1, 4)
    width, height = int(line["width"]), int(line["height"])
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any() or min(width, height) < 1:
        raise ValueError(f"size {width} x {height} and boxes {line['boxes']} are of no photo")
    if (file := str(line["file"])) not in pictures:
        raise ValueError(f"the picture {file} is not in the tar")
    return Scene(
        id=str(line["id"]),
        source=str(line["source"]),
        picture=pictures[file],
        width=width,
        height=height,
        boxes=boxes,
        flags=tuple("".join(box[4:]) for box in line["boxes"]),
        incomplete=bool(line.get("incomplete", False)),
    )
