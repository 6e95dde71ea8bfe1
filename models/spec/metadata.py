"""The metadata of an ONNX file, read in a millisecond and without onnx; and whether the file is whole."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final


class ContractError(Exception):
    """A model file does not keep the contract; the message says where, in one sentence."""


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
