"""How accurate a model is: `python -m models.evaluation MODEL --data FOLDER`.

MODEL is an exported ONNX file, a training checkpoint or the address of a running service. Prints PCKh@0.5 on the MPII
people of a pack (`--data`) or of MPII's own files (`--mpii`, `--images`) as the paper's table, and PCK@0.2 for each of
the other data sets. Published predictions are scored against MPII's validation people with `--truths`.
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.data.mpii import read_annotated_people, read_predictions, read_truths
from models.data.pack import DEVELOPMENT, Example, read_people
from models.data.views import close_ups, placed_in_scenes
from models.evaluation.calibration import features
from models.evaluation.pck import Accuracy, paired_bootstrap, pck, pckh, right_joints, table
from models.networks.checkpoint import load_weights
from models.networks.pose import PoseNetwork, normalise
from models.spec.contract import INPUT, OUTPUTS
from models.spec.crop import INPUT_SIZE

_BATCH: Final = 16
_CLIENTS: Final = 2
_ADDRESS: Final = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Estimates:
    """A model's answers for a list of people.

    Attributes:
        joints: float64 [people, 16, 2] in picture pixels.
        covariance: float32 [people, 16, 3] of the heatmaps, normalised units squared; None from a service.
        confidence: float32 [people, 16]; None from a checkpoint, which has no calibration yet.
        features: float64 [people, 16, 4], what the calibration takes; only a checkpoint gives them.
    """

    joints: NDArray[np.float64]
    covariance: NDArray[np.float32] | None
    confidence: NDArray[np.float32] | None
    features: NDArray[np.float64] | None


Estimator = Callable[[Sequence[Example]], Estimates]


def estimator(model: str, boxes: bool = True) -> Estimator:
    """The way to ask a model: an http(s) address, an `.onnx` file, or a file of weights for the shipped network.

    Only a service can be asked without `boxes`.
    """
    if model.startswith(_ADDRESS):
        return lambda people: ask_service(model, people, boxes)
    if model.endswith(".onnx"):
        return lambda people: run_onnx(Path(model), people)
    network = PoseNetwork()
    load_weights(network, Path(model))
    return lambda people: run_network(network, people)


def run_network(network: PoseNetwork, people: Sequence[Example]) -> Estimates:
    """Ask a torch network in inference mode, in float32."""
    network.eval()
    with torch.inference_mode():
        told = [network.infer(normalise(torch.from_numpy(crops))) for crops in _batches(people)]
    coordinates, covariance, heatmaps, share = (torch.cat(parts).numpy() for parts in zip(*told, strict=True))
    return Estimates(_in_pictures(people, coordinates), covariance, None, features(share, covariance, heatmaps))


def run_onnx(path: Path, people: Sequence[Example]) -> Estimates:
    """Ask an exported file, on the CPU."""
    import onnxruntime  # noqa: PLC0415 - training needs no runtime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers = [session.run(list(OUTPUTS), {INPUT: crops}) for crops in _batches(people)]
    coordinates, covariance, confidence, _ = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    return Estimates(_in_pictures(people, coordinates), covariance, confidence, None)


def ask_service(url: str, people: Sequence[Example], boxes: bool = True) -> Estimates:
    """Ask a running service, one request for each person: the picture as it is stored, and the box.

    Args:
        url: The service's address; a query in it (`?flip=true`) goes with every request.
        people: Whom to ask about.
        boxes: Whether the service is told where the person is.
    """
    import httpx  # noqa: PLC0415 - only this way of asking needs it

    def ask(person: Example) -> list[tuple[float, float, float]]:
        box = person.box
        told = {"boxes": f"{box.x},{box.y},{box.width},{box.height}"} if boxes else {}
        answer = client.post(
            "/pose", params=query.merge(told), content=person.picture, headers={"content-type": "image/*"}
        )
        answer.raise_for_status()
        joints = answer.json()["people"][0]["joints"]
        return [(joint["x"], joint["y"], joint["confidence"]) for joint in joints]

    query = httpx.URL(url).params
    with httpx.Client(base_url=httpx.URL(url, query=None), timeout=60) as client, ThreadPoolExecutor(_CLIENTS) as pool:
        answers = np.array(list(pool.map(ask, people)))
    return Estimates(answers[..., :2], None, answers[..., 2].astype(np.float32), None)


def mpii_accuracy(people: Sequence[Example], joints: NDArray[np.floating]) -> Accuracy:
    """PCKh@0.5 of joints [people, 16, 2] in picture pixels."""
    return pckh(joints, _truths(people), _labelled(people), head_sizes(people))


def head_sizes(people: Sequence[Example]) -> NDArray[np.float64]:
    """PCKh's unit [people] in picture pixels, nan where it is not known."""
    return np.array([np.nan if person.head_size is None else person.head_size for person in people])


def right_by_half_a_head(
    people: Sequence[Example], joints: NDArray[np.floating]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which joints [people, 16] are within half a head of the truth, and for which that is known."""
    heads = head_sizes(people)
    known = _labelled(people) & ~np.isnan(heads)[:, None]
    return right_joints(joints, _truths(people), np.nan_to_num(heads) / 2), known


def accuracies(people: Sequence[Example], joints: NDArray[np.floating]) -> dict[str, Accuracy]:
    """PCKh@0.5 on MPII and PCK@0.2 on the other data sets, those that are present."""
    sources = np.array([person.source for person in people])
    found = {}
    for source in dict.fromkeys(sources.tolist()):
        chosen = np.flatnonzero(sources == source).tolist()
        some = [people[i] for i in chosen]
        if source == "mpii":
            found["mpii PCKh@0.5"] = mpii_accuracy(some, joints[chosen])
        else:
            found[f"{source} PCK@0.2"] = pck(joints[chosen], _truths(some), _labelled(some))
    return found


def compare(people: Sequence[Example], joints: NDArray[np.floating], others: NDArray[np.floating]) -> str:
    """A sentence on how much better `joints` [people, 16, 2] are than `others`, over people with a head size."""
    right, known = right_by_half_a_head(people, joints)
    other, _ = right_by_half_a_head(people, others)
    difference, low, high = paired_bootstrap(right, other, known)
    return (
        f"difference {difference:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f} (paired bootstrap over people)"
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = _parse_options(arguments)
    if options.truths:
        truths, joints = read_truths(options.truths), read_predictions(Path(options.model))
        found = {Path(options.model).name: pckh(joints, truths.joints, truths.labelled, truths.head_sizes)}
        _print(found, options.json)
        return
    people = _people(options)
    joints = estimator(options.model, not options.without_boxes)(people).joints
    _print(accuracies(people, joints), options.json)
    if options.against:
        others = estimator(options.against, not options.without_boxes)(people).joints
        print(compare(people, joints, others))


def _parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.evaluation", description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="an .onnx file, a checkpoint, a service's address, or predictions (.h5, .mat)")
    parser.add_argument("--data", type=Path, help="folder of the people pack")
    parser.add_argument("--pack", default=DEVELOPMENT, help="name of the pack")
    parser.add_argument("--source", help="only people of this data set")
    parser.add_argument("--mpii", type=Path, help="MPII annotations in the form of the hourglass' valid.h5")
    parser.add_argument("--images", type=Path, help="MPII's folder of photos, with --mpii")
    parser.add_argument("--truths", type=Path, help="detections_our_format.mat, to score published predictions")
    parser.add_argument("--against", help="another model, compared with the first on the same people")
    parser.add_argument("--share", type=float, help="place people in larger photos, as this share of their side")
    parser.add_argument("--seed", type=int, default=0, help="of their places, with --share")
    parser.add_argument("--close-ups", type=float, metavar="TORSOS", help="cut photos off this far below the neck")
    parser.add_argument("--without-boxes", action="store_true", help="do not tell the service where people are")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if sum(source is not None for source in (options.data, options.mpii, options.truths)) != 1:
        parser.error("say whom to evaluate on: one of --data, --mpii and --truths")
    if options.without_boxes and not options.model.startswith(_ADDRESS):
        parser.error("--without-boxes needs a service: a model file is asked for the crop around a box")
    if (options.share or options.close_ups or options.source) and not options.data:
        parser.error("--share, --close-ups and --source are for people of --data")
    if options.share and options.close_ups:
        parser.error("say one of --share and --close-ups")
    if options.mpii and not options.images:
        parser.error("--mpii needs --images, MPII's folder of photos")
    return options


def _people(options: argparse.Namespace) -> list[Example]:
    if options.mpii:
        return read_annotated_people(options.mpii, options.images)
    everybody = list(read_people(options.data, [options.pack]))
    people = [person for person in everybody if options.source in (None, person.source)]
    if not people:
        sources = ", ".join(sorted({person.source for person in everybody}))
        raise SystemExit(f"nobody in the pack {options.pack} is of {options.source}; it has people of {sources}")
    if options.close_ups:
        return close_ups(people, options.close_ups)
    return placed_in_scenes(people, options.share, options.seed) if options.share else people


def _print(found: dict[str, Accuracy], as_json: bool) -> None:
    print(json.dumps(_plain({name: asdict(value) for name, value in found.items()})) if as_json else table(found))


def _plain(value: Any) -> Any:
    """The same without nan, which JSON lacks."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _batches(people: Sequence[Example]) -> list[NDArray[np.uint8]]:
    groups = (people[start : start + _BATCH] for start in range(0, len(people), _BATCH))
    return [np.stack([person.cut(INPUT_SIZE) for person in group]) for group in groups]


def _in_pictures(people: Sequence[Example], coordinates: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.stack([person.crop.to_photo(found) for person, found in zip(people, coordinates, strict=True)])


def _truths(people: Sequence[Example]) -> NDArray[np.float64]:
    return np.stack([person.joints for person in people])


def _labelled(people: Sequence[Example]) -> NDArray[np.bool_]:
    return np.stack([person.labelled for person in people])
