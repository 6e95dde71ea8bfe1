"""The exported graph: uint8 crops in; the contract's outputs (`models.spec.contract`) and the whole maps out."""

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from types import MappingProxyType
from typing import Final

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models.evaluation.calibration import Calibration, features
from models.networks.pose import SOFTNESS, PoseNetwork, normalise
from models.spec.contract import INPUT, OUTPUTS, WHOLE_MAPS, Contract
from models.spec.crop import INPUT_SIZE

OPSET: Final = 17

GRAPH_OUTPUTS: Final = (*OUTPUTS, WHOLE_MAPS)
"""What the graph gives, in its order."""

READING: Final = {
    "coordinates": "main mode",
    "covariance": "main mode",
    "heatmaps": "main mode",
    WHOLE_MAPS: "whole map",
    "softness": SOFTNESS,
}
"""Of which part of the network's maps each output is, and how much of a pixel is the mean of the 3 x 3 around it."""

# A batch of one would be frozen into the graph by some of torch's shape arithmetic.
_TRACED_BATCH: Final = 2


class ExportGraph(nn.Module):
    """What the model file computes; state-dict names are `PoseNetwork`'s, so training can start from the file."""

    coefficients: Tensor

    def __init__(self, network: PoseNetwork, calibration: Calibration) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.heatmap = network.heatmap
        self._network = (network,)  # a tuple keeps its tensors from being registered twice
        self.register_buffer("coefficients", torch.from_numpy(calibration.coefficients).float())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """RGB crops uint8 [N, 224, 224, 3] to `GRAPH_OUTPUTS`."""
        outputs = self._network[0].infer(normalise(images))
        confidence = (features(outputs) * self.coefficients).sum(-1).sigmoid()  # `Calibration.confidence`
        return outputs.coordinates, outputs.covariance, confidence, outputs.heatmaps, outputs.maps


def trace(
    graph: nn.Module, size_px: int, outputs: Sequence[str], axes: Mapping[str, Mapping[int, str]] = MappingProxyType({})
) -> onnx.ModelProto:
    """Trace a graph of uint8 pictures [N, size_px, size_px, 3] into an ONNX model with float32 weights.

    torch 2.13's newer exporter folds batch norm away and renames what it folds; training could not start from such a
    file. The older one keeps both when it preserves the (inference) mode of each module.

    Args:
        graph: Takes the pictures and gives a tuple of tensors whose first axis is N.
        size_px: Side of a picture.
        outputs: Names of the tensors.
        axes: Names of the axes beside the first that are free, by tensor.
    """
    graph.eval()
    graph.training = True  # of this module alone: else the exporter merges equal tensors and drops a name of each pair
    images = torch.zeros((_TRACED_BATCH, size_px, size_px, 3), dtype=torch.uint8)
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns that it is the older one, and of constant shapes
        torch.onnx.export(
            graph,
            (images,),
            file,  # type: ignore[arg-type]  # the stub knows only paths
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_axes={name: {0: "N", **axes.get(name, {})} for name in (INPUT, *outputs)},
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            dynamo=False,
        )
    graph.eval()
    return onnx.load_from_string(file.getvalue())


def export_model(graph: ExportGraph, contract: Contract) -> onnx.ModelProto:
    """Trace a graph into an ONNX model with float32 weights and the contract's metadata."""
    model = trace(graph, INPUT_SIZE, GRAPH_OUTPUTS)
    helper.set_model_props(model, contract.to_metadata())
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def store_as_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the convolutions' weights as float16, each followed by a cast that the runtime folds at load.

    What is small stays float32: a batch norm's variance may lie below float16's range.
    """
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    casts = []
    for tensor in stored.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 4:
            casts.append(helper.make_node("Cast", [tensor.name], [f"{tensor.name}.float32"], to=TensorProto.FLOAT))
            half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float16"), tensor.name)
            tensor.CopyFrom(half)
    renamed = {cast.input[0]: cast.output[0] for cast in casts}
    for node in stored.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
    for index, cast in enumerate(casts):
        stored.graph.node.insert(index, cast)
    onnx.checker.check_model(stored, full_check=True)
    return stored
