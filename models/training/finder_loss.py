"""What a finder learns from: quality focal loss, distribution focal loss (Li et al. 2020) and generalised IoU.

Each counts, over the sum of the target scores, as it does in NanoDet.
"""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.finder import DISTANCES, Findings, decode
from models.training.assignment import Assignment, area, assign, corners, intersection

_BOX_WEIGHT: Final = 2.0
_SIDE_WEIGHT: Final = 0.25
_PERSON_POWER: Final = 2.0
# Of cells without a person: 2 would hardly push low scores down, and a finder that learns so fires at anything.
_NOBODY_POWER: Final = 1.0


def finder_loss(findings: Findings, cells: Tensor, people: Sequence[Tensor], ignored: Sequence[Tensor]) -> Tensor:
    """The loss of a batch.

    Args:
        findings: Of N pictures.
        cells: [C, 3], centre x, centre y and stride, in input pixels.
        people: For each picture boxes [n, 4] (x, y, width, height), in input pixels.
        ignored: For each picture boxes [m, 4] where scores do not count.
    """
    logits, sides = findings.logits.float(), findings.sides.float()
    boxes = corners(decode(sides, cells))
    wanted = [corners(each) for each in people]
    assigned = [
        assign(score, box, cells, some, corners(others))
        for score, box, some, others in zip(logits.detach().sigmoid(), boxes.detach(), wanted, ignored, strict=True)
    ]
    batch = Assignment(*(torch.stack(values) for values in zip(*assigned, strict=True)))
    scores = torch.where(batch.counted, score_losses(logits, batch.targets), 0).sum()
    total = scores + _box_losses(boxes, sides, cells, wanted, batch)
    return total / batch.targets.sum().clamp(min=1)


def score_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Quality focal loss of each score: cross-entropy times how far it is from its target, to a power."""
    off = (logits.sigmoid() - targets).abs()
    weights = torch.where(targets > 0, off**_PERSON_POWER, off**_NOBODY_POWER)
    return weights * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def giou_losses(boxes: Tensor, targets: Tensor) -> Tensor:
    """1 - generalised IoU (Rezatofighi et al. 2019) of corners [n, 4] with their targets'."""
    shared = intersection(boxes, targets)
    union = (area(boxes) + area(targets) - shared).clamp(min=1e-9)
    low, high = torch.minimum(boxes[:, :2], targets[:, :2]), torch.maximum(boxes[:, 2:], targets[:, 2:])
    hull = (high - low).prod(-1).clamp(min=1e-9)
    return 1 - shared / union + (hull - union) / hull


def side_losses(sides: Tensor, distances: Tensor) -> Tensor:
    """Distribution focal loss [n] of sides [n, 4, 11], logits, with distances [n, 4] in cells, mean of the sides."""
    distances = distances.clamp(0, DISTANCES - 1.01)
    below = distances.long()
    above_share = distances - below
    logs = sides.log_softmax(-1)
    lower, upper = (logs.gather(-1, step[..., None])[..., 0] for step in (below, below + 1))
    return -((1 - above_share) * lower + above_share * upper).mean(-1)


def _box_losses(boxes: Tensor, sides: Tensor, cells: Tensor, people: Sequence[Tensor], batch: Assignment) -> Tensor:
    """The boxes' share of the loss, weighted by the cells' target scores."""
    picture, cell = (batch.person >= 0).nonzero(as_tuple=True)
    if not len(cell):
        return boxes.sum() * 0
    first = torch.tensor([0, *(len(each) for each in people[:-1])], device=boxes.device).cumsum(0)
    targets = torch.cat(list(people))[first[picture] + batch.person[picture, cell]]
    centres, strides = cells[cell, :2], cells[cell, 2:]
    distances = torch.cat([centres - targets[:, :2], targets[:, 2:] - centres], -1) / strides
    losses = _BOX_WEIGHT * giou_losses(boxes[picture, cell], targets)
    losses = losses + _SIDE_WEIGHT * side_losses(sides[picture, cell], distances)
    return (losses * batch.targets[picture, cell]).sum()
