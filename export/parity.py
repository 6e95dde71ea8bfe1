"""Whether an exported model says what the torch network says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from export.graph import ExportGraph
from models.spec.contract import INPUT, OUTPUTS
from models.spec.crop import INPUT_SIZE

BATCHES: Final = (1, 2, 7, 32)


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences between a session's and torch's answers.

    Attributes:
        joints_px: Distance between joints, in input pixels.
        covariance: Of the covariances, in normalised units squared.
        confidence: Of the confidences.
        heatmaps: Of the heatmaps' cells.
    """

    joints_px: float
    covariance: float
    confidence: float
    heatmaps: float


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
            wanted = [tensor.numpy() for tensor in graph.eval()(torch.from_numpy(images))]
        found = session.run(list(OUTPUTS), {INPUT: images})
        joints = np.linalg.norm(found[0] - wanted[0], axis=-1).max() * INPUT_SIZE / 2
        others = [float(np.abs(f - w).max()) for f, w in zip(found[1:], wanted[1:], strict=True)]
        differences[size] = Difference(float(joints), *others)
    return differences
