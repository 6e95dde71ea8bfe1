"""The people pack: photographed people with their joints, read into memory for training and evaluation.

A pack is a pair of files, `NAME.tar` with pictures and `NAME.jsonl.gz` with one person a line:

    {"id": "mpii_1", "source": "mpii", "file": "1.jpg", "size": 300, "box": [80, 50, 120, 160],
     "joints": [[x, y, v], ... 16 in the order of `skeleton.JOINTS`], "head_size": 21.3}

Lengths are picture pixels; v is 0 for a joint without label, 1 for a hidden one, else 2; the head size is PCKh's, or
null. Every picture is a square around its person, 1.5 times the nominal crop (which is 1.25 times the box's longer
side), so that rotation and scaling have material. `train-*` are for training; `dev` needs people of source "mpii" with
a head size.
"""

import gzip
import io
import json
import math
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.spec.crop import Box, Crop, cut
from models.spec.skeleton import JOINTS

CONTEXT: Final = 1.5
"""Side of a picture in units of its nominal crop."""

ABSENT: Final = -1.0
"""Weight of a joint that the picture does not show."""

SAME_COLOUR: Final = 6
"""How far compression changes the colour of what lies outside a photo, in levels of a channel."""

DEVELOPMENT: Final = "dev"
"""The pack for choosing and calibrating, never for training."""


Record = TypeVar("Record")


class PackError(ValueError):
    """A pack, or a file beside it, that is missing or cannot be read."""


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled person, a line of a pack.

    Attributes:
        id: Unique name.
        source: Data set it comes from: mpii, lsp, lspet, stanford40, coco, parse, litehrnet or buffy.
        picture: The encoded picture, square.
        size: Side of the picture, in pixels.
        box: Around the person, in picture pixels.
        joints: float64 [16, 2] in picture pixels.
        labelled: bool [16].
        head_size: PCKh's unit in picture pixels; None where it is not known.
    """

    id: str
    source: str
    picture: bytes
    size: int
    box: Box
    joints: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    head_size: float | None

    @property
    def crop(self) -> Crop:
        """The nominal crop, in picture pixels."""
        return Crop.around(self.box)

    def decode(self, size: int) -> NDArray[np.uint8]:
        """The picture as RGB [size, size, 3], smoothed where that shrinks it.

        Raises:
            PackError: The picture cannot be decoded.
        """
        try:
            with Image.open(io.BytesIO(self.picture)) as image:
                return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
        except (OSError, ValueError) as error:
            raise PackError(f"the picture of {self.id} cannot be decoded: {error}") from error

    def cut(self, size: int) -> NDArray[np.uint8]:
        """The crop around `box` as RGB [size, size, 3], wherever the box lies."""
        with Image.open(io.BytesIO(self.picture)) as image:
            return cut(image.convert("RGB"), self.crop, size)


class Labels(NamedTuple):
    """Labels of people as tensors whose first axis is the person.

    Attributes:
        joints: float32 [people, 16, 2], normalised to the nominal crop.
        weights: float32 [people, 16], how far each label is trusted; 0 where there is none, `ABSENT` where that is
            because the picture does not show the joint.
        head_sizes: float32 [people], PCKh's unit in the units of `joints`; nan where it is not known.
    """

    joints: Tensor
    weights: Tensor
    head_sizes: Tensor

    @classmethod
    def of(cls, people: Sequence[Example], weights: NDArray[np.float32] | None = None) -> Self:
        """The labels of people whose pictures stay encoded.

        Args:
            people: Whose.
            weights: [people, 16], how far each label is trusted; None trusts every label alike.
        """
        joints = np.stack([person.crop.from_photo(person.joints) for person in people])
        labelled = np.stack([person.labelled for person in people])
        trusted = labelled.astype(np.float32) if weights is None else weights
        # MPII's experts mark hidden joints too: they left out what the picture does not show.
        complete = np.array([person.source == "mpii" for person in people])
        trusted = np.where(complete[:, None] & ~labelled, ABSENT, trusted)
        return cls(
            torch.from_numpy(joints.astype(np.float32)),
            torch.from_numpy(trusted.astype(np.float32)),
            torch.tensor([math.nan if p.head_size is None else 2 * p.head_size / p.crop.side for p in people]),
        )


@dataclass(frozen=True, slots=True)
class People:
    """Decoded people; `joints`, `weights` and `head_sizes` are those of `Labels`.

    Attributes:
        pictures: uint8 [people, S, S, 3], the nominal crop in the middle S / 1.5.
        joints: float32 [people, 16, 2].
        weights: float32 [people, 16].
        head_sizes: float32 [people].
    """

    pictures: Tensor
    joints: Tensor
    weights: Tensor
    head_sizes: Tensor


def training_packs(folder: Path, prefix: str = "train-") -> list[str]:
    """Names of the packs in a folder that are for training.

    Raises:
        PackError: There is none.
    """
    names = sorted(path.stem for path in folder.glob(f"{prefix}*.tar"))
    if not names:
        raise PackError(f"{folder} holds no training pack ({prefix}*.tar with {prefix}*.jsonl.gz)")
    return names


def read_people(folder: Path, packs: Iterable[str]) -> Iterator[Example]:
    """Read packs one after the other, in the order of their lines; pictures stay encoded.

    Raises:
        PackError: A file is missing, cut or otherwise broken; or a line lacks something, or says what cannot be.
    """
    return read_packs(folder, packs, _example)


def read_packs(folder: Path, packs: Iterable[str], read: Callable[[dict[str, Any], bytes], Record]) -> Iterator[Record]:
    """What `read` makes of each line of packs and of its encoded picture, in the order of the lines.

    A `KeyError` of `read` says what the line lacks, a `ValueError` or `TypeError` what cannot be.

    Raises:
        PackError: A file is missing, cut or otherwise broken; or a line is refused.
    """
    for pack in packs:
        pictures = _read_pictures(folder / f"{pack}.tar")
        path = folder / f"{pack}.jsonl.gz"
        for number, text in enumerate(_read_lines(path), 1):
            try:
                line: dict[str, Any] = json.loads(text)
                if (file := str(line["file"])) not in pictures:
                    raise ValueError(f"the picture {file} is not in the tar")
                yield read(line, pictures[file])
            except (KeyError, TypeError, ValueError) as error:
                missing = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
                raise PackError(f"{path}, line {number}: {missing}") from error


def _read_pictures(path: Path) -> dict[str, bytes]:
    """Encoded pictures of a pack by their files' names."""
    try:
        with tarfile.open(path, "r:") as tar:
            return {member.name: _member(tar, member) for member in tar.getmembers() if member.isfile()}
    except (OSError, tarfile.TarError) as error:
        raise PackError(f"{path} cannot be read: {error}") from error


def _read_lines(path: Path) -> list[str]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return list(lines)
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        raise PackError(f"{path} cannot be read: {error}") from error


def load_people(people: Sequence[Example], crop_size: int) -> People:
    """Decode people once into memory, at the scale that crops of `crop_size` pixels need; every label is trusted alike.

    Args:
        people: Whom to load.
        crop_size: Side of the crops that will be cut, divisible by 4; pictures get 1.5 times that.

    Raises:
        ValueError: `crop_size` is not divisible by 4, or there is nobody to load.
        PackError: A picture cannot be decoded.
    """
    if crop_size % 4 or not people:
        raise ValueError(f"need people, and a crop size divisible by 4: got {len(people)} people, {crop_size} px")
    size = int(crop_size * CONTEXT)
    pictures = torch.empty((len(people), size, size, 3), dtype=torch.uint8)

    def decode(index: int) -> None:
        pictures[index] = torch.from_numpy(people[index].decode(size).copy())

    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        list(pool.map(decode, range(len(people))))
    return People(pictures, *Labels.of(people))


def nominal_crops(people: People, lead_px: int = 0) -> Tensor:
    """The crop in the middle of each picture, uint8 [people, crop_size, crop_size, 3], a view.

    Args:
        people: Whose pictures.
        lead_px: How far right and down of the middle the crop is cut.
    """
    size = people.pictures.shape[1]
    crop = int(size / CONTEXT)
    edge = (size - crop) // 2 + lead_px
    return people.pictures[:, edge : edge + crop, edge : edge + crop]


def person_folds(people: Sequence[Example], folds: int = 5) -> NDArray[np.int_]:
    """Fold [people] of a cross-validation for each person, the same for all views of one."""
    _, same = np.unique([person.id for person in people], return_inverse=True)
    return np.asarray(same % folds)


def encode(picture: Image.Image) -> bytes:
    """A picture as a pack's `Example` holds it, without loss."""
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _example(line: dict[str, Any], picture: bytes) -> Example:
    return read_example(line, picture, (int(line["size"]), int(line["size"])))


def read_example(line: dict[str, Any], picture: bytes, sides: tuple[int, int]) -> Example:
    """A line as an example; what the line lacks is a `KeyError`, what cannot be a `ValueError` or `TypeError`.

    Args:
        line: Of a pack.
        picture: Encoded.
        sides: Its width and height in pixels, of which the longer is the example's size.
    """
    joints, head_size = np.asarray(line["joints"], np.float64), line["head_size"]
    if joints.shape != (len(JOINTS), 3) or not np.isfinite(joints).all():
        raise ValueError(f"joints are {len(JOINTS)} times three numbers [x, y, v], not {_shape(joints)}")
    box, size = np.asarray(line["box"], np.float64), max(sides)
    if box.shape != (4,) or not np.isfinite(box).all() or box[2:].min() <= 0 or size < 1:
        raise ValueError(f"size {size} and box {line['box']} are of no person")
    if (pixels := _picture_size(picture)) != sides:
        raise ValueError(f"the picture has {pixels[0]} x {pixels[1]} pixels, not {sides[0]} x {sides[1]}")
    if head_size is not None and not 0 < float(head_size) < math.inf:
        raise ValueError(f"a head size is null or above 0, not {head_size}")
    return Example(
        id=str(line["id"]),
        source=str(line["source"]),
        picture=picture,
        size=size,
        box=Box(*box.tolist()),
        joints=joints[:, :2],
        labelled=joints[:, 2] > 0,
        head_size=None if head_size is None else float(head_size),
    )


def _picture_size(picture: bytes) -> tuple[int, int]:
    """Width and height in an encoded picture's header."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            return image.size
    except OSError as error:  # its text names an object in memory
        raise ValueError("the picture is in no known format") from error


def _shape(values: NDArray[np.float64]) -> str:
    return " x ".join(map(str, values.shape)) + ("" if np.isfinite(values).all() else " with some that are not finite")


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # only directories and devices have no content
    return file.read()
