"""ONNX files: folded as other precisions start from them, what their metadata says, and how one replaces another."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxruntime
from onnx import helper

from models.spec.contract import Contract

_DOMAIN = ""  # onnx' own operators; the optimiser declares a dozen other sets that the graph does not use


def folded(path: Path) -> onnx.ModelProto:
    """Read an exported file with its batch norms folded and its constants computed; metadata is kept."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(target)
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(str(target))
    used = [opset for opset in model.opset_import if opset.domain == _DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(used)
    original = onnx.load(str(path))
    helper.set_model_props(model, {entry.key: entry.value for entry in original.metadata_props})
    return model


def read_contract(model: onnx.ModelProto) -> Contract:
    """The contract in a model's metadata.

    Raises:
        ContractError: It has none, or not this one.
    """
    return Contract.from_metadata({entry.key: entry.value for entry in model.metadata_props})


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The convolutions of a folded file, in the order of the data: the stem's first, the heatmaps' last."""
    return [node for node in model.graph.node if node.op_type == "Conv"]


@contextmanager
def replacing(*targets: Path) -> Iterator[list[Path]]:
    """Names to write to; what lies there takes the places of `targets` when the block ends without an error.

    Each lies beside its target, so that the old file is whole until the moment that the new one is.
    """
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = [target.with_name(f".{target.stem}.unfinished{target.suffix}") for target in targets]
    try:
        yield unfinished
        for path, target in zip(unfinished, targets, strict=True):
            path.replace(target)
    finally:
        for path in unfinished:
            path.unlink(missing_ok=True)
