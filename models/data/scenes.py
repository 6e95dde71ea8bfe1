"""The scenes packs: whole photos in which every person is boxed, to train and to measure a finder.

A pack is a pair of files as `models.data.pack` has them, one photo a line:

    {"id": "coco_1", "source": "coco", "file": "1.webp", "width": 432, "height": 324,
     "boxes": [[x, y, width, height, flags], ...], "joints": [null or 16 x [x, y, v], ...]}

Lengths are picture pixels. A box holds what is visible of a person. Flags, any of: `c` a crowd or group, `d` difficult,
`t` cut off, `o` hidden in part. `joints` may be left out, as may `squashed`, `incomplete` and `kind`.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.pack import PackError, read_packs, training_packs
from models.spec.skeleton import JOINTS

DEVELOPMENT_SCENES: Final = "scenes-dev"
"""The pack for choosing and calibrating, never for training."""

CROWD: Final = "c"
DIFFICULT: Final = "d"

_FLAGS: Final = frozenset("cdto")


@dataclass(frozen=True, slots=True)
class Scene:
    """A photo and everybody in it, a line of a pack.

    Attributes:
        id: Unique name.
        source: Data set it comes from: coco, voc, openimages, crosswalk, or that of a photo of nobody.
        picture: The encoded picture.
        width: Of the picture, in pixels.
        height: Likewise.
        boxes: float64 [people, 4], x, y, width and height in picture pixels.
        flags: Flags of each box.
        joints: float64 [people, 16, 3], x, y in picture pixels and v: 0 where the joint is not labelled.
        squashed: Whether the source made the photo square, so that its proportions are not known.
        incomplete: Whether some people have no box.
        kind: What a photo of nobody shows, such as animal; empty for others.
    """

    id: str
    source: str
    picture: bytes
    width: int
    height: int
    boxes: NDArray[np.float64]
    flags: tuple[str, ...]
    joints: NDArray[np.float64]
    squashed: bool = False
    incomplete: bool = False
    kind: str = ""

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which boxes [people] are of one person who can be seen: neither crowds nor difficult."""
        return np.array([not {CROWD, DIFFICULT} & set(flags) for flags in self.flags], bool)

    def decode(self) -> NDArray[np.uint8]:
        """The picture as RGB [height, width, 3].

        Raises:
            PackError: It cannot be decoded, or has another size.
        """
        try:
            with Image.open(io.BytesIO(self.picture)) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError) as error:
            raise PackError(f"the picture of {self.id} cannot be decoded: {error}") from error
        if pixels.shape != (self.height, self.width, 3):
            height, width, _ = pixels.shape
            raise PackError(
                f"the picture of {self.id} is {width} x {height} pixels, its line says {self.width} x {self.height}"
            )
        return pixels


def training_scenes(folder: Path) -> list[str]:
    """Names of the scenes packs in a folder that are for training.

    Raises:
        PackError: There is none.
    """
    return training_packs(folder, "scenes-train-")


def read_scenes(folder: Path, packs: Iterable[str]) -> Iterator[Scene]:
    """Read packs one after the other, in the order of their lines; pictures stay encoded.

    Raises:
        PackError: A file is missing, cut or otherwise broken; or a line lacks something, or says what cannot be.
    """
    return read_packs(folder, packs, _scene)


def _scene(line: dict[str, Any], picture: bytes) -> Scene:
    width, height = int(line["width"]), int(line["height"])
    if width < 1 or height < 1:
        raise ValueError(f"a photo has at least 1 x 1 pixels, not {width} x {height}")
    boxes = np.array([box[:4] for box in line["boxes"]], np.float64).reshape(-1, 4)
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
        raise ValueError(f"boxes are finite with sides above 0, not {line['boxes']}")
    flags = tuple(str(box[4]) for box in line["boxes"])
    if unknown := set("".join(flags)) - _FLAGS:
        raise ValueError(f"flags are any of {', '.join(sorted(_FLAGS))}, not {', '.join(sorted(unknown))}")
    return Scene(
        id=str(line["id"]),
        source=str(line["source"]),
        picture=picture,
        width=width,
        height=height,
        boxes=boxes,
        flags=flags,
        joints=_joints(line.get("joints"), len(boxes)),
        squashed=bool(line.get("squashed", False)),
        incomplete=bool(line.get("incomplete", False)),
        kind=str(line.get("kind", "")),
    )


def _joints(stated: Any, people: int) -> NDArray[np.float64]:
    """Joints [people, 16, 3]; zeros for those of whom nothing is stated."""
    joints = np.zeros((people, len(JOINTS), 3))
    if stated is None:
        return joints
    if len(stated) != people:
        raise ValueError(f"joints are of {len(stated)} people and boxes of {people}")
    for index, person in enumerate(stated):
        if person is not None:
            joints[index] = np.asarray(person, np.float64)
    return joints
