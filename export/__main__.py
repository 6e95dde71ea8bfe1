"""Export trained weights: `python -m export WEIGHTS --data FOLDER --images-seen N --out FILE.onnx`.

Fits the confidence and measures the accuracy on the development people, writes both into the file's metadata, and
refuses a file that does not say what torch says.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from subprocess import run as run_command
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from export.graph import ExportGraph, export_model, store_as_float16
from export.parity import compare
from models.data.pack import DEVELOPMENT, Example, person_folds, read_people
from models.data.views import half_bodies
from models.evaluation.calibration import Calibration, cross_validated, expected_calibration_error, fifths, fit
from models.evaluation.pck import table
from models.evaluation.predictors import Estimates, mpii_accuracy, right_by_half_a_head, run_network, run_onnx
from models.networks.checkpoint import load_weights
from models.networks.pose import SOFTNESS, PoseNetwork
from models.spec.contract import SHIPPED_MODEL, Contract, StatedAccuracy
from models.spec.crop import INPUT_SIZE, CropRule
from models.spec.skeleton import MPII

LARGEST_DIFFERENCE_PX: Final = 0.05
"""How far the model may move a joint, in input pixels, before its weights are rounded to float16."""

LICENCE: Final = (
    "Trained on photographs that are for research only (MPII, LSP, LSPET, Stanford40): "
    "use these weights for research; the code is Apache-2.0."
)


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "weights", type=Path, nargs="+", help="a checkpoint, .safetensors or .onnx file; the mean is taken of several"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the people pack")
    parser.add_argument("--images-seen", type=int, required=True, help="crops that the weights were trained on")
    parser.add_argument("--name", default=SHIPPED_MODEL.stem)
    parser.add_argument("--version", default=f"{datetime.now(UTC):%Y.%m.%d}")
    parser.add_argument("--out", type=Path, default=SHIPPED_MODEL)
    return parser.parse_args(arguments)


def calibrate(people: list[Example], estimates: Estimates) -> tuple[Calibration, dict[str, Any]]:
    """Fit the confidence on all people whose head size is known, and say how far it holds for those left out.

    Args:
        people: Whom the network was asked about; a person may stand there several times.
        estimates: What it answered.

    Returns:
        The fit on everybody, and its metadata, with the errors of a cross-validation over people.
    """
    assert estimates.features is not None  # a network gives them
    right, known = right_by_half_a_head(people, estimates.joints)
    confidence = cross_validated(estimates.features, right, known, person_folds(people))
    error = expected_calibration_error(confidence[known], right[known])
    lowest, highest = fifths(confidence[known], right[known])
    outside = np.stack([(np.abs(each.crop.from_photo(each.joints)) > 1).any(-1) for each in people])
    unseen = confidence[known & outside]
    print(
        f"confidence of people left out: expected calibration error {error:.3f}; "
        f"wrong in the lowest fifth {lowest:.1%}, in the highest {highest:.1%}; "
        f"of joints outside the crop {unseen.mean():.2f}, above 0.5 for {(unseen > 0.5).mean():.1%}"
    )
    calibration = fit(estimates.features, right, known)
    metadata = calibration.to_metadata("development people of the pack, with half bodies", int(known.sum()))
    return calibration, {**metadata, "expected_calibration_error_held_out": round(error, 4)}


def accuracy_metadata(people: list[Example], joints: NDArray[np.float64]) -> StatedAccuracy:
    """PCKh@0.5 of joints [people, 16, 2] of MPII people, as a model file records it."""
    accuracy = mpii_accuracy(people, joints)
    print(table({"torch": accuracy}))
    return StatedAccuracy(
        metric="PCKh@0.5",
        total=round(accuracy.total, 2),
        per_joint={name: round(value, 2) for name, value in accuracy.columns.items()},
        dataset="MPII people of the development pack",
        people=accuracy.people,
    )


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 where the file would not say what torch says."""
    options = parse_options(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    network = PoseNetwork()
    load_weights(network, *options.weights)
    people = [person for person in read_people(options.data, [DEVELOPMENT]) if person.head_size is not None]
    mpii = [person for person in people if person.source == "mpii"]
    views = mpii + [person for person in people if person.source != "mpii"] + half_bodies(people)
    estimates = run_network(network, views)
    calibration, calibration_metadata = calibrate(views, estimates)
    contract = Contract(
        name=options.name,
        version=options.version,
        skeleton=MPII,
        crop=CropRule(),
        calibration=calibration_metadata,
        accuracy=accuracy_metadata(mpii, estimates.joints[: len(mpii)]),
        training={
            "data": "MPII, LSP, LSPET, Stanford40 and COCO people; ImageNet before",
            "images_seen": options.images_seen,
            "commit": _commit(),
        },
        precision="float16 weights",
        licence=LICENCE,
        reading={"expectation": "main mode", "softness": SOFTNESS},
    )
    graph = ExportGraph(network, calibration)
    model = export_model(graph, contract)
    crops = np.stack([person.cut(INPUT_SIZE) for person in people[:32]])
    worst = max(difference.joints_px for difference in compare(model, graph, crops).values())
    print(f"float32 model: joints move by at most {worst:.5f} input px at batch 1, 2, 7 and 32")
    if worst > LARGEST_DIFFERENCE_PX:
        print(f"not written: more than {LARGEST_DIFFERENCE_PX} px", file=sys.stderr)
        return 1
    onnx.save(store_as_float16(model), str(options.out))
    print(table({f"{options.out.name}": mpii_accuracy(mpii, run_onnx(options.out, mpii).joints)}))
    return 0


def _commit() -> str:
    """The short hash of the source tree's commit, or `unknown` outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    answer = run_command(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
