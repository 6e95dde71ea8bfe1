"""What a model file must hold before it takes the place of the one before."""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.graph import ExportGraph
from export.onnx_files import read_contract
from export.parity import compare
from models.data.pack import DEVELOPMENT, PackError
from models.evaluation.calibration import COEFFICIENTS, Calibration
from models.evaluation.measures import moved_px, mpii_accuracy
from models.evaluation.pck import Accuracy, table
from models.evaluation.predictors import run_onnx
from models.evaluation.reliability import (
    ROUGH,
    Reliability,
    Views,
    everybody,
    fit_on,
    held_out_confidence,
    reliabilities,
    slices,
)
from models.evaluation.reliability import read_views as read_all_views
from models.evaluation.reliability import table as reliability_table
from models.networks.checkpoint import WeightsError
from models.spec.metadata import ContractError


def exit_status(write: Callable[[], None]) -> int:
    """Write files, as a command: the exit status is 1 where one is refused; stderr says why, and old files are left."""
    try:
        write()
    except (GateError, ContractError, PackError, WeightsError, OSError) as error:
        print(f"not written: {error}", file=sys.stderr)
        return 1
    return 0


class GateError(Exception):
    """A file does not hold what it must; the message says what in one sentence, with the value and the limit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a file may differ from what it was made of.

    Attributes:
        parity_px: How far the float32 model may move a joint from where torch has it, in input pixels.
        lost_points: How many points of PCKh@0.5 rounding may cost.
        moved_px: How far rounding may move a joint of the MPII people on average, in input pixels.
    """

    parity_px: float = 0.05
    lost_points: float = 0.5
    moved_px: float = 1.5

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Add the limits to a command."""
        default = Limits()
        add = parser.add_argument
        add("--lost-points", type=float, default=default.lost_points, help="most PCKh that rounding may cost")
        add("--moved-px", type=float, default=default.moved_px, help="most that rounding may move joints on average")

    @classmethod
    def of(cls, options: argparse.Namespace) -> Self:
        """The limits of a command's options."""
        return cls(lost_points=options.lost_points, moved_px=options.moved_px)


def check_parity(model: onnx.ModelProto, graph: ExportGraph, crops: NDArray[np.uint8], limits: Limits) -> None:
    """Compare a float32 model with the torch graph that it was traced from, on crops uint8 [n, 224, 224, 3].

    Raises:
        GateError: A joint lies further from torch's than the limit.
    """
    differences = compare(model, graph, crops)
    furthest = max(difference.joints_px for difference in differences.values())
    batches = ", ".join(map(str, differences))
    print(f"float32 model: joints lie at most {furthest:.5f} input px from torch's, in batches of {batches}")
    if not furthest <= limits.parity_px:
        raise GateError(f"the float32 model moves a joint by {furthest:.5f} input px, the limit is {limits.parity_px}")


@dataclass(frozen=True, slots=True)
class Review:
    """The development people that every file is measured on, and what it must hold there.

    Attributes:
        views: Whole people and half bodies; of MPII's, some have a head size.
        limits: Of the differences.
    """

    views: Views
    limits: Limits

    def admit(self, model: onnx.ModelProto, path: Path, reference: NDArray[np.floating]) -> NDArray[np.float64]:
        """Write a file with a confidence fitted on its own answers, and its accuracy and reliability in its metadata.

        Args:
            model: With a contract.
            path: Where to write it; what a refused model leaves there is not for use.
            reference: Where the model that it was made of sees the joints of the views, [people, 16, 2] in picture
                pixels.

        Returns:
            Where it sees them itself.

        Raises:
            GateError: It loses more, or moves joints further, than the limits.
        """
        onnx.save(model, str(path))
        predictions = run_onnx(path, everybody(self.views))
        accuracy = self._check(read_contract(model).precision, reference, predictions.joints)
        reliability = reliabilities(self.views, predictions, held_out_confidence(self.views, predictions))
        print(reliability_table(reliability))
        set_calibration(model, fit_on(self.views, predictions), reliability)
        set_accuracy(model, accuracy)
        onnx.save(model, str(path))
        return predictions.joints

    def _check(self, precision: str, reference: NDArray[np.floating], predicted: NDArray[np.floating]) -> Accuracy:
        """The accuracy of a file on MPII's people.

        Raises:
            GateError: It loses more, or moves joints further, than the limits.
        """
        people, rows = self.views["mpii"], slices(self.views)["mpii"]
        joints, others = predicted[rows], reference[rows]
        before, after = mpii_accuracy(people, others), mpii_accuracy(people, joints)
        print(table({"before": before, precision.partition(":")[0]: after}))
        moved, lost = moved_px(people, joints, others), before.total - after.total
        print(f"joints moved by {moved.mean():.2f} input px on average, 99 % by at most {np.percentile(moved, 99):.2f}")
        if not lost <= self.limits.lost_points:
            raise GateError(
                f"{precision} loses {lost:.2f} points of PCKh ({before.total:.2f} to {after.total:.2f}), "
                f"the limit is {self.limits.lost_points}"
            )
        if not moved.mean() <= self.limits.moved_px:
            raise GateError(
                f"{precision} moves joints by {moved.mean():.2f} input px on average, the limit is "
                f"{self.limits.moved_px}"
            )
        return after


def read_views(folder: Path) -> Views:
    """The development people of the packs in a folder by what is shown of them.

    Raises:
        GateError: None of MPII's has a head size, which accuracy is measured in.
        PackError: A pack cannot be read.
    """
    views = read_all_views(folder)
    if "mpii" not in views:
        raise GateError(f"the pack {DEVELOPMENT} in {folder} has no person of source mpii with a head size")
    return views


def set_accuracy(model: onnx.ModelProto, accuracy: Accuracy) -> None:
    """Write a file's own accuracy into its contract."""
    contract = read_contract(model)
    stated = replace(
        contract.accuracy,
        total=round(accuracy.total, 2),
        per_joint={name: round(value, 2) for name, value in accuracy.columns.items()},
        people=accuracy.people,
    )
    helper.set_model_props(model, replace(contract, accuracy=stated).to_metadata())


def set_calibration(model: onnx.ModelProto, calibration: Calibration, reliability: Mapping[str, Reliability]) -> None:
    """Give a model its confidence: coefficients in the graph, and in the contract with how far they hold by view."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == COEFFICIENTS)
    tensor.CopyFrom(numpy_helper.from_array(calibration.coefficients.astype(np.float32), COEFFICIENTS))
    held_out = {
        name: {"joints": view.joints, "expected_calibration_error": round(view.expected_calibration_error, 4)}
        for name, view in reliability.items()
    }
    fitted = [name for name in reliability if name not in ROUGH]
    stated = calibration.to_metadata(
        f"development people of the packs: {', '.join(fitted)}", sum(reliability[name].joints for name in fitted)
    )
    contract = replace(read_contract(model), calibration={**stated, "held_out": held_out})
    helper.set_model_props(model, contract.to_metadata())
