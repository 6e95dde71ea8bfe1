"""An int8 file beside the float file: `python -m export.int8 FLOAT.onnx --data FOLDER`.

Static quantisation: activations are unsigned bytes by the ranges that training crops show, weights are signed bytes
with a scale for each output channel. The first and the last convolution and the DSNT head stay in floating point: as
bytes they would save 4 % of the time and double what accuracy is lost.

Weights have 7 bits. Processors without VNNI multiply unsigned by signed bytes and add two products in 16 bits, which
8-bit weights overflow without a word. With |w| <= 64 the largest sum, 2 * 255 * 64 = 32,640, fits.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from export.gate import GateError
from export.graph import store_as_float16
from export.onnx_files import convolutions, folded, read_contract
from export.variants import add_options, write_variant
from models.data.pack import read_people
from models.spec.contract import INPUT
from models.spec.crop import INPUT_SIZE

METHODS: Final = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}

RANGE_PACKS: Final = ("train-mpii", "train-lsp")
"""Where the crops come from that show ranges: the packs with experts' labels, none of the development people."""

PRECISION: Final = "int8: 7-bit weights, 8-bit activations; first and last convolution in float"

_KINDS: Final = ("Conv", "Relu", "Add")
"""Operators of the network that compute with bytes."""

LARGEST_SUM_16_BITS: Final = 32_767
_LARGEST_ACTIVATION: Final = 255
_PERCENTILE: Final = 99.999


def add_int8_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of quantisation to a command."""
    add = parser.add_argument
    add("--range-packs", nargs="+", default=list(RANGE_PACKS), help="packs whose crops show the activations' ranges")
    add("--range-crops", type=int, default=64, help="how many of their crops")
    add("--range-method", choices=METHODS, default="minmax", help="how ranges are chosen")


class PictureReader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is not typed
    """Hands pictures, each uint8 [h, w, 3], to the calibration one by one."""

    def __init__(self, pictures: Iterable[NDArray[np.uint8]]) -> None:
        self._pictures = iter(pictures)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next picture as the network's input; None after the last."""
        picture = next(self._pictures, None)
        return None if picture is None else {INPUT: picture[None]}


def quantize(path: Path, crops: NDArray[np.uint8], method: str = "minmax") -> onnx.ModelProto:
    """Quantise the network of a float file; its head stays as it is.

    Args:
        path: The float file.
        crops: uint8 [n, 224, 224, 3], what the network will see.
        method: One of `METHODS`.
    """
    model = folded(path)
    first, *_, last = (node.name for node in convolutions(model))
    body = [name for name in between(model, _KINDS) if name not in (first, last)]
    quantised = quantize_nodes(model, body, crops, method)
    helper.set_model_props(quantised, replace(read_contract(model), precision=PRECISION).to_metadata())
    return store_as_float16(quantised)


def quantize_nodes(
    model: onnx.ModelProto, nodes: Sequence[str], pictures: Iterable[NDArray[np.uint8]], method: str
) -> onnx.ModelProto:
    """Quantise some nodes of a folded model by the ranges that pictures, each uint8 [h, w, 3], show.

    Args:
        model: The float model.
        nodes: Names of those that compute with bytes.
        pictures: What the network will see.
        method: One of `METHODS`.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, str(source))
        quantize_static(
            source,
            target,
            PictureReader(pictures),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=list(nodes),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=METHODS[method],
            extra_options={"CalibPercentile": _PERCENTILE},
        )
        return onnx.load(str(target))


def between(model: onnx.ModelProto, kinds: Sequence[str]) -> list[str]:
    """The nodes of some kinds of operator from the first convolution of a folded model to the last, both included."""
    names = [node.name for node in model.graph.node]
    first, *_, last = (names.index(layer.name) for layer in convolutions(model))
    return [node.name for node in model.graph.node[first : last + 1] if node.op_type in kinds]


def largest_partial_sum(model: onnx.ModelProto) -> int:
    """The largest sum of two products of a weight and an activation that any int8 convolution can meet.

    Whichever two weights of an output channel meet, no sum is above that of its two largest.
    """
    weights = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer if len(tensor.dims) == 4]
    bytes_only = [weight for weight in weights if weight.dtype == np.int8]
    two_largest = (np.sort(np.abs(w.astype(int)).reshape(len(w), -1), 1)[:, -2:].sum(1).max() for w in bytes_only)
    return _LARGEST_ACTIVATION * int(max(two_largest))


def range_crops(folder: Path, packs: Sequence[str], count: int) -> NDArray[np.uint8]:
    """Crops uint8 [count, 224, 224, 3] of people spread evenly over packs."""
    people = list(read_people(folder, packs))
    chosen = np.linspace(0, len(people) - 1, count).astype(int)
    return np.stack([people[index].cut(INPUT_SIZE) for index in chosen])


def to_int8(path: Path, options: argparse.Namespace) -> onnx.ModelProto:
    """Quantise a float file by the options of `add_int8_options` and `--data`.

    Raises:
        GateError: The file would overflow on processors without VNNI.
    """
    crops = range_crops(options.data, options.range_packs, options.range_crops)
    model = quantize(path, crops, options.range_method)
    check_sums(model)
    return model


def check_sums(model: onnx.ModelProto) -> None:
    """See that a quantised model computes the same on every processor.

    Raises:
        GateError: It would overflow on processors without VNNI.
    """
    largest = largest_partial_sum(model)
    print(f"largest sum of two products: {largest}; 16 bits hold {LARGEST_SUM_16_BITS}")
    if largest > LARGEST_SUM_16_BITS:
        raise GateError(
            f"int8 sums two products to {largest}, 16 bits hold {LARGEST_SUM_16_BITS}: it would overflow on "
            "processors without VNNI"
        )


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 where the file is refused."""
    parser = argparse.ArgumentParser(prog="python -m export.int8", description=__doc__.partition("\n")[0])
    add_options(parser)
    add_int8_options(parser)
    options = parser.parse_args(arguments)
    return write_variant("int8", lambda: to_int8(options.model, options), options)


if __name__ == "__main__":
    sys.exit(main())
