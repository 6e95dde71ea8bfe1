"""The model file's contract: the tensors that go in and come out, and the metadata that every file carries.

The service reads a file through `Contract.from_metadata` and `check_tensors`; the export writes one through
`Contract.to_metadata`. Neither onnx nor onnxruntime is imported: both hand over plain names, types and shapes.
`read_metadata` needs neither to tell in a millisecond what a file is, and that it is whole.
"""

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol, Self

from models.spec.crop import INPUT_SIZE, MARGIN, OUTSIDE_COLOUR
from models.spec.skeleton import JOINTS, mirror

CONTRACT_VERSION: Final = 1
PREFIX: Final = "dsnt_pose."
INPUT: Final = "images"
OUTPUTS: Final = ("coordinates", "covariance", "confidence", "heatmaps")
WEIGHTS_FOLDER: Final = Path(__file__).parents[1] / "weights"
SHIPPED_MODEL: Final = WEIGHTS_FOLDER / "dsntr-resnet50-28px.onnx"


class ContractError(Exception):
    """A model file does not keep the contract; the message says where, in one sentence."""


class Tensor(Protocol):
    """What onnxruntime tells of an input or output (`NodeArg`)."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> Sequence[Any]: ...  # noqa: D102


class Shapes(NamedTuple):
    """Sizes that a model file chooses: joints, and the rows and columns of a heatmap."""

    joints: int
    heatmap_height: int
    heatmap_width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Metadata of a model file, each field a JSON value stored under `dsnt_pose.<field>`.

    Attributes:
        contract: Version of this contract.
        name: The model's name, such as `dsntr-resnet50-28px`.
        version: The release of the weights, such as `2026.11.24`.
        skeleton: Joint names in the order of the outputs.
        crop: `size` (px), `margin` and `outside` (RGB): how a crop is made from a box.
        calibration: How `confidence` was fitted, in words and numbers.
        accuracy: `metric`, `total`, `per_joint`, `dataset` and `people`.
        training: `data`, `images_seen` and `commit`.
        precision: Type of the stored weights and of the computation, such as `float16 weights`.
        licence: Under which terms the weights may be used.
    """

    contract: int = CONTRACT_VERSION
    name: str
    version: str
    skeleton: Sequence[str]
    crop: Mapping[str, Any]
    calibration: Mapping[str, Any]
    accuracy: Mapping[str, Any]
    training: Mapping[str, Any]
    precision: str
    licence: str

    def to_metadata(self) -> dict[str, str]:
        """The entries of ONNX `metadata_props`."""
        return {PREFIX + field.name: json.dumps(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Read and check the metadata of a file.

        Raises:
            ContractError: An entry is missing or is not JSON, or the file was made for another version or other crops.
        """
        names = [field.name for field in fields(cls)]
        missing = [PREFIX + name for name in names if PREFIX + name not in metadata]
        if missing:
            raise ContractError(f"the model file lacks the metadata {', '.join(missing)}")
        try:
            contract = cls(**{name: json.loads(metadata[PREFIX + name]) for name in names})
        except json.JSONDecodeError as error:
            raise ContractError(f"the model file's metadata is not JSON: {error}") from error
        if contract.contract != CONTRACT_VERSION:
            raise ContractError(
                f"the model file keeps version {contract.contract} of the contract, this code reads {CONTRACT_VERSION}"
            )
        try:
            mirror(contract.skeleton)
        except (AttributeError, TypeError, ValueError) as error:
            raise ContractError(f"the model file's skeleton has no mirror image: {contract.skeleton}") from error
        if not isinstance(contract.accuracy, dict):
            raise ContractError(f"the model file's accuracy is not an object: {contract.accuracy}")
        if contract.crop != crop_metadata():
            raise ContractError(
                f"the model file wants crops like {contract.crop}, this service makes {crop_metadata()}"
            )
        return contract


# Numbers of fields of ONNX's ModelProto, in onnx.proto3; metadata comes last, entry by entry.
_GRAPH: Final = 7
_OPSET: Final = 8
_METADATA: Final = 14

_POINTER: Final = b"version https://git-lfs.github.com/spec/"


def read_metadata(path: Path) -> dict[str, str]:
    """Read the `metadata_props` of an ONNX file, and of everything else only where it ends.

    Raises:
        ContractError: The file cannot be read, is empty, cut, a Git LFS pointer, or not in ONNX's format.
    """
    try:
        with path.open("rb") as file:
            return _metadata(file)
    except OSError as error:
        raise ContractError(f"the model file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ContractError(f"the model file's metadata is not UTF-8: {error}") from error


def _metadata(file: BinaryIO) -> dict[str, str]:
    beginning = file.read(len(_POINTER))
    if not beginning:
        raise ContractError("the model file is empty")
    if beginning == _POINTER:
        raise ContractError("the model file is a Git LFS pointer in place of the weights; `git lfs pull` fetches them")
    numbers, metadata = set(), {}
    for number, start, length in _protobuf_fields(file):
        numbers.add(number)
        if number == _METADATA:
            file.seek(start)
            entry = file.read(length)
            texts = {number: entry[begin : begin + size] for number, begin, size in _protobuf_fields(io.BytesIO(entry))}
            metadata[texts.get(1, b"").decode()] = texts.get(2, b"").decode()
    if not {_GRAPH, _OPSET} <= numbers:
        raise ContractError("the model file lacks its network or opset: it is cut, or not in ONNX's format")
    return metadata


def _protobuf_fields(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """The number, first byte and length of each field of ONNX's protobuf messages; an integer's length is 0.

    Only headers are read, so that a field of 47 MB costs as little as a short one.
    """
    end = file.seek(0, os.SEEK_END)
    position = 0
    while position < end:
        file.seek(position)
        tag = _varint(file)
        match tag & 7:
            case 0:
                _varint(file)
                length = 0
            case 2:
                length = _varint(file)
            case _:
                raise ContractError(f"the model file is not in ONNX's format: no field begins at byte {position:,}")
        start = file.tell()
        position = start + length
        if position > end:
            raise ContractError(f"the model file is cut: it has {end:,} of at least {position:,} bytes")
        yield tag >> 3, start, length


def _varint(file: BinaryIO) -> int:
    """Read protobuf's integer: seven bits a byte, lowest first, the eighth says that another byte follows."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ContractError(f"the model file is cut: it ends within an integer at byte {file.tell():,}")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ContractError(f"the model file is not in ONNX's format: an integer before byte {file.tell():,} is too long")


def crop_metadata() -> dict[str, Any]:
    """How this code makes crops, as a model file records it."""
    return {"size": INPUT_SIZE, "margin": MARGIN, "outside": list(OUTSIDE_COLOUR)}


def skeleton_metadata() -> list[str]:
    """The joint names of this code's skeleton, as a model file records them."""
    return list(JOINTS)


VARIANTS: Final = ("int8", "fp16")
"""Precisions that have files of their own beside the float file."""


def variant(model: Path, precision: str) -> Path:
    """The file of a model for a precision."""
    return model.with_stem(f"{model.stem}-{precision}") if precision in VARIANTS else model


def check_tensors(inputs: Sequence[Tensor], outputs: Sequence[Tensor], contract: Contract) -> Shapes:
    """Compare a session's inputs and outputs with the contract.

    A free first axis may be a name, None or -1, whichever the runtime uses.

    Returns:
        The sizes that the contract leaves to the file.

    Raises:
        ContractError: A tensor is missing or has another type or shape.
    """
    _check({t.name: t for t in inputs}, INPUT, "tensor(uint8)", (INPUT_SIZE, INPUT_SIZE, 3))
    found = {t.name: t for t in outputs}
    joints = len(contract.skeleton)
    _check(found, "coordinates", "tensor(float)", (joints, 2))
    _check(found, "covariance", "tensor(float)", (joints, 3))
    _check(found, "confidence", "tensor(float)", (joints,))
    _check(found, "heatmaps", "tensor(float)", (joints, None, None))
    _, _, height, width = found["heatmaps"].shape
    return Shapes(joints, height, width)


def _check(tensors: Mapping[str, Tensor], name: str, kind: str, shape: tuple[int | None, ...]) -> None:
    """Compare one tensor; None in `shape` accepts any fixed size, and the first axis (not in `shape`) must be free."""
    wanted = f"{kind} [N, {', '.join('?' if size is None else str(size) for size in shape)}]"
    if name not in tensors:
        raise ContractError(f"the model file has no tensor `{name}` ({wanted})")
    tensor = tensors[name]
    sizes = tuple(tensor.shape)
    same = len(sizes) == len(shape) + 1 and all(
        isinstance(size, int) and want in (None, size) for size, want in zip(sizes[1:], shape, strict=True)
    )
    if tensor.type != kind or not same:
        raise ContractError(f"the model file's `{name}` is {tensor.type} {list(sizes)}, the contract says {wanted}")
    if isinstance(sizes[0], int) and sizes[0] > 0:
        raise ContractError(f"the model file's `{name}` has a fixed batch of {sizes[0]}, the contract leaves it free")
