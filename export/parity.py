"""Whether an exported model says what the torch network says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from export.graph import GRAPH_OUTPUTS, ExportGraph
from models.spec.contract import INPUT
from models.spec.crop import INPUT_SIZE

BATCHES: Final = (1, 2, 7, 32)


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences between a session's and torch's answers.

    Attributes:
        joints_px: Distance between joints, in input pixels.
        covariance: Of the covariances, in normalised units squared.
        confidence: Of the confidences.
        heatmaps: Of the main modes' cells.
        maps: Of the whole maps' cells.
    """

    joints_px: float
    covariance: float
    confidence: float
    heatmaps: float
    maps: float


def compare(
    model: onnx.ModelProto, graph: ExportGraph, crops: NDArray[np.uint8], batches: Sequence[int] = BATCHES
) -> dict[int, Difference]:
    """Run a model on onnxruntime's CPU provider and the graph in torch, for each size of batch.

    Args:
        model: The exported model.
        graph: What it was exported from.
        crops: uint8 [n, 224, 224, 3] with n at least 1; repeated where a batch needs more.
        batches: Sizes of batches.
    """
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    differences = {}
    for size in batches:
        images = np.resize(crops, (size, *crops.shape[1:]))
        with torch.inference_mode():
            expected = [tensor.numpy() for tensor in graph.eval()(torch.from_numpy(images))]
        outputs = session.run(list(GRAPH_OUTPUTS), {INPUT: images})
        joints = np.linalg.norm(outputs[0] - expected[0], axis=-1).max() * INPUT_SIZE / 2
        others = [float(np.abs(ours - torchs).max()) for ours, torchs in zip(outputs[1:], expected[1:], strict=True)]
        differences[size] = Difference(float(joints), *others)
    return differences
