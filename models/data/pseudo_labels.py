"""Pseudo-labels: two pose models' joints outvote, drop and complete noisy training labels.

Crowd-sourced and detected labels have left-right swaps, gross errors and gaps. A label against which both models agree
with each other is corrected, one that a sure model is far from is dropped, one that neither supports counts little, and
gaps are filled in. Where the model that learnt from MPII's experts is sure, its joint is the label: so a rough label
becomes one by MPII's conventions.
"""

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.pack import CONTEXT, Example, PackError
from models.spec.skeleton import JOINTS, MIRROR

FILE_NAME: Final = "opinions.jsonl.gz"

CORRECTED_SOURCES: Final = frozenset({"lspet", "stanford40", "coco"})
"""Data sets whose labels are not experts'."""

_AGREEING: Final = 0.3  # scores from which two models that agree are believed
_SURE: Final = 0.6  # score from which one model is believed alone
_NEAR_HEADS: Final = 0.5
_FAR_HEADS: Final = 1.0
_MODEL_WEIGHT: Final = 0.7
_SUPPORTING: Final = 0.2  # score from which a model's joint can support a label
_ALONE_WEIGHT: Final = 0.3  # of a label that neither model supports
_HEADS_PER_CROP: Final = 0.1  # a head's usual size, where it is not known

_ARM: Final = (10, 11, 12)
_LEG: Final = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """Two models' joints of one person, [16, 2] in picture pixels, and their scores [16], 0 where it has none."""

    movenet: NDArray[np.float64]
    movenet_scores: NDArray[np.float64]
    efficientpose: NDArray[np.float64]
    efficientpose_scores: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """The two models' middle, [16, 2]."""
        return (self.movenet + self.efficientpose) / 2

    def agree(self, near: float) -> NDArray[np.bool_]:
        """Joints [16] that both models place within `near` pixels of each other."""
        scored = np.minimum(self.movenet_scores, self.efficientpose_scores) > _AGREEING
        near_each_other: NDArray[np.bool_] = np.linalg.norm(self.movenet - self.efficientpose, axis=1) < near
        return scored & near_each_other


def read_pseudo_labels(folder: Path) -> dict[str, PseudoLabels]:
    """Pseudo-labels by person's id; empty where the folder has no such file.

    Raises:
        PackError: The file cannot be read.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return {}
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return {record["id"]: _pseudo_labels(record) for record in map(json.loads, lines)}
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise PackError(f"{path} cannot be read: {type(error).__name__}, {error}") from error


def corrected_labels(
    people: Sequence[Example], pseudo_labels: dict[str, PseudoLabels]
) -> tuple[list[Example], NDArray[np.float32]]:
    """Correct the labels of people from `CORRECTED_SOURCES`; the others keep theirs.

    Returns:
        The people with corrected joints, and how far each label is trusted, [people, 16].
    """
    corrected, weights = [], []
    for person in people:
        joints, trust = person.joints, person.labelled.astype(np.float32)
        if person.source in CORRECTED_SOURCES and person.id in pseudo_labels:
            joints, trust = _corrected(person, pseudo_labels[person.id])
        corrected.append(replace(person, joints=joints, labelled=trust > 0))
        weights.append(trust)
    return corrected, np.stack(weights).astype(np.float32)


def _corrected(person: Example, models: PseudoLabels) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    head = person.head_size or _HEADS_PER_CROP * person.size / CONTEXT
    joints, trust = person.joints.copy(), person.labelled.astype(np.float32)
    agreed, middle = models.agree(_NEAR_HEADS * head), models.mean
    for limb in (_ARM, _LEG):
        _unswap(joints, trust, limb, agreed, middle, head)

    error = np.linalg.norm(joints - middle, axis=1)
    outvoted = (trust > 0) & agreed & (error > _FAR_HEADS * head)
    joints[outvoted], trust[outvoted] = middle[outvoted], _MODEL_WEIGHT
    far = np.linalg.norm(joints - models.movenet, axis=1) > _FAR_HEADS * head
    trust[(models.movenet_scores > _SURE) & far & (trust == 1)] = 0
    filled = ~person.labelled & agreed
    joints[filled], trust[filled] = middle[filled], _MODEL_WEIGHT
    filled = ~person.labelled & ~agreed & (models.movenet_scores > _SURE)
    joints[filled], trust[filled] = models.movenet[filled], _MODEL_WEIGHT

    sure = models.efficientpose_scores > _SURE
    confirmed = np.linalg.norm(joints - models.efficientpose, axis=1) < _FAR_HEADS * head
    joints[sure] = models.efficientpose[sure]
    trust[sure] = np.where(confirmed & (trust == 1), 1.0, _MODEL_WEIGHT)[sure]

    near_movenet = np.linalg.norm(joints - models.movenet, axis=1) < _FAR_HEADS * head
    supported = (confirmed & (models.efficientpose_scores > _SUPPORTING)) | (
        near_movenet & (models.movenet_scores > _SUPPORTING)
    )
    scored = models.efficientpose_scores + models.movenet_scores > 0
    trust[scored & ~supported & (trust == 1)] = _ALONE_WEIGHT
    return joints, trust


def _unswap(
    joints: NDArray[np.float64],
    trust: NDArray[np.float32],
    limb: tuple[int, ...],
    agreed: NDArray[np.bool_],
    middle: NDArray[np.float64],
    head: float,
) -> None:
    """Exchange a pair of limbs, in place, whose labels are near both models' joints only after the exchange."""
    here = np.array([*limb, *(MIRROR[joint] for joint in limb)])
    there = np.array([MIRROR[joint] for joint in here])
    usable = agreed[here] & (trust[here] > 0) & (trust[there] > 0)
    if usable.sum() < 2:
        return
    direct = np.linalg.norm(joints[here] - middle[here], axis=1)[usable].mean()
    exchanged = np.linalg.norm(joints[there] - middle[here], axis=1)[usable].mean()
    if direct > _FAR_HEADS * head and exchanged < _NEAR_HEADS * head:
        joints[here], trust[here] = joints[there], trust[there]


def _pseudo_labels(record: dict[str, object]) -> PseudoLabels:
    arrays = []
    for model in ("movenet", "efficientpose"):
        stated = record.get(model)
        joints = np.zeros((len(JOINTS), 3)) if stated is None else np.asarray(stated, np.float64)
        if joints.shape != (len(JOINTS), 3):
            raise ValueError(f"{record['id']} has joints {joints.shape} by {model}")
        arrays += [joints[:, :2], joints[:, 2]]
    return PseudoLabels(*arrays)
