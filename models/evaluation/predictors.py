"""The ways to ask a model where people's joints are: a network in torch, an ONNX file, a running service."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.data.pack import Example
from models.evaluation.calibration import COEFFICIENTS, features
from models.networks.checkpoint import load_weights
from models.networks.pose import Outputs, PoseNetwork, normalise
from models.spec.contract import INPUT, JOINT_OUTPUTS
from models.spec.crop import INPUT_SIZE
from models.spec.finder import overlap

if TYPE_CHECKING:
    import onnx

_BATCH: Final = 16
_CLIENTS: Final = 2
_ADDRESS: Final = ("http://", "https://")


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


def is_address(model: str) -> bool:
    """Whether a model is named by a service's address."""
    return model.startswith(_ADDRESS)


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

    Args:
        url: The service's address; a query in it (`?flip=true`) goes with every request.
        people: Whom to ask about.
        boxes: Whether the request to the service has the person's box.

    Raises:
        httpx.HTTPStatusError: The service refuses a picture.
    """
    import httpx  # noqa: PLC0415 - only this way of asking needs it

    def ask(person: Example) -> list[tuple[float, float, float]]:
        """Joints of the answered person whose box overlaps the label most; infinitely far where there is nobody."""
        box = person.box
        fields = {"boxes": f"{box.x},{box.y},{box.width},{box.height}"} if boxes else {}
        answer = client.post(
            "/pose", params=query.merge(fields), content=person.picture, headers={"content-type": "image/*"}
        )
        answer.raise_for_status()
        people = answer.json()["people"]
        if not people:
            return [(math.inf, math.inf, 0.0)] * len(person.joints)
        boxes_found = np.array([found["box"] for found in people])
        nearest = people[overlap(np.array([[box.x, box.y, box.width, box.height]]), boxes_found)[0].argmax()]
        return [(joint["x"], joint["y"], joint["confidence"]) for joint in nearest["joints"]]

    query = httpx.URL(url).params
    with httpx.Client(base_url=httpx.URL(url, query=None), timeout=60) as client, ThreadPoolExecutor(_CLIENTS) as pool:
        answers = np.array(list(pool.map(ask, people)))
    return Predictions(answers[..., :2], confidence=answers[..., 2].astype(np.float32))


def _batches(people: Sequence[Example]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(people), _BATCH):
        yield np.stack([person.cut(INPUT_SIZE) for person in people[start : start + _BATCH]])


def _in_pictures(people: Sequence[Example], coordinates: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.stack([person.crop.to_photo(joints) for person, joints in zip(people, coordinates, strict=True)])
