"""What a model's joints are measured by on the people of a pack: PCKh on MPII, PCK elsewhere, half a head for each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.data.pack import Example
from models.evaluation.pck import Accuracy, Difference, paired_bootstrap, pck, pckh, right_joints
from models.spec.crop import INPUT_SIZE


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


def absent_joints(people: Sequence[Example]) -> NDArray[np.bool_]:
    """Which joints [people, 16] the photos do not show: MPII's experts mark hidden joints too and leave out only these.

    Only people with a head size count, as in `right_by_half_a_head`.
    """
    complete = np.array([person.source == "mpii" and person.head_size is not None for person in people])
    return complete[:, None] & ~_labelled(people)


def accuracies(people: Sequence[Example], joints: NDArray[np.floating]) -> dict[str, Accuracy]:
    """PCKh@0.5 on MPII and PCK@0.2 on the other data sets, those that are present."""
    sources = np.array([person.source for person in people])
    measured = {}
    for source in dict.fromkeys(sources.tolist()):
        chosen = np.flatnonzero(sources == source).tolist()
        some = [people[i] for i in chosen]
        if source == "mpii":
            measured["mpii PCKh@0.5"] = mpii_accuracy(some, joints[chosen])
        else:
            measured[f"{source} PCK@0.2"] = pck(joints[chosen], _truths(some), _labelled(some))
    return measured


def compare(people: Sequence[Example], joints: NDArray[np.floating], others: NDArray[np.floating]) -> Difference:
    """How much better `joints` [people, 16, 2] are than `others`, by half a head, over people with a head size."""
    right, known = right_by_half_a_head(people, joints)
    other, _ = right_by_half_a_head(people, others)
    return paired_bootstrap(right, other, known)


def moved_px(
    people: Sequence[Example], joints: NDArray[np.floating], others: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Distance [people, 16] between two models' joints [people, 16, 2], in pixels of the network's input."""
    sides = np.array([person.crop.side for person in people])
    return np.asarray(np.linalg.norm(joints - others, axis=-1) / sides[:, None] * INPUT_SIZE)


def _truths(people: Sequence[Example]) -> NDArray[np.float64]:
    return np.stack([person.joints for person in people])


def _labelled(people: Sequence[Example]) -> NDArray[np.bool_]:
    return np.stack([person.labelled for person in people])
