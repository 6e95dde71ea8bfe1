"""Second opinions on the training labels: two pose models' joints outvote, drop and complete noisy labels.

Crowd-sourced and detected labels have left-right swaps, gross errors and gaps. A label against which both models agree
with each other is corrected, one that a sure model is far from is dropped, one that neither supports counts little, and
gaps are filled in. Where the model that learnt from MPII's experts is sure, its joint is the label: so a rough label
becomes one by MPII's conventions.
"""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.pack import CONTEXT, Person
from models.spec.skeleton import JOINTS, MIRROR

FILE_NAME: Final = "opinions.jsonl.gz"

CORRECTED_SOURCES: Final = frozenset({"lspet", "stanford40", "coco"})
"""Data sets whose labels are not experts'."""

_AGREEING: Final = 0.3  # scores from which two models that agree are believed
_SURE: Final = 0.6  # score from which one model is believed alone
_NEAR_HEADS: Final = 0.5
_FAR_HEADS: Final = 1.0
_OPINION_WEIGHT: Final = 0.7
_HEARD: Final = 0.2  # score from which a model's joint can support a label
_ALONE_WEIGHT: Final = 0.3  # of a label that neither model supports
_HEADS_PER_CROP: Final = 0.1  # a head's usual size, where it is not known

_ARM: Final = (10, 11, 12)
_LEG: Final = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Opinions:
    """What two models say of one person: joints [16, 2] in picture pixels and scores [16], 0 for no opinion."""

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


def read_opinions(folder: Path) -> dict[str, Opinions]:
    """Opinions by person's id; empty where the folder has no such file."""
    path = folder / FILE_NAME
    if not path.exists():
        return {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return {record["id"]: _opinions(record) for record in map(json.loads, lines)}


def corrected_labels(
    people: Sequence[Person], opinions: dict[str, Opinions]
) -> tuple[list[Person], NDArray[np.float32]]:
    """Correct the labels of people from `CORRECTED_SOURCES`; the others keep theirs.

    Returns:
        The people with corrected joints, and how far each label is trusted, [people, 16].
    """
    corrected, weights = [], []
    for person in people:
        joints, trust = person.joints, person.labelled.astype(np.float32)
        if person.source in CORRECTED_SOURCES and person.id in opinions:
            joints, trust = _corrected(person, opinions[person.id])
        corrected.append(replace(person, joints=joints, labelled=trust > 0))
        weights.append(trust)
    return corrected, np.stack(weights).astype(np.float32)


def _corrected(person: Person, opinions: Opinions) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    head = person.head_size or _HEADS_PER_CROP * person.size / CONTEXT
    joints, trust = person.joints.copy(), person.labelled.astype(np.float32)
    agreed, middle = opinions.agree(_NEAR_HEADS * head), opinions.mean
    for limb in (_ARM, _LEG):
        _unswap(joints, trust, limb, agreed, middle, head)

    error = np.linalg.norm(joints - middle, axis=1)
    outvoted = (trust > 0) & agreed & (error > _FAR_HEADS * head)
    joints[outvoted], trust[outvoted] = middle[outvoted], _OPINION_WEIGHT
    far = np.linalg.norm(joints - opinions.movenet, axis=1) > _FAR_HEADS * head
    trust[(opinions.movenet_scores > _SURE) & far & (trust == 1)] = 0
    filled = ~person.labelled & agreed
    joints[filled], trust[filled] = middle[filled], _OPINION_WEIGHT
    filled = ~person.labelled & ~agreed & (opinions.movenet_scores > _SURE)
    joints[filled], trust[filled] = opinions.movenet[filled], _OPINION_WEIGHT

    taught = opinions.efficientpose_scores > _SURE
    confirmed = np.linalg.norm(joints - opinions.efficientpose, axis=1) < _FAR_HEADS * head
    joints[taught] = opinions.efficientpose[taught]
    trust[taught] = np.where(confirmed & (trust == 1), 1.0, _OPINION_WEIGHT)[taught]

    near_movenet = np.linalg.norm(joints - opinions.movenet, axis=1) < _FAR_HEADS * head
    supported = (confirmed & (opinions.efficientpose_scores > _HEARD)) | (
        near_movenet & (opinions.movenet_scores > _HEARD)
    )
    asked = opinions.efficientpose_scores + opinions.movenet_scores > 0
    trust[asked & ~supported & (trust == 1)] = _ALONE_WEIGHT
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


def _opinions(record: dict[str, object]) -> Opinions:
    arrays = []
    for model in ("movenet", "efficientpose"):
        stated = record.get(model)
        joints = np.zeros((len(JOINTS), 3)) if stated is None else np.asarray(stated, np.float64)
        arrays += [joints[:, :2], joints[:, 2]]
    return Opinions(*arrays)
