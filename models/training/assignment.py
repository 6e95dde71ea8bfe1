"""Which cell of a finder's grids learns to box which person: task-aligned assignment (Feng et al. 2021, TOOD).

A person gets the cells that box it best already and are surest of it; how many, and how sure they are to be, follows
from how well they box it. Boxes are corners: left, top, right, bottom, in input pixels.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from models.networks.finder import DISTANCES

_SCORE_POWER: Final = 0.5
_IOU_POWER: Final = 4.0
_MOST_CELLS: Final = 10
_MOSTLY: Final = 0.5


class Assignment(NamedTuple):
    """What the C cells of one picture are to say.

    Attributes:
        person: int64 [C], index of the person to box, -1 for none.
        targets: float32 [C], the score to state, 0 where there is no person.
        counted: bool [C], whether the cell's score counts.
    """

    person: Tensor
    targets: Tensor
    counted: Tensor


def corners(boxes: Tensor) -> Tensor:
    """Boxes [..., 4] of x, y, width and height as left, top, right and bottom."""
    return torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)


def intersection(some: Tensor, others: Tensor) -> Tensor:
    """Shared areas of boxes that broadcast, corners [..., 4]."""
    sides = torch.minimum(some[..., 2:], others[..., 2:]) - torch.maximum(some[..., :2], others[..., :2])
    return sides.clamp(min=0).prod(-1)


def area(boxes: Tensor) -> Tensor:
    """Areas of boxes, corners [..., 4]; 0 of those that are inside out."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def iou(some: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast, corners [..., 4]."""
    shared = intersection(some, others)
    return shared / (area(some) + area(others) - shared).clamp(min=1e-9)


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, cells: Tensor, people: Tensor, ignored: Tensor) -> Assignment:
    """Assign the cells of one picture.

    Args:
        scores: [C], 0 to 1, as the network states them.
        boxes: Corners [C, 4], likewise.
        cells: [C, 3], centre x, centre y and stride.
        people: Corners [n, 4].
        ignored: Corners [m, 4] of where scores do not count, beside the people's cells.
    """
    counted = ~_concerns(boxes, cells, ignored)
    person = torch.full_like(scores, -1, dtype=torch.long)
    if not len(people):
        return Assignment(person, torch.zeros_like(scores), counted)
    overlaps = iou(boxes[None], people[:, None])
    candidates = _candidates(cells, people)
    ranks = scores**_SCORE_POWER * overlaps**_IOU_POWER
    # A person's only candidate may not reach the person at all yet: it must still be chosen.
    chosen = _best(torch.where(candidates, ranks, -1), torch.where(candidates, overlaps, 0))
    owner = torch.where(chosen, overlaps, -1).argmax(0)
    person = torch.where(chosen.any(0), owner, person)
    owned = (torch.arange(len(people), device=person.device)[:, None] == person) & chosen
    ranks, overlaps = torch.where(owned, ranks, 0), torch.where(owned, overlaps, 0)
    scale = overlaps.amax(1) / ranks.amax(1).clamp(min=1e-30)
    targets = (ranks * scale[:, None]).sum(0).clamp(max=1)
    return Assignment(person, targets, counted | (person >= 0))


def _concerns(boxes: Tensor, cells: Tensor, ignored: Tensor) -> Tensor:
    """Which cells [C] lie in an ignored box, or state a box that lies in one for the most part."""
    inside = _distances(cells, ignored).amin(-1) > 0
    within = intersection(boxes[None], ignored[:, None]) > _MOSTLY * area(boxes).clamp(min=1e-9)
    return (inside | within).any(0)


def _distances(cells: Tensor, boxes: Tensor) -> Tensor:
    """From the centres of cells [C, 3] to the sides of boxes [n, 4], [n, C, 4]; negative beyond a side."""
    centres = cells[None, :, :2]
    return torch.cat([centres - boxes[:, None, :2], boxes[:, None, 2:] - centres], -1)


def _candidates(cells: Tensor, people: Tensor) -> Tensor:
    """Which cells may box a person, [n, C]: inside, and with all sides within reach; else the nearest fine one."""
    distances = _distances(cells, people)
    candidates = (distances.amin(-1) > 0) & (distances.amax(-1) <= (DISTANCES - 1) * cells[:, 2])
    centres = (people[:, None, :2] + people[:, None, 2:]) / 2
    apart = (cells[None, :, :2] - centres).square().sum(-1)
    nearest = torch.where(cells[:, 2] == cells[:, 2].min(), apart, torch.inf).argmin(1)
    without = ~candidates.any(1)
    candidates[without, nearest[without]] = True
    return candidates


def _best(ranks: Tensor, overlaps: Tensor) -> Tensor:
    """Each person's best cells, [n, C], as many as the ten best overlaps add up to; ranks below 0 never."""
    most = min(_MOST_CELLS, ranks.shape[1])
    counts = overlaps.topk(most, 1).values.sum(1).long().clamp(1, most)
    best = ranks.topk(most, 1)
    taken = (torch.arange(most, device=ranks.device) < counts[:, None]) & (best.values >= 0)
    return torch.zeros_like(ranks, dtype=torch.bool).scatter(1, best.indices, taken)
