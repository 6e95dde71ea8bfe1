"""The ways to ask a model where people's joints are: a network in torch, an ONNX file, a running service."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.data.pack import Example
from models.evaluation.answers import Answer, ask_photos, is_address
from models.evaluation.calibration import COEFFICIENTS, features
from models.networks.checkpoint import load_weights
from models.networks.pose import Outputs, PoseNetwork, normalise
from models.spec.contract import INPUT, JOINT_OUTPUTS
from models.spec.crop import INPUT_SIZE
from models.spec.finder import overlap

if TYPE_CHECKING:
    import onnx

_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Predictions:
    """A model's answers for a list of people.

    Attributes:
        joints: float64 [people, 16, 2] in picture pixels.
        covariance: float32 [people, 16, 3] of the heatmaps, normalised units squared; None from a service.
        confidence: float32 [people, 16]; None from a checkpoint, which has no calibration yet.
        features: float64 [people, 16, 4], what the calibration takes; None from a service.
    """

    joints: NDArray[np.float64]
    covariance: NDArray[np.float32] | None = None
    confidence: NDArray[np.float32] | None = None
    features: NDArray[np.float64] | None = None


Predictor = Callable[[Sequence[Example]], Predictions]


def predictor(model: str, boxes: bool = True) -> Predictor:
    """The way to ask a model: an http(s) address, an `.onnx` file, or a file of weights for the shipped network.

    Only a service can do without `boxes`.
    """
    if is_address(model):
        return lambda people: ask_service(model, people, boxes)
    if model.endswith(".onnx"):
        return lambda people: run_onnx(Path(model), people)
    network = PoseNetwork()
    load_weights(network, Path(model))
    return lambda people: run_network(network, people)


def run_network(network: PoseNetwork, people: Sequence[Example]) -> Predictions:
    """Ask a torch network in inference mode, in float32."""
    network.eval()
    coordinates, covariances, inputs = [], [], []
    with torch.inference_mode():
        for crops in _batches(people):
            outputs: Outputs = network.infer(normalise(torch.from_numpy(crops)))
            coordinates.append(outputs.coordinates.numpy())
            covariances.append(outputs.covariance.numpy())
            inputs.append(features(outputs).double().numpy())
    joints = _in_pictures(people, np.concatenate(coordinates))
    return Predictions(joints, np.concatenate(covariances), None, np.concatenate(inputs))


def run_onnx(path: Path, people: Sequence[Example]) -> Predictions:
    """Ask an exported file, on the CPU."""
    import onnx  # noqa: PLC0415 - training needs no runtime
    import onnxruntime  # noqa: PLC0415

    model, wanted = onnx.load(str(path)), list(JOINT_OUTPUTS)
    for name in _feature_tensors(model):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        wanted.append(name)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = [session.run(wanted, {INPUT: crops}) for crops in _batches(people)]
    coordinates, covariance, confidence, *inputs = (np.concatenate(each) for each in zip(*answers, strict=True))
    inputs_of_confidence = inputs[0].astype(np.float64) if inputs else None
    return Predictions(_in_pictures(people, coordinates), covariance, confidence, inputs_of_confidence)


def _feature_tensors(model: "onnx.ModelProto") -> list[str]:
    """The tensor inside an exported graph that the confidence's coefficients multiply; none in others' files."""
    products = [node for node in model.graph.node if COEFFICIENTS in node.input]
    return [name for node in products for name in node.input if name != COEFFICIENTS]


def ask_service(url: str, people: Sequence[Example], boxes: bool = True) -> Predictions:
    """Ask a running service, one request for each person: the picture as it is stored, and the box.

    Of several people in an answer, the one whose box overlaps the label most counts; whom the service does not see is
    infinitely far away.

    Args:
        url: The service's address; a query in it (`?flip=true`) goes with every request.
        people: Whom to ask about.
        boxes: Whether the request to the service has the person's box.

    Raises:
        AnswerError: The service cannot be reached or refuses a picture.
    """
    sent = [person.box for person in people] if boxes else None
    answers = ask_photos(url, [person.picture for person in people], sent)
    nearest = [_nearest(person, answer) for person, answer in zip(people, answers, strict=True)]
    joints, confidence = (np.stack(each) for each in zip(*nearest, strict=True))
    return Predictions(joints, confidence=confidence.astype(np.float32))


def _nearest(person: Example, answer: Answer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Joints [16, 2] and confidence [16] of the person in an answer whose box overlaps the label most."""
    if not len(answer.boxes):
        return np.full(person.joints.shape, math.inf), np.zeros(len(person.joints))
    box = person.box
    nearest = overlap(np.array([[box.x, box.y, box.width, box.height]]), answer.boxes)[0].argmax()
    return answer.joints[nearest], answer.confidence[nearest]


def _batches(people: Sequence[Example]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(people), _BATCH):
        yield np.stack([person.cut(INPUT_SIZE) for person in people[start : start + _BATCH]])


def _in_pictures(people: Sequence[Example], coordinates: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.stack([person.crop.to_photo(joints) for person, joints in zip(people, coordinates, strict=True)])
