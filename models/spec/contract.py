"""The model file's contract: the tensors that go in and come out, and the metadata that every file carries.

The service reads a file through `ModelSpec.read`; the export writes one through `Contract.to_metadata`. Neither
onnx nor onnxruntime is imported: both hand over plain names, types and shapes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.spec.crop import CropRule
from models.spec.metadata import ContractError
from models.spec.skeleton import MPII, Skeleton

CONTRACT_VERSION: Final = 2
PREFIX: Final = "dsnt_pose."
INPUT: Final = "images"
JOINT_OUTPUTS: Final = ("coordinates", "covariance", "confidence")
OUTPUTS: Final = (*JOINT_OUTPUTS, "heatmaps")
WHOLE_MAPS: Final = "maps"
"""An output that older files lack: the network's whole heatmaps, of which `heatmaps` are the main modes."""
WEIGHTS_FOLDER: Final = Path(__file__).parents[1] / "weights"
SHIPPED_MODEL: Final = WEIGHTS_FOLDER / "dsntr-resnet50-28px.onnx"
SHIPPED_FINDER: Final = WEIGHTS_FOLDER / "finder.onnx"


class Tensor(Protocol):
    """What onnxruntime tells of an input or output (`NodeArg`)."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> Sequence[Any]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class StatedAccuracy:
    """What a model file says of its own accuracy, in percent; None where it does not.

    Attributes:
        metric: Such as `PCKh@0.5`.
        total: Over all joints that count.
        per_joint: By the metric's columns.
        dataset: The people that it was measured on, in words.
        people: How many they were.
    """

    metric: str = "PCKh@0.5"
    total: float | None = None
    per_joint: Mapping[str, float] = field(default_factory=dict)
    dataset: str = "unknown people"
    people: int | None = None

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the metadata's value.

        Raises:
            ContractError: It is not an object of these fields.
        """
        stated: dict[str, Any] = value if isinstance(value, dict) else {"metric": None}
        per_joint = stated.get("per_joint", {})
        if (
            not isinstance(stated.get("metric", ""), str)
            or not isinstance(stated.get("dataset", ""), str)
            or not isinstance(stated.get("people"), int | None)
            or not isinstance(per_joint, dict)
            or not all(isinstance(number, int | float) for number in (*per_joint.values(), stated.get("total") or 0))
        ):
            raise ContractError(f"the model file's accuracy is not an object of metric, total and people: {value}")
        known = {each.name for each in fields(cls)}
        return cls(**{name: fact for name, fact in stated.items() if name in known and fact is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What every model file of ours says of itself, whichever contract it keeps.

    Attributes:
        name: The model's name, such as `dsntr-resnet50-28px`.
        version: The release of the weights, such as `2026.11.24`.
        accuracy: What was measured before the file was written.
        training: `data`, `images_seen` and `commit`, and what the weights were started from.
        precision: Type of the stored weights and of the computation, such as `float16 weights`.
        licence: Under which terms the weights may be used.
    """

    name: str
    version: str
    accuracy: StatedAccuracy
    training: Mapping[str, Any]
    precision: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract(Statement):
    """Metadata of a pose network's file, each field a JSON value stored under `dsnt_pose.<field>`.

    Attributes:
        contract: Version of this contract.
        skeleton: The joints in the order of the outputs, and the limbs between them.
        crop: How a crop is made from a box.
        calibration: How `confidence` was fitted, in words and numbers.
        reading: Of which part of the network's maps `coordinates`, `covariance` and `heatmaps` are, and of what
            pictures; empty in files of version 1, which are of the main mode in softened pictures.
    """

    contract: int = CONTRACT_VERSION
    skeleton: Skeleton
    crop: CropRule
    calibration: Mapping[str, Any]
    reading: Mapping[str, Any] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """The entries of ONNX `metadata_props`."""
        values = {each.name: getattr(self, each.name) for each in fields(Contract)}
        values["skeleton"] = {"joints": list(self.skeleton.joints), "limbs": self.skeleton.named_limbs}
        values |= {"crop": asdict(self.crop), "accuracy": asdict(self.accuracy)}
        return write_entries(values)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Contract":
        """Read and check the metadata of a file, of this version of the contract or of version 1.

        Raises:
            ContractError: An entry is missing, is not JSON or is not what it should be, or the version is unknown.
        """
        names = [each.name for each in fields(Contract)]
        if metadata.get(f"{PREFIX}contract") == "1":
            metadata = {f"{PREFIX}reading": "{}", **metadata}
        if isinstance(kind := read_entries(metadata, ["contract"])["contract"], str):
            raise ContractError(f"the model file is not a pose network's: it keeps the contract `{kind}`")
        stated = read_entries(metadata, names)
        if stated["contract"] not in range(1, CONTRACT_VERSION + 1):
            raise ContractError(
                f"the model file keeps version {stated['contract']} of the contract, "
                f"this code reads 1 to {CONTRACT_VERSION}"
            )
        typed = {
            "contract": CONTRACT_VERSION,
            "skeleton": _skeleton(stated["skeleton"]),
            "crop": _crop(stated["crop"]),
            "accuracy": StatedAccuracy.from_json(stated["accuracy"]),
        }
        return Contract(**(stated | typed))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec(Contract):
    """What a model file is: its metadata, and what its tensors say.

    Attributes:
        heatmap_size: Rows and columns of a heatmap.
        outputs: Names of the arrays that it gives.
    """

    heatmap_size: tuple[int, int]
    outputs: tuple[str, ...]

    @property
    def has_one_size(self) -> bool:
        """Whether all images have the same size: then they can be computed together."""
        return True

    @property
    def input_sizes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the images that are usual."""
        return ((self.crop.size, self.crop.size),)

    @classmethod
    def statement(cls, metadata: Mapping[str, str]) -> Statement:
        """Read and check a file's metadata alone.

        Raises:
            ContractError: It is not a contract's.
        """
        return Contract.from_metadata(metadata)

    @classmethod
    def read(cls, metadata: Mapping[str, str], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Self:
        """Read a file's metadata and tensors.

        Raises:
            ContractError: The metadata is not a contract's, or a tensor is missing or has another type or shape.
        """
        contract = Contract.from_metadata(metadata)
        size = check_tensors(inputs, outputs, contract)
        stated = {each.name: getattr(contract, each.name) for each in fields(Contract)}
        return cls(**stated, heatmap_size=size, outputs=tuple(tensor.name for tensor in outputs))


def write_entries(values: Mapping[str, Any]) -> dict[str, str]:
    """The entries of ONNX `metadata_props` that state values."""
    return {PREFIX + name: json.dumps(value) for name, value in values.items()}


def read_entries(metadata: Mapping[str, str], names: Sequence[str]) -> dict[str, Any]:
    """The values that a file's metadata states under names.

    Raises:
        ContractError: An entry is missing or is not JSON.
    """
    missing = [PREFIX + name for name in names if PREFIX + name not in metadata]
    if missing:
        raise ContractError(f"the model file lacks the metadata {', '.join(missing)}")
    try:
        return {name: json.loads(metadata[PREFIX + name]) for name in names}
    except json.JSONDecodeError as error:
        raise ContractError(f"the model file's metadata is not JSON: {error}") from error


def _skeleton(value: Any) -> Skeleton:
    """A skeleton of the metadata: joints and limbs, or of version 1 the joints, with MPII's limbs between them."""
    try:
        if isinstance(value, dict):
            return Skeleton.of(value["joints"], value["limbs"])
        return Skeleton.of(value, [limb for limb in MPII.named_limbs if set(limb) <= set(value)])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ContractError(f"the model file's skeleton is not one with a mirror image: {value}") from error


def _crop(value: Any) -> CropRule:
    try:
        return CropRule(value["size"], value["margin"], tuple(value["outside"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(f"the model file wants crops that cannot be made: {value}") from error


VARIANTS: Final = ("int8", "fp16")
"""Precisions that have files of their own beside the float file."""


def variant(model: Path, precision: str) -> Path:
    """The file of a model for a precision."""
    return model.with_stem(f"{model.stem}-{precision}") if precision in VARIANTS else model


def check_tensors(inputs: Sequence[Tensor], outputs: Sequence[Tensor], contract: Contract) -> tuple[int, int]:
    """Compare a session's inputs and outputs with the contract.

    A free first axis may be a name, None or -1, whichever the runtime uses.

    Returns:
        Rows and columns of a heatmap, which the contract leaves to the file.

    Raises:
        ContractError: A tensor is missing or has another type or shape.
    """
    size, joints = contract.crop.size, len(contract.skeleton)
    check_tensor({t.name: t for t in inputs}, INPUT, "tensor(uint8)", ("N", size, size, 3))
    by_name = {t.name: t for t in outputs}
    check_tensor(by_name, "coordinates", "tensor(float)", ("N", joints, 2))
    check_tensor(by_name, "covariance", "tensor(float)", ("N", joints, 3))
    check_tensor(by_name, "confidence", "tensor(float)", ("N", joints))
    check_tensor(by_name, "heatmaps", "tensor(float)", ("N", joints, None, None))
    _, _, rows, columns = by_name["heatmaps"].shape
    if WHOLE_MAPS in by_name:
        check_tensor(by_name, WHOLE_MAPS, "tensor(float)", ("N", joints, rows, columns))
    return rows, columns


def check_values(outputs: Mapping[str, NDArray[np.float32]]) -> None:
    """See that a network's outputs are numbers, and its confidences within 0 to 1.

    Raises:
        ContractError: They are not.
    """
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise ContractError(f"the network's {name} are not all numbers")
    confidence = outputs.get("confidence")
    if confidence is not None and not ((confidence >= 0) & (confidence <= 1)).all():
        raise ContractError("the network's confidence lies outside 0 to 1")


def check_tensor(tensors: Mapping[str, Tensor], name: str, kind: str, shape: Sequence[int | str | None]) -> None:
    """Compare one tensor with the contract.

    Args:
        tensors: A session's inputs or outputs by name.
        name: Of the tensor.
        kind: Its type, such as `tensor(uint8)`.
        shape: Of each axis its size, None where any fixed size will do, or a name where it must be free.

    Raises:
        ContractError: It is missing, or has another type or shape.
    """
    wanted = f"{kind} [{', '.join('?' if size is None else str(size) for size in shape)}]"
    if name not in tensors:
        raise ContractError(f"the model file has no tensor `{name}` ({wanted})")
    tensor = tensors[name]
    sizes = tuple(tensor.shape)
    same = len(sizes) == len(shape) and all(
        isinstance(want, str) or (isinstance(size, int) and want in (None, size))
        for size, want in zip(sizes, shape, strict=True)
    )
    if tensor.type != kind or not same:
        raise ContractError(f"the model file's `{name}` is {tensor.type} {list(sizes)}, the contract says {wanted}")
    for size, want in zip(sizes, shape, strict=True):
        if isinstance(want, str) and isinstance(size, int) and size > 0:
            raise ContractError(f"the model file's `{name}` fixes {want} at {size}, the contract leaves it free")
