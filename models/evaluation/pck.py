"""How good poses are: PCKh and PCK, as the fraction of joints that lie near their label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.spec.paper import COLUMNS
from models.spec.skeleton import LIMB_JOINTS, PCKH_COLUMNS, PCKH_TOTAL, TORSO


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Percentages of right joints.

    Attributes:
        columns: The paper's columns (Head to Ankle), in percent; nan where no joint was labelled.
        total: Over all scored joints present, in percent.
        limbs: Over the 12 joints of arms and legs, in percent.
        people: How many people were counted.
        joints: How many joints Total counts.
    """

    columns: Mapping[str, float]
    total: float
    limbs: float
    people: int
    joints: int

    def row(self) -> list[str]:
        """The cells of the paper's table: every column, then Total."""
        return [f"{value:.1f}" for value in (*self.columns.values(), self.total)]


def pckh(
    predictions: NDArray[np.floating],
    truths: NDArray[np.floating],
    labelled: NDArray[np.bool_],
    head_sizes: NDArray[np.floating],
    threshold: float = 0.5,
) -> Accuracy:
    """PCKh: a joint is right when its error is at most `threshold` head sizes.

    Args:
        predictions: [people, 16, 2] in pixels.
        truths: [people, 16, 2] in the same pixels.
        labelled: [people, 16]; other joints are not counted.
        head_sizes: [people] in the same pixels; people without one (nan) are not counted.
        threshold: In head sizes.
    """
    return accuracy(right_joints(predictions, truths, head_sizes * threshold), labelled, ~np.isnan(head_sizes))


def pck(
    predictions: NDArray[np.floating],
    truths: NDArray[np.floating],
    labelled: NDArray[np.bool_],
    threshold: float = 0.2,
) -> Accuracy:
    """PCK: as `pckh`, in torsos (left shoulder to right hip); people without both joints are not counted."""
    left, right = TORSO
    torsos = np.linalg.norm(truths[:, left] - truths[:, right], axis=1)
    known = labelled[:, left] & labelled[:, right] & (torsos > 0)
    return accuracy(right_joints(predictions, truths, torsos * threshold), labelled, known)


def right_joints(
    predictions: NDArray[np.floating], truths: NDArray[np.floating], radii: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Which joints [people, 16] lie within their person's radius [people] of the truth."""
    return np.asarray(np.linalg.norm(predictions - truths, axis=-1) <= radii[:, None])


def accuracy(right: NDArray[np.bool_], labelled: NDArray[np.bool_], counted: NDArray[np.bool_]) -> Accuracy:
    """Count right joints [people, 16] among the labelled ones [people, 16] of the people counted [people]."""
    present = labelled & counted[:, None]
    return Accuracy(
        columns={name: _percentage(right, present, joints) for name, joints in PCKH_COLUMNS.items()},
        total=_percentage(right, present, PCKH_TOTAL),
        limbs=_percentage(right, present, LIMB_JOINTS),
        people=int(counted.sum()),
        joints=int(present[:, PCKH_TOTAL].sum()),
    )


class Difference(NamedTuple):
    """How much better one model is than another, in percentage points, and the ends of the 95 % interval."""

    points: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"difference {self.points:+.2f} points, 95 % interval {self.low:+.2f} to {self.high:+.2f} "
            "(paired bootstrap over people)"
        )


def paired_bootstrap(
    right: NDArray[np.bool_], other: NDArray[np.bool_], labelled: NDArray[np.bool_], draws: int = 2000, seed: int = 0
) -> Difference:
    """How much better one model is than another on the same people, and how sure that is.

    Args:
        right: Which joints [people, 16] the model has right.
        other: The same of the other model.
        labelled: Which joints count.
        draws: How often people are drawn with replacement.
        seed: Of the draws.

    Returns:
        The difference of Total.
    """
    columns = list(PCKH_TOTAL)
    gains = ((right ^ other) & labelled)[:, columns] * np.where(right[:, columns], 1, -1)
    gain, count = gains.sum(1), labelled[:, columns].sum(1)
    drawn = np.random.default_rng(seed).integers(0, len(gain), (draws, len(gain)))
    low, high = np.percentile(100 * gain[drawn].sum(1) / count[drawn].sum(1), [2.5, 97.5])
    return Difference(float(100 * gain.sum() / count.sum()), float(low), float(high))


def table(rows: Mapping[str, Accuracy]) -> str:
    """The paper's table of PCKh, one line for each named row, in Markdown; Limbs are its 12 joints of arms and legs."""
    header = ["", *COLUMNS, "Limbs", "People"]
    lines = [[name, *each.row(), f"{each.limbs:.1f}", str(each.people)] for name, each in rows.items()]
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([row(header), row(["-" * width for width in widths]), *map(row, lines)])


def _percentage(right: NDArray[np.bool_], present: NDArray[np.bool_], joints: Sequence[int]) -> float:
    chosen = list(joints)
    count = present[:, chosen].sum()
    return float(100 * (right & present)[:, chosen].sum() / count) if count else float("nan")
