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

from models.data.pack import DEVELOPMENT, Example, person_folds, read_people
from models.data.views import half_bodies
from models.evaluation.calibration import cross_validated, expected_calibration_error, fifths
from models.evaluation.measures import right_by_half_a_head
from models.evaluation.predictors import Predictions, predictor

SURE: Final = 0.5
"""Confidence above which a joint outside the crop is counted as a false alarm."""

Views = Mapping[str, Sequence[Example]]


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far confidence holds on a view; fractions are of its joints, nan where there are none.

    Attributes:
        people: How many pictures.
        joints: How many joints are labelled.
        confidence: Mean confidence of these.
        right: Fraction within half a head of the truth.
        expected_calibration_error: Mean distance between the two over ten bins of confidence.
        wrong_in_lowest_fifth: Fraction wrong among the fifth of lowest confidence.
        wrong_in_highest_fifth: Fraction wrong among the fifth of highest confidence.
        sure_outside: Fraction of the joints outside the crop that have a confidence above `SURE`.
    """

    people: int
    joints: int
    confidence: float
    right: float
    expected_calibration_error: float
    wrong_in_lowest_fifth: float
    wrong_in_highest_fifth: float
    sure_outside: float


def development_views(people: Sequence[Example]) -> dict[str, list[Example]]:
    """People with a head size by what they show of them: whole, by data set; and half bodies (`half_bodies`)."""
    known = [person for person in people if person.head_size is not None]
    views = {source: [p for p in known if p.source == source] for source in dict.fromkeys(p.source for p in known)}
    halves = half_bodies(known)
    middle = len(halves) // 2
    return {**views, "half bodies by their box": halves[:middle], "half bodies by their photo": halves[middle:]}


def everybody(views: Views) -> list[Example]:
    """All views one after the other: all on whom a model is run."""
    return [person for people in views.values() for person in people]


def slices(views: Views) -> dict[str, slice]:
    """Where each view's people stand among `everybody`."""
    ends = accumulate(len(people) for people in views.values())
    return {name: slice(end - len(people), end) for (name, people), end in zip(views.items(), ends, strict=True)}


def held_out_confidence(people: Sequence[Example], fitted: Predictions, served: Predictions) -> NDArray[np.float64]:
    """Confidence [people, 16] of each person by coefficients fitted on the other people, whatever their view.

    Args:
        people: Everybody of the views.
        fitted: What the file said of them whose answers the coefficients are fitted on.
        served: What the file says of them that computes with these coefficients.

    Raises:
        ValueError: One of the two gives no features.
    """
    if fitted.features is None or served.features is None:
        raise ValueError("confidence is fitted on a checkpoint or an exported file: others do not say its features")
    right, known = right_by_half_a_head(people, fitted.joints)
    return cross_validated(fitted.features, right, known, person_folds(people), served.features)


def reliabilities(views: Views, fitted: Predictions, served: Predictions) -> dict[str, Reliability]:
    """The figures of each view, for `held_out_confidence` of `everybody`."""
    people = everybody(views)
    confidence = held_out_confidence(people, fitted, served)
    right, known = right_by_half_a_head(people, served.joints)
    outside = np.stack([(np.abs(person.crop.from_photo(person.joints)) > 1).any(-1) for person in people]) & known
    return {
        name: _reliability(confidence[rows], right[rows], known[rows], outside[rows])
        for name, rows in slices(views).items()
        if known[rows].any()
    }


def _reliability(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], known: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> Reliability:
    lowest, highest = fifths(confidence[known], right[known])
    return Reliability(
        people=len(confidence),
        joints=int(known.sum()),
        confidence=float(confidence[known].mean()),
        right=float(right[known].mean()),
        expected_calibration_error=expected_calibration_error(confidence[known], right[known]),
        wrong_in_lowest_fifth=lowest,
        wrong_in_highest_fifth=highest,
        sure_outside=float((confidence[outside] > SURE).mean()) if outside.any() else float("nan"),
    )


def table(rows: Mapping[str, Reliability]) -> str:
    """The figures of each view in Markdown."""
    header = (
        "| people left out of the fit | pictures | joints | confidence | right | expected calibration error "
        "| wrong in the lowest fifth | in the highest | outside the crop, above 0.5 |"
    )
    return "\n".join([header, "| --- " * 9 + "|", *(_row(name, row) for name, row in rows.items())])


def _row(name: str, row: Reliability) -> str:
    outside = "" if np.isnan(row.sure_outside) else f"{row.sure_outside:.1%}"
    return (
        f"| {name} | {row.people} | {row.joints} | {row.confidence:.3f} | {row.right:.3f} "
        f"| {row.expected_calibration_error:.3f} | {row.wrong_in_lowest_fifth:.1%} | {row.wrong_in_highest_fifth:.1%} "
        f"| {outside} |"
    )


def add_fitted_on(parser: argparse.ArgumentParser) -> None:
    """Add the option `--fitted-on` to a command that judges the confidence of a `model`."""
    parser.add_argument(
        "--fitted-on",
        metavar="MODEL",
        help="whose answers the model's confidence was fitted on; left out, its own. Of an int8 file: the float file",
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m models.evaluation.reliability", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("model", help="an .onnx file or a checkpoint")
    add_fitted_on(parser)
    parser.add_argument("--data", type=Path, required=True, help="folder of the people pack")
    options = parser.parse_args(arguments)
    views = development_views(list(read_people(options.data, [DEVELOPMENT])))
    people = everybody(views)
    served = predictor(options.model)(people)
    fitted = predictor(options.fitted_on)(people) if options.fitted_on else served
    print(table(reliabilities(views, fitted, served)))


if __name__ == "__main__":
    main()
