"""MPII's own files: the annotations of its validation people, and published predictions for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.pack import CONTEXT, Example, PackError, encode, read_example, read_packs
from models.spec.crop import MARGIN, OUTSIDE_COLOUR, Box, Crop

HEAD_FRACTION: Final = 0.6
"""MPII's head size, PCKh's unit, as a fraction of the head box's diagonal."""


TRUTHS: Final = "detections_our_format.mat"
"""The file that Tompson et al. published: MPII's validation people with their labels."""

PUBLISHED: Final = {"Newell et al., 8 stacks": "newell.h5", "Tompson et al.": TRUTHS}
"""Files of published predictions for MPII's validation people, in one folder with `TRUTHS`."""


@dataclass(frozen=True, slots=True)
class Truths:
    """What the 2,958 validation people are scored against, in photo pixels as the file counts them.

    Attributes:
        joints: float64 [people, 16, 2].
        labelled: bool [people, 16].
        head_sizes: float64 [people], PCKh's unit.
    """

    joints: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    head_sizes: NDArray[np.float64]


def read_truths(path: Path) -> Truths:
    """Read a file in the form of `TRUTHS`."""
    from scipy.io import loadmat  # noqa: PLC0415 - only MPII's own files need it

    file = loadmat(str(path))
    boxes = file["headboxes_src"]
    return Truths(
        joints=np.moveaxis(file["pos_gt_src"], 2, 0).astype(np.float64),
        labelled=~file["jnt_missing"].T.astype(bool),
        head_sizes=HEAD_FRACTION * np.linalg.norm(boxes[1] - boxes[0], axis=0).astype(np.float64),
    )


def read_predictions(path: Path) -> NDArray[np.float64]:
    """Published predictions [people, 16, 2]: `preds` of an HDF5 file, or `pos_pred_src` of a `.mat` file."""
    if path.suffix == ".mat":
        from scipy.io import loadmat  # noqa: PLC0415

        return np.asarray(np.moveaxis(loadmat(str(path))["pos_pred_src"], 2, 0), np.float64)
    import h5py  # noqa: PLC0415

    with h5py.File(path) as file:
        return np.asarray(file["preds"], np.float64)


def read_official(folder: Path, packs: Iterable[str]) -> tuple[list[Example], NDArray[np.int_]]:
    """The people of packs who are among MPII's 2,958 validation people, and their places there.

    Raises:
        PackError: A pack cannot be read, or has none of them.
    """

    def read(line: dict[str, Any], picture: bytes) -> tuple[Example, int | None]:
        return read_example(line, picture, (int(line["size"]),) * 2), line.get("mpii_valid_index")

    names = list(packs)
    everybody = list(read_packs(folder, names, read))
    official = [(person, int(place)) for person, place in everybody if place is not None]
    if not official:
        raise PackError(f"nobody of the {len(everybody)} people in {', '.join(names)} has an mpii_valid_index")
    people, places = zip(*official, strict=True)
    return list(people), np.array(places)


def read_annotated_people(path: Path, images: Path) -> list[Example]:
    """People of an annotation file in the form of the stacked hourglass' `valid.h5`, cut out of MPII's photos.

    Args:
        path: HDF5 with `imgname`, `center`, `scale`, `part` (0, 0 where a joint is not labelled) and `normalize`
            (PCKh's unit).
        images: MPII's folder of photos.
    """
    import h5py  # noqa: PLC0415

    with h5py.File(path) as file:
        names, centres, scales, parts, heads = (
            np.asarray(file[key]) for key in ("imgname", "center", "scale", "part", "normalize")
        )
    return [
        _cut_out(images / _text(name), Crop.from_mpii((centre[0], centre[1]), float(scale)), joints, float(head))
        for name, centre, scale, joints, head in zip(names, centres, scales, parts, heads, strict=True)
    ]


def _cut_out(path: Path, crop: Crop, joints: NDArray[np.floating], head_size: float) -> Example:
    """A person with the square of photo around the crop that a pack's picture has."""
    size = round(crop.side * CONTEXT)
    corner = np.round([crop.x + (crop.side - size) / 2, crop.y + (crop.side - size) / 2]).astype(int)
    square = Image.new("RGB", (size, size), OUTSIDE_COLOUR)
    with Image.open(path) as photo:
        square.paste(photo.convert("RGB"), (-int(corner[0]), -int(corner[1])))
    side = size / CONTEXT / MARGIN
    return Example(
        id=f"{path.name} at {crop.x + crop.side / 2:.0f}, {crop.y + crop.side / 2:.0f}",
        source="mpii",
        picture=encode(square),
        size=size,
        box=Box((size - side) / 2, (size - side) / 2, side, side),
        joints=np.asarray(joints, np.float64) - corner,
        labelled=np.asarray((joints > 0).all(-1)),
        head_size=head_size,
    )


def _text(name: bytes | str | NDArray[np.floating]) -> str:
    """A file name, which some versions of the file store as an array of character codes."""
    if isinstance(name, bytes):
        return name.decode()
    return name if isinstance(name, str) else "".join(chr(int(code)) for code in name if code)
