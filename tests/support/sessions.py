"""What a model answers on onnxruntime's CPU provider."""

import numpy as np
import onnx
import onnxruntime

from models.spec.contract import INPUT, OUTPUTS


def answers(model: onnx.ModelProto, crops: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: crops}), strict=True))
