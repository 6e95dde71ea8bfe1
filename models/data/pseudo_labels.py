"""Pseudo-labels: of a label and up to three pose models' joints, those that agree outvote the others.

Crowd-sourced and detected labels have left-right swaps, gross errors and gaps, and so has every model; they rarely have
the same. Each candidate for a joint votes with the trust in it, the probability that it is within half a head of the
truth. The candidate that most trust lies near wins, the mean of those near it becomes the label, and the label counts
as much as the trust behind it outweighs the rest. Experts' and authors' labels stay; their gaps are filled.

The files hold one person a line, 16 x [x, y, score] in picture pixels by each model, of which any may be missing:

    {"id": "lspet_1", "movenet": [...], "efficientpose": [...], "network": [...]}

`network` is one of this repository.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.data.pack import CONTEXT, Example, PackError
from models.spec.skeleton import JOINTS

LABEL_TRUST: Final = {"coco": 0.95, "litehrnet": 0.9, "stanford40": 0.8, "lspet": 0.6}
"""Trust in a label of each data set whose labels are not experts' or their authors'."""

_FILES: Final = "opinions*.jsonl.gz"

# Scores, and the fraction of the joints with that score that are within half a head of careful labels.
_SCORES: Final = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
_TRUST: Final = {
    "movenet": (0.0, 0.20, 0.50, 0.73, 0.89, 0.94),
    "efficientpose": (0.0, 0.25, 0.45, 0.70, 0.95, 0.99),
    "network": (0.0, 0.10, 0.30, 0.50, 0.70, 0.90),  # its confidence is calibrated
}

_NEAR_HEADS: Final = 0.5
_LEAST_WEIGHT: Final = 0.25  # of a label that is used at all
_HEADS_PER_CROP: Final = 0.1  # a head's usual size, where it is not known


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """Candidates for one person's joints.

    Attributes:
        joints: float64 [models, 16, 2] in picture pixels.
        trust: float64 [models, 16], 0 where a model has no such joint.
    """

    joints: NDArray[np.float64]
    trust: NDArray[np.float64]

    def __add__(self, other: Self) -> Self:
        """These and other candidates for the same person."""
        return replace(
            self, joints=np.concatenate([self.joints, other.joints]), trust=np.concatenate([self.trust, other.trust])
        )


def pseudo_label_files(folder: Path) -> list[Path]:
    """The files of pseudo-labels beside the packs of a folder."""
    return sorted(folder.glob(_FILES))


def read_pseudo_labels(paths: Iterable[Path]) -> dict[str, PseudoLabels]:
    """Pseudo-labels of several files by person's id; of one person's in several, all.

    Raises:
        PackError: A file cannot be read.
    """
    read: dict[str, PseudoLabels] = {}
    for path in paths:
        try:
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                for record in map(json.loads, lines):
                    name, candidates = record["id"], _candidates(record)
                    read[name] = read[name] + candidates if name in read else candidates
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
            raise PackError(f"{path} cannot be read: {type(error).__name__}, {error}") from error
    return read


def pseudo_label_line(person: str, joints: NDArray[np.floating], confidence: NDArray[np.floating]) -> str:
    """A person's line of a file, by a network of this repository.

    Args:
        person: Its id.
        joints: [16, 2] in picture pixels; a tenth is kept.
        confidence: [16], calibrated; a thousandth is kept.
    """
    values = np.column_stack([joints.round(1), confidence.astype(np.float64).round(3)])
    return json.dumps({"id": person, "network": values.tolist()})


def corrected_labels(
    people: Sequence[Example], pseudo_labels: dict[str, PseudoLabels]
) -> tuple[list[Example], NDArray[np.float32]]:
    """Let labels and pseudo-labels vote; labels of sources without a `LABEL_TRUST` stay, and their gaps are filled.

    Returns:
        The people with corrected joints, and how far each label is trusted, [people, 16].
    """
    corrected, weights = [], []
    for person in people:
        joints, trust = person.joints, person.labelled.astype(np.float32)
        if person.id in pseudo_labels:
            joints, trust = _corrected(person, pseudo_labels[person.id])
        corrected.append(replace(person, joints=joints, labelled=trust > 0))
        weights.append(trust)
    return corrected, np.stack(weights).astype(np.float32)


def _corrected(person: Example, pseudo_labels: PseudoLabels) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Joints [16, 2] and weights [16] of one person after the vote."""
    near = _NEAR_HEADS * (person.head_size or _HEADS_PER_CROP * person.size / CONTEXT)
    trust = LABEL_TRUST.get(person.source, 1.0) * person.labelled[None].astype(np.float64)
    label = PseudoLabels(person.joints[None], trust)
    joints, weights = vote(label + pseudo_labels, near)
    if person.source in LABEL_TRUST:
        return joints, weights
    # MPII's experts left out only what the picture does not show.
    filled = 0 if person.source == "mpii" else weights
    return (
        np.where(person.labelled[:, None], person.joints, joints),
        np.where(person.labelled, 1, filled).astype(np.float32),
    )


def vote(candidates: PseudoLabels, near: float) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The joints that most trust is behind.

    Args:
        candidates: For the joints of one person.
        near: Candidates that lie so close, in picture pixels, support each other.

    Returns:
        Joints [16, 2], the mean of what lies near the winning candidate, weighted by trust; and weights [16]: the trust
        behind them (at most 1) times its fraction of all trust, 0 below a quarter.
    """
    joints, trust = candidates.joints, candidates.trust
    apart = np.linalg.norm(joints[:, None] - joints[None], axis=-1)
    behind = ((apart <= near) * trust[None]).sum(1)  # [candidates, 16], the trust near each
    winner = np.where(trust > 0, behind, -1).argmax(0)
    columns = np.arange(joints.shape[1])
    from_winner = apart[winner, :, columns].T
    supporting = np.where(from_winner <= near, trust, 0)
    support = supporting.sum(0)
    middle = (supporting[..., None] * joints).sum(0) / np.maximum(support, 1e-9)[:, None]
    weights = np.minimum(support, 1) * support / np.maximum(trust.sum(0), 1e-9)
    return middle, np.where(weights < _LEAST_WEIGHT, 0, weights).astype(np.float32)


def _candidates(record: dict[str, Any]) -> PseudoLabels:
    """A line's joints by each model, and how far they are to be trusted."""
    stated = {model: np.asarray(record[model], np.float64) for model in _TRUST if record.get(model)}
    for model, values in stated.items():
        if values.shape != (len(JOINTS), 3):
            raise ValueError(f"{record['id']} has joints {values.shape} by {model}")
    joints = np.array([values[:, :2] for values in stated.values()]).reshape(-1, len(JOINTS), 2)
    trust = [np.interp(values[:, 2], _SCORES, _TRUST[model]) for model, values in stated.items()]
    return PseudoLabels(joints, np.array(trust).reshape(-1, len(JOINTS)))
