"""How a model compares with published networks on the same people, MPII's official validation people."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.mpii import PUBLISHED, TRUTHS, Truths, read_predictions, read_truths
from models.data.pack import Example
from models.evaluation.measures import mpii_accuracy, right_by_half_a_head
from models.evaluation.pck import Accuracy, Difference, paired_bootstrap, pckh, right_joints

CAVEAT: Final = (
    "Compare with care: many of a pack's people share a video with people that this model may have been trained on, so "
    "its figures are better than they would be on all 2,958. The published networks keep to MPII's own split."
)
"""To be said wherever these figures stand."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """PCKh@0.5 of a model and of published networks on the same people.

    Attributes:
        accuracies: By name, the model's first.
        differences: How much better the model is than each published network.
    """

    accuracies: dict[str, Accuracy]
    differences: dict[str, Difference]


def read_published(folder: Path, places: NDArray[np.int_]) -> tuple[Truths, dict[str, NDArray[np.float64]]]:
    """Some of MPII's validation people, by their places, and the published predictions [people, 16, 2] for them.

    Raises:
        OSError: A file of the folder cannot be read.
    """
    truths = read_truths(folder / TRUTHS)
    chosen = Truths(truths.joints[places], truths.labelled[places], truths.head_sizes[places])
    return chosen, {name: read_predictions(folder / file)[places] for name, file in PUBLISHED.items()}


def beside_published(
    people: Sequence[Example],
    joints: NDArray[np.floating],
    truths: Truths,
    published: dict[str, NDArray[np.float64]],
    name: str = "this model",
) -> Comparison:
    """Measure a model and published networks on the same people.

    Args:
        people: Of a pack.
        joints: [people, 16, 2], the model's in picture pixels.
        truths: Of the same people, in the pixels of MPII's photos.
        published: [people, 16, 2] each, likewise.
        name: Of the model.
    """
    right, known = right_by_half_a_head(people, joints)
    accuracies, differences = {name: mpii_accuracy(people, joints)}, {}
    for other, theirs in published.items():
        accuracies[other] = pckh(theirs, truths.joints, truths.labelled, truths.head_sizes)
        their_right = right_joints(theirs, truths.joints, truths.head_sizes / 2)
        differences[other] = paired_bootstrap(right, their_right, known & truths.labelled)
    return Comparison(accuracies, differences)
