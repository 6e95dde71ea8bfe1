"""Crops of half bodies as detectors make them: around what a photo shows of a person whom its edge cuts off.

Coordinates are normalised, with the axes of the crop that is to be cut: x right, y down. Sides of a rectangle are in
the order left, upper, right, lower.
"""

import math
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.spec.crop import MARGIN

_LEFT, _UPPER, _RIGHT, _LOWER = range(4)

# How often each side is cut; below most often, as tables and close photos do.
_SIDE_FREQUENCIES: Final = (0.24, 0.12, 0.24, 0.40)

# The fraction of the body's extent that a cut leaves, at least and at most: from head and shoulders on; half a body
# across.
_LEFT_ALONG: Final = (0.22, 0.9)
_LEFT_ACROSS: Final = (0.35, 0.85)

_FEWEST_JOINTS: Final = 3
_TWICE: Final = 0.2  # fraction of the half bodies of which a second side is cut too
_PADDING_HEADS: Final = (0.1, 0.9)  # from the outermost joints to the box: a skull, a hand, a foot, hair
_JITTER: Final = 0.04  # standard deviation of a box's sides, in units of its own


class Windows(NamedTuple):
    """The squares that crops show, and the rectangles that photos end with.

    Attributes:
        centres: [N, 2].
        half_sides: [N].
        ends: [N, 4], infinite where the photo goes on.
    """

    centres: Tensor
    half_sides: Tensor
    ends: Tensor


def half_body_windows(
    joints: Tensor, known: Tensor, head_sizes: Tensor, generator: torch.Generator, ended: float = 0.7
) -> Windows:
    """Cut everybody once or twice and draw a box around what remains.

    Args:
        joints: float32 [N, 16, 2].
        known: bool [N, 16], which joints have a place; a person with fewer than three keeps the whole body.
        head_sizes: float32 [N], in the units of `joints`.
        generator: Of the device that holds the joints.
        ended: Fraction of the half bodies whose photo ends with the cut; those of the others go on, as if something
            stood before the person or the box were wrong.
    """
    random = torch.rand((2, len(joints)), device=joints.device, generator=generator)
    limits, shown = _cut(joints, known, generator)
    second_limits, shown_by_both = _cut(joints, shown, generator)
    twice = random[0] < _TWICE
    shown = torch.where(twice[:, None], shown_by_both, shown)
    limits = torch.where(twice[:, None], _intersection(limits, second_limits), limits)
    boxes = _intersection(_boxes(joints, shown, head_sizes, generator), limits)
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    half_sides = MARGIN / 2 * sides.amax(1).clamp(min=_JITTER)
    ends = torch.where((random[1] < ended)[:, None], limits, _unlimited(limits))
    return Windows(centres, half_sides, ends)


def _cut(joints: Tensor, known: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A limit [N, 4] on one side of each body, infinite on the others, and the known joints [N, 16] inside it."""
    count, device = len(joints), joints.device
    frequencies = torch.tensor(_SIDE_FREQUENCIES, device=device)
    side = torch.multinomial(frequencies, count, replacement=True, generator=generator)
    across = (side == _LEFT) | (side == _RIGHT)
    low, high = _extent(joints, known)
    extent = high - low
    least, most = (torch.where(across, a, b) for a, b in zip(_LEFT_ACROSS, _LEFT_ALONG, strict=True))
    left = least + (most - least) * torch.rand(count, device=device, generator=generator)
    # The body's extent along both axes, cut from its low or its high end.
    lines = torch.cat([high - left[:, None] * extent, low + left[:, None] * extent], 1)
    limits = torch.where(F.one_hot(side, 4).bool(), lines, _unlimited(lines))
    shown = known & _inside(joints, limits)
    enough = shown.sum(1) >= _FEWEST_JOINTS
    return torch.where(enough[:, None], limits, _unlimited(limits)), torch.where(enough[:, None], shown, known)


def _boxes(joints: Tensor, shown: Tensor, head_sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Boxes [N, 4] around the shown joints [N, 16], padded by a fraction of a head and drawn a little wrong."""
    low, high = _extent(joints, shown)
    least, most = _PADDING_HEADS
    random = torch.rand((len(joints), 4), device=joints.device, generator=generator)
    padding = (least + (most - least) * random) * head_sizes[:, None]
    wrong = torch.randn((len(joints), 4), device=joints.device, generator=generator).clamp(-2, 2)
    outward = padding + _JITTER * wrong * (high - low).repeat(1, 2)
    return torch.cat([low - outward[:, :2], high + outward[:, 2:]], 1)


def _extent(joints: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest coordinates [N, 2] of the known joints; the whole nominal box where there is none."""
    nobody = ~known.any(1, keepdim=True)
    low = joints.masked_fill(~known[:, :, None], math.inf).amin(1)
    high = joints.masked_fill(~known[:, :, None], -math.inf).amax(1)
    return low.masked_fill(nobody, -1 / MARGIN), high.masked_fill(nobody, 1 / MARGIN)


def _inside(joints: Tensor, limits: Tensor) -> Tensor:
    """Which joints [N, 16] lie within the limits [N, 4]."""
    return ((limits[:, None, :2] < joints) & (joints < limits[:, None, 2:])).all(2)


def _intersection(one: Tensor, other: Tensor) -> Tensor:
    """What two rectangles [N, 4] have in common."""
    return torch.cat([torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])], 1)


def _unlimited(limits: Tensor) -> Tensor:
    """Limits [N, 4] that nothing lies beyond."""
    return limits.new_tensor([-math.inf, -math.inf, math.inf, math.inf]).expand_as(limits)
