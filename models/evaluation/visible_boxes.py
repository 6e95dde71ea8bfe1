"""How well half bodies are read: photos that end within their person, with a box around what is visible or without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.data.halves import HalfBody
from models.evaluation.calibration import expected_calibration_error
from models.evaluation.measures import absent_joints
from models.evaluation.predictors import Predictions
from models.evaluation.reliability import SURE, judged


@dataclass(frozen=True, slots=True)
class HalfBodies:
    """Figures of half bodies; fractions, nan where there is no such joint.

    Attributes:
        people: How many.
        shown: How many joints their photos show.
        right: Of these, those within half a head of the truth.
        absent: How many joints the photos do not show.
        sure_absent: Of these, those with a confidence above `SURE`; None where a model has no confidence.
        calibration_error: Of the confidence, joints that are not shown counting as wrong; None likewise.
    """

    people: int
    shown: int
    right: float
    absent: int
    sure_absent: float | None
    calibration_error: float | None


def by_cut(halves: Sequence[HalfBody], predictions: Predictions) -> dict[str, HalfBodies]:
    """Figures of everybody, then of each cut.

    Args:
        halves: People of `models.data.halves`; those without a head size are not counted.
        predictions: Of each, in this order.
    """
    people = [half.person for half in halves]
    right, counted = judged(people, predictions.joints)
    absent = absent_joints(people)
    cuts = np.array([half.cut for half in halves])
    chosen = {"all": np.ones(len(cuts), bool), **{cut: cuts == cut for cut in sorted(set(cuts.tolist()))}}
    confidence = predictions.confidence
    return {
        name: _figures(right[rows], counted[rows], absent[rows], None if confidence is None else confidence[rows])
        for name, rows in chosen.items()
    }


def _figures(
    right: NDArray[np.bool_],
    counted: NDArray[np.bool_],
    absent: NDArray[np.bool_],
    confidence: NDArray[np.floating] | None,
) -> HalfBodies:
    shown = counted & ~absent
    return HalfBodies(
        people=int(counted.any(1).sum()),
        shown=int(shown.sum()),
        right=_fraction(right[shown]),
        absent=int(absent.sum()),
        sure_absent=None if confidence is None else _fraction(confidence[absent] > SURE),
        calibration_error=None
        if confidence is None
        else expected_calibration_error(confidence[counted], right[counted]),
    )


def _fraction(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def table(rows: Mapping[str, HalfBodies]) -> str:
    """The figures in Markdown, fractions in per cent."""
    lines = [
        "| cut | people | joints shown | right | joints not shown | above 0.5 | calibration error |",
        "| --- " * 7 + "|",
    ]
    for name, row in rows.items():
        sure = "" if row.sure_absent is None else f"{100 * row.sure_absent:.1f}"
        error = "" if row.calibration_error is None else f"{row.calibration_error:.3f}"
        lines.append(
            f"| {name} | {row.people} | {row.shown} | {100 * row.right:.1f} | {row.absent} | {sure} | {error} |"
        )
    return "\n".join(lines)
