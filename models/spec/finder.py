"""The finder's file: its contract, what it sees of a photo, and which of its boxes are people.

A finder sees a whole photo, scaled to a fixed longer side without stretching, and boxes every person in it. Pixels are
continuous: x right, y down, (0, 0) the outer corner of the first one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.spec.contract import INPUT, StatedAccuracy, Statement, Tensor, check_tensor, read_entries, write_entries
from models.spec.crop import CropRule, cut
from models.spec.metadata import ContractError
from models.spec.windows import Windows

FINDER_CONTRACT: Final = "finder 1"
"""Says that a file is a finder's, and the version of its contract; a pose network's file has a number there."""

FINDER_OUTPUTS: Final = ("boxes", "scores")

CALIBRATION: Final = ("finder", "pose", "bias")
"""Names of the weights that give a person's score."""

NECK_AND_SHOULDERS: Final = ("upper_neck", "thorax", "right_shoulder", "left_shoulder")
"""The joints whose confidence tells of a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinderSpec(Statement):
    """What a finder's file is, each field a JSON value stored under `dsnt_pose.<field>`.

    Attributes:
        contract: `FINDER_CONTRACT`.
        longest_side: Longer side that a photo is scaled to, in pixels; a multiple of the stride.
        stride: The input's sides are multiples of it.
        padding: Colour (RGB, 8 bits) of the input where the photo is not.
        suppression: Intersection over union above which the less certain of two boxes is dropped.
        calibration: Weights of the logistic regression that gives a person's score: `finder` (of its logit, above 0),
            `pose` (of the mean confidence of `NECK_AND_SHOULDERS`) and `bias`.
    """

    contract: str = FINDER_CONTRACT
    longest_side: int
    stride: int
    padding: tuple[int, int, int]
    suppression: float
    calibration: Mapping[str, float]

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ContractError: One of them is not what it can be.
        """
        if self.stride not in range(1, 257) or self.longest_side not in range(self.stride, 4097, self.stride):
            raise ContractError(
                f"the finder's file wants photos of {self.longest_side} px at a stride of {self.stride}, possible are "
                "strides of 1 to 256 and their multiples up to 4096"
            )
        if len(self.padding) != 3 or not all(value in range(256) for value in self.padding):
            raise ContractError(f"the finder's file pads with {self.padding}, a colour is three numbers of 0 to 255")
        if not 0 < self.suppression <= 1:
            raise ContractError(f"the finder's file suppresses above {self.suppression}, possible is above 0 and to 1")
        weights = dict(self.calibration)
        if set(weights) != set(CALIBRATION) or not all(map(math.isfinite, weights.values())) or weights["finder"] <= 0:
            raise ContractError(
                f"the finder's file weighs scores by {weights}, which are to be numbers {', '.join(CALIBRATION)}, the "
                "first above 0"
            )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the arrays that it gives."""
        return FINDER_OUTPUTS

    @property
    def has_one_size(self) -> bool:
        """Whether all images have the same size: then they can be computed together."""
        return False

    @property
    def input_sizes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the images that are usual: square, and 4:3 in both ways."""
        long = self.longest_side
        columns, rows = self.windows(4, 3).seen
        return ((long, long), (rows, columns), (columns, rows))

    @classmethod
    def statement(cls, metadata: Mapping[str, str]) -> Statement:
        """Read and check a file's metadata alone.

        Raises:
            ContractError: It is not a finder's.
        """
        return cls.from_metadata(metadata)

    @property
    def crop(self) -> CropRule:
        """How the squares of a photo are cut."""
        return CropRule(size=self.longest_side, margin=1.0, outside=self.padding)

    def windows(self, width: int, height: int) -> Windows:
        """What is seen of a photo of a size in pixels, at least 1 x 1."""
        return Windows(width, height, self.longest_side, self.stride)

    def pictures(self, photo: Image.Image) -> NDArray[np.uint8]:
        """What is seen of an RGB photo, uint8 [N, rows, columns, 3]; the first picture is of all of it."""
        windows, rule = self.windows(*photo.size), self.crop
        return windows.trimmed(np.stack([cut(photo, square, rule.size, rule.outside) for square in windows.squares]))

    def to_metadata(self) -> dict[str, str]:
        """The entries of ONNX `metadata_props`."""
        return write_entries(
            {**{each.name: getattr(self, each.name) for each in fields(self)}, "accuracy": asdict(self.accuracy)}
        )

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Read and check a file's metadata.

        Raises:
            ContractError: An entry is missing, is not JSON or is not what it should be, or the file is no finder's.
        """
        kind = read_entries(metadata, ["contract"])["contract"]
        if isinstance(kind, int):
            raise ContractError(
                f"the model file is not a finder's: it keeps version {kind} of the pose networks' contract"
            )
        if kind != FINDER_CONTRACT:
            raise ContractError(f"the model file keeps the contract `{kind}`, this code reads `{FINDER_CONTRACT}`")
        stated = read_entries(metadata, [each.name for each in fields(cls)])
        stated["accuracy"] = StatedAccuracy.from_json(stated["accuracy"])
        try:
            return cls(**(stated | {"padding": tuple(stated["padding"])}))
        except (TypeError, ValueError) as error:
            raise ContractError(f"the finder's file states values of another type: {error}") from error

    @classmethod
    def read(cls, metadata: Mapping[str, str], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Self:
        """Read a file's metadata and tensors.

        Raises:
            ContractError: The metadata is not a finder's, or a tensor is missing or has another type or shape.
        """
        spec = cls.from_metadata(metadata)
        check_tensor({t.name: t for t in inputs}, INPUT, "tensor(uint8)", ("N", "H", "W", 3))
        by_name = {t.name: t for t in outputs}
        check_tensor(by_name, "boxes", "tensor(float)", ("N", "C", 4))
        check_tensor(by_name, "scores", "tensor(float)", ("N", "C"))
        return spec


def check_findings(outputs: Mapping[str, NDArray[np.float32]]) -> None:
    """See that a finder's outputs are numbers, its scores within 0 to 1 and its boxes not inside out.

    Raises:
        ContractError: They are not.
    """
    for name in FINDER_OUTPUTS:
        if not np.isfinite(outputs[name]).all():
            raise ContractError(f"the finder's {name} are not all numbers")
    if not ((outputs["scores"] >= 0) & (outputs["scores"] <= 1)).all():
        raise ContractError("the finder's scores lie outside 0 to 1")
    if (outputs["boxes"][..., 2:] < 0).any():
        raise ContractError("the finder's boxes have sides below 0")


def overlap(some: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union [a, b] of boxes [a, 4] and [b, 4] (x, y, width, height); 0 where the union is empty."""
    first, second = np.asarray(some, np.float64)[:, None], np.asarray(others, np.float64)[None]
    ends = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    shared = np.maximum(ends - np.maximum(first[..., :2], second[..., :2]), 0).prod(-1)
    union = first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def suppress(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], iou: float, least_score: float, most: int
) -> NDArray[np.intp]:
    """Choose boxes greedily by score, none of which overlaps a better one that is chosen.

    Args:
        boxes: [C, 4] (x, y, width, height).
        scores: [C].
        iou: Intersection over union above which the less certain of two boxes is dropped.
        least_score: Boxes below it are not chosen.
        most: How many boxes are chosen at most.

    Returns:
        Indices of the chosen boxes, highest score first; of equal ones, the first comes first.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    order = order[scores[order] >= least_score]
    chosen: list[np.intp] = []
    while len(order) and len(chosen) < most:
        best, order = order[0], order[1:]
        chosen.append(best)
        order = order[overlap(boxes[best][None], boxes[order])[0] <= iou]
    return np.array(chosen, np.intp)
