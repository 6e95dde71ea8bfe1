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

from export.graph import ExportGraph, export_model, store_as_float16
from export.parity import compare
from models.calibration import Calibration, expected_calibration_error, features, fit
from models.checkpoint import load_weights
from models.contract import SHIPPED_MODEL, Contract, crop_metadata, skeleton_metadata
from models.crop import INPUT_SIZE
from models.evaluation import Estimates, mpii_accuracy, right_by_half_a_head, run_network, run_onnx
from models.metrics import table
from models.network import PoseNetwork
from models.people import DEVELOPMENT, Person, load_people, nominal_crops, read_people

LARGEST_DIFFERENCE_PX: Final = 0.05
"""How far the model may move a joint, in input pixels, before its weights are rounded to float16."""

LICENCE: Final = (
    "Trained on photographs that are for research only (MPII, LSP, LSPET, Stanford40): "
    "use these weights for research; the code is Apache-2.0."
)


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__.partition("\n")[0])
    parser.add_argument("weights", type=Path, help="a checkpoint, .safetensors or .onnx file")
    parser.add_argument("--data", type=Path, required=True, help="folder of the people pack")
    parser.add_argument("--images-seen", type=int, required=True, help="crops that the weights were trained on")
    parser.add_argument("--name", default=SHIPPED_MODEL.stem)
    parser.add_argument("--version", default=f"{datetime.now(UTC):%Y.%m.%d}")
    parser.add_argument("--out", type=Path, default=SHIPPED_MODEL)
    return parser.parse_args(arguments)


def calibrate(people: list[Person], estimates: Estimates) -> tuple[Calibration, dict[str, Any]]:
    """Fit the confidence on all people whose head size is known; the metadata says on how many joints."""
    assert estimates.covariance is not None and estimates.heatmaps is not None  # a network gives both
    right, known = right_by_half_a_head(people, estimates.joints)
    inputs = features(estimates.covariance, estimates.heatmaps)
    calibration = fit(inputs, right, known)
    error = expected_calibration_error(calibration.confidence(inputs)[known], right[known])
    print(f"confidence: expected calibration error {error:.3f} on the {known.sum()} joints that it was fitted on")
    return calibration, calibration.to_metadata("development people of the pack", int(known.sum()))


def accuracy_metadata(people: list[Person], estimates: Estimates) -> dict[str, Any]:
    """PCKh@0.5 of the MPII people among these, as a model file records it."""
    chosen = [index for index, person in enumerate(people) if person.source == "mpii"]
    accuracy = mpii_accuracy([people[index] for index in chosen], estimates.joints[chosen])
    print(table({"torch": accuracy}))
    return {
        "metric": "PCKh@0.5",
        "total": round(accuracy.total, 2),
        "per_joint": {name: round(value, 2) for name, value in accuracy.columns.items()},
        "dataset": "MPII people of the development pack",
        "people": accuracy.people,
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 where the file would not say what torch says."""
    options = parse_options(arguments)
    network = PoseNetwork()
    load_weights(network, options.weights)
    people = list(read_people(options.data, [DEVELOPMENT]))
    estimates = run_network(network, people)
    calibration, calibration_metadata = calibrate(people, estimates)
    contract = Contract(
        name=options.name,
        version=options.version,
        skeleton=skeleton_metadata(),
        crop=crop_metadata(),
        calibration=calibration_metadata,
        accuracy=accuracy_metadata(people, estimates),
        training={
            "data": "MPII, LSP, LSPET, Stanford40 and COCO people; ImageNet before",
            "images_seen": options.images_seen,
            "commit": _commit(),
        },
        precision="float16 weights",
        licence=LICENCE,
    )
    graph = ExportGraph(network, calibration)
    model = export_model(graph, contract)
    crops = nominal_crops(load_people(people[:32], None, INPUT_SIZE)).numpy()
    worst = max(difference.joints_px for difference in compare(model, graph, np.ascontiguousarray(crops)).values())
    print(f"float32 model: joints move by at most {worst:.5f} input px at batch 1, 2, 7 and 32")
    if worst > LARGEST_DIFFERENCE_PX:
        print(f"not written: more than {LARGEST_DIFFERENCE_PX} px", file=sys.stderr)
        return 1
    onnx.save(store_as_float16(model), str(options.out))
    mpii = [person for person in people if person.source == "mpii"]
    print(table({f"{options.out.name}": mpii_accuracy(mpii, run_onnx(options.out, mpii).joints)}))
    return 0


def _commit() -> str:
    """The short hash of the source tree's commit, or `unknown` outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    answer = run_command(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
