"""A float file as other precisions start from it: batch norms folded into the convolutions, weights in float32."""

import tempfile
from pathlib import Path

import onnx
import onnxruntime
from onnx import helper

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


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The convolutions of a folded file, in the order of the data: the stem's first, the heatmaps' last."""
    return [node for node in model.graph.node if node.op_type == "Conv"]
