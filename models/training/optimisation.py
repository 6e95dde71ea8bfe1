"""How weights change: optimisers and schedules by name, what learns at which rate, and the moving average."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from models.networks.pose import PoseNetwork

AVERAGE_EVERY: Final = 4
"""Steps between two updates of the averaged weights."""

AVERAGE_DECAY: Final = 0.997
CLIP_NORM: Final = 5.0
WARM_UP_STEPS: Final = 100

ParameterGroups = list[dict[str, Any]]


def cosine(step: int, steps: int) -> float:
    """Linear warm-up over at most a tenth of the steps, then one cosine down to a hundredth."""
    warm = min(1.0, (step + 1) / max(1, min(WARM_UP_STEPS, steps // 10)))
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


OPTIMISERS: Final[dict[str, Callable[[ParameterGroups], torch.optim.Optimizer]]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
}
"""From `parameter_groups` to the optimiser of this name; each step sets the groups' rates."""

SCHEDULES: Final[dict[str, Callable[[int, int], float]]] = {"cosine": cosine}
"""The learning rate at a step of so many steps, as a fraction of the largest."""


def freeze(network: PoseNetwork, stages: int, statistics: bool = False) -> None:
    """Stop the stem and the first `stages` ResNet stages from learning, their batch norm's statistics included.

    With `statistics`, those of all stages stay as they are: a small batch's are poor.
    """
    for module in network.modules():
        if statistics and isinstance(module, nn.BatchNorm2d):
            module.eval()
    if stages == 0:
        return
    backbone = network.backbone
    for name in ("conv1", "bn1", *(f"layer{stage}" for stage in range(1, stages + 1))):
        module = backbone.get_submodule(name)
        module.requires_grad_(False)
        module.eval()


def parameter_groups(
    network: PoseNetwork, frozen_stages: int, head_rate: float, weight_decay: float
) -> ParameterGroups:
    """What learns: biases and batch norm without decay, the heatmap convolution with a rate of its own."""
    freeze(network, frozen_stages)
    learning = [
        (name, p) for name, p in network.named_parameters() if p.requires_grad and not name.startswith("heatmap")
    ]
    return [
        {"params": [p for _, p in learning if p.ndim > 1], "weight_decay": weight_decay, "times": 1.0},
        {"params": [p for _, p in learning if p.ndim == 1], "weight_decay": 0.0, "times": 1.0},
        {"params": list(network.heatmap.parameters()), "weight_decay": weight_decay, "times": head_rate},
    ]


def moving_average(averaged: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
    """Move averages of one type towards the current values, in place: exponentially, with a short memory at first."""
    if averaged[0].is_floating_point():
        decay = min(AVERAGE_DECAY**AVERAGE_EVERY, int(updates) / (int(updates) + 5))
        get_ema_multi_avg_fn(decay)(averaged, current, updates)  # type: ignore[no-untyped-call]
    else:  # batch norm's counts of batches
        for mean, value in zip(averaged, current, strict=True):
            mean.copy_(value)
