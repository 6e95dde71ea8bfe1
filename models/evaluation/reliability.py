"""How far a model's confidence holds for people left out of its fit: `python -m models.evaluation.reliability MODEL`.

Each view of the development people has figures of its own: whole people of each data set, and half bodies. Together,
too high a confidence of one and too low a one of another would cancel.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.halves import DEVELOPMENT_HALVES, HalfBody, read_halves
from models.data.pack import DEVELOPMENT, Example, PackError, person_folds, read_people
from models.evaluation.calibration import Calibration, cross_validated, expected_calibration_error, fifths, fit
from models.evaluation.measures import absent_joints, right_by_half_a_head
from models.evaluation.predictors import Predictions, predictor
from models.networks.checkpoint import WeightsError

SURE: Final = 0.5
"""Confidence above which a joint that is not shown counts as a false alarm."""

HALVES: Final = "half bodies"
"""The view of the half bodies."""

ROUGH: Final = ("lspet",)
"""Views whose labels are often wrong themselves: the fit leaves them out."""

HALVES_WEIGHT: Final = 1 / 3
"""Of the fit's weight, that of the half bodies: the largest calibration error of all views is the least with it."""

Views = Mapping[str, Sequence[Example]]


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far confidence holds on a view; fractions are of its joints, nan where there are none.

    Attributes:
        people: How many pictures.
        joints: How many joints count: those with a label, and those that the photo does not show (they are wrong).
        confidence: Mean confidence of these.
        right: Fraction within half a head of the truth.
        expected_calibration_error: Mean distance between the two over ten bins of confidence.
        wrong_in_lowest_fifth: Fraction wrong among the fifth of lowest confidence.
        wrong_in_highest_fifth: Fraction wrong among the fifth of highest confidence.
        absent: How many joints the photos do not show.
        sure_absent: Fraction of these that have a confidence above `SURE`.
    """

    people: int
    joints: int
    confidence: float
    right: float
    expected_calibration_error: float
    wrong_in_lowest_fifth: float
    wrong_in_highest_fifth: float
    absent: int
    sure_absent: float


def read_views(folder: Path, people: str = DEVELOPMENT, halves: str = DEVELOPMENT_HALVES) -> Views:
    """The views of two packs, `development_views`.

    Raises:
        PackError: One of them cannot be read.
    """
    return development_views(list(read_people(folder, [people])), list(read_halves(folder, [halves])))


def development_views(people: Sequence[Example], halves: Sequence[HalfBody]) -> dict[str, list[Example]]:
    """People with a head size by what is shown of them: whole, by data set; and half bodies."""
    known = [person for person in people if person.head_size is not None]
    views = {source: [p for p in known if p.source == source] for source in dict.fromkeys(p.source for p in known)}
    return {**views, HALVES: [half.person for half in halves if half.person.head_size is not None]}


def everybody(views: Views) -> list[Example]:
    """All views one after the other: all on whom a model is run."""
    return [person for people in views.values() for person in people]


def slices(views: Views) -> dict[str, slice]:
    """Where each view's people stand among `everybody`."""
    ends = accumulate(len(people) for people in views.values())
    return {name: slice(end - len(people), end) for (name, people), end in zip(views.items(), ends, strict=True)}


def fit_on(views: Views, predictions: Predictions) -> Calibration:
    """Fit a file's confidence on what it says of `everybody` whose labels are not rough.

    Raises:
        ValueError: It says nothing of its features.
    """
    right, counted = judged(everybody(views), predictions.joints)
    return fit(_features(predictions), right, fit_weights(views, counted))


def fit_weights(views: Views, counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weight [people, 16] in the fit of each joint that counts [people, 16].

    It is 1 for whole people, 0 in rough views, and for half bodies such that they have `HALVES_WEIGHT` of all.
    """
    rows, fitted = slices(views), counted.copy()
    for name in ROUGH:
        fitted[rows.get(name, slice(0))] = False
    half = np.zeros(len(fitted), bool)
    half[rows[HALVES]] = True
    whole = fitted[~half].sum() / max(1, fitted[half].sum())
    return np.where(half, whole * HALVES_WEIGHT / (1 - HALVES_WEIGHT), 1.0)[:, None] * fitted.astype(np.float64)


def held_out_confidence(views: Views, predictions: Predictions) -> NDArray[np.float64]:
    """Confidence [people, 16] of each person by a fit on the other people, whatever their view.

    Raises:
        ValueError: The predictions have no features.
    """
    people = everybody(views)
    right, counted = judged(people, predictions.joints)
    weights = fit_weights(views, counted)
    return cross_validated(_features(predictions), right, weights, person_folds(people))


def reliabilities(views: Views, predictions: Predictions, confidence: NDArray[np.floating]) -> dict[str, Reliability]:
    """The figures of each view, for a confidence [people, 16] of `everybody`."""
    people = everybody(views)
    right, counted = judged(people, predictions.joints)
    absent = absent_joints(people)
    return {
        name: _reliability(confidence[rows], right[rows], counted[rows], absent[rows])
        for name, rows in slices(views).items()
        if counted[rows].any()
    }


def judged(people: Sequence[Example], joints: NDArray[np.floating]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which joints [people, 16, 2] in picture pixels are right, and which count, both [people, 16].

    Those that the photo does not show count and are never right.
    """
    right, known = right_by_half_a_head(people, joints)
    return right & known, known | absent_joints(people)


def _features(predictions: Predictions) -> NDArray[np.float64]:
    if predictions.features is None:
        raise ValueError("confidence is fitted on a checkpoint or an exported file: others do not say its features")
    return predictions.features


def _reliability(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], counted: NDArray[np.bool_], absent: NDArray[np.bool_]
) -> Reliability:
    lowest, highest = fifths(confidence[counted], right[counted])
    return Reliability(
        people=len(confidence),
        joints=int(counted.sum()),
        confidence=float(confidence[counted].mean()),
        right=float(right[counted].mean()),
        expected_calibration_error=expected_calibration_error(confidence[counted], right[counted]),
        wrong_in_lowest_fifth=lowest,
        wrong_in_highest_fifth=highest,
        absent=int(absent.sum()),
        sure_absent=float((confidence[absent] > SURE).mean()) if absent.any() else float("nan"),
    )


def table(rows: Mapping[str, Reliability]) -> str:
    """The figures of each view in Markdown."""
    header = (
        "| people left out of the fit | pictures | joints | confidence | right | expected calibration error "
        "| wrong in the lowest fifth | in the highest | not shown | of these above 0.5 |"
    )
    return "\n".join([header, "| --- " * 10 + "|", *(_row(name, row) for name, row in rows.items())])


def _row(name: str, row: Reliability) -> str:
    sure = "" if np.isnan(row.sure_absent) else f"{row.sure_absent:.1%}"
    return (
        f"| {name} | {row.people} | {row.joints} | {row.confidence:.3f} | {row.right:.3f} "
        f"| {row.expected_calibration_error:.3f} | {row.wrong_in_lowest_fifth:.1%} | {row.wrong_in_highest_fifth:.1%} "
        f"| {row.absent} | {sure} |"
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m models.evaluation.reliability", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("model", help="an .onnx file or a checkpoint; with --stated also a service's address")
    add("--data", type=Path, required=True, help="folder of the people pack")
    add("--pack", default=DEVELOPMENT, help="name of the pack of whole people")
    add("--halves", default=DEVELOPMENT_HALVES, help="name of the pack of half bodies")
    add("--stated", action="store_true", help="judge the model's own confidence, on people whom its fit has not seen")
    options = parser.parse_args(arguments)
    try:
        views = read_views(options.data, options.pack, options.halves)
        predictions = predictor(options.model)(everybody(views))
        confidence = predictions.confidence if options.stated else held_out_confidence(views, predictions)
    except (PackError, WeightsError, ValueError) as error:
        raise SystemExit(str(error)) from error
    if confidence is None:
        raise SystemExit(f"{options.model} has no confidence of its own: leave out --stated")
    print(table(reliabilities(views, predictions, confidence)))


if __name__ == "__main__":
    main()
