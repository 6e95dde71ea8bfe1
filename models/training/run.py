"""The pose network in training: its start, and what it learns from a batch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from models.data.pack import ABSENT
from models.networks.checkpoint import load_weights, save_checkpoint
from models.networks.dsnt import REGULARISERS, absence_loss, joint_losses, masked_mean
from models.networks.pose import PoseNetwork
from models.training.config import TrainingConfig
from models.training.device import autocast
from models.training.optimisation import (
    CLIP_NORM,
    OPTIMISERS,
    SCHEDULES,
    moving_average,
    parameter_groups,
)
from models.training.record import CHECKPOINT, averaged_path
from models.training.state import RunState


@dataclass
class Run(RunState[TrainingConfig, PoseNetwork]):
    """A run of the pose network."""

    @classmethod
    def begin(cls, config: TrainingConfig) -> Self:
        """A new run from `config.start`, or the one that `config.out` holds.

        Raises:
            WeightsError: The starting weights or the checkpoint cannot be read, or are of another network.
        """
        torch.manual_seed(config.seed)
        network = PoseNetwork(config.depth, config.phases[0].stride, config.activation)
        if config.start and not (config.out / CHECKPOINT).exists():
            load_weights(network, *config.start)
        network.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameter_groups(network, config.frozen_stages, config.head_rate, config.weight_decay)
        average = AveragedModel(network, multi_avg_fn=moving_average, use_buffers=True)
        run = cls(config, network, OPTIMISERS[config.optimiser](groups), average)
        run.resume()
        return run

    @property
    def steps(self) -> int:
        """How many batches the run has learnt from."""
        return self.seen // self.config.batch

    @property
    def is_finished(self) -> bool:
        """Whether the run has seen the crops of all its phases."""
        return self.seen >= self.config.crops

    @property
    def rate(self) -> float:
        """The schedule's learning rate for the next step."""
        config = self.config
        return config.rate * SCHEDULES[config.schedule](self.steps, config.crops // config.batch)

    def keep_averaged(self) -> Path:
        """Write the averaged weights to a file that stays: means over several of them are better still."""
        path = averaged_path(self.config.out, self.seen)
        save_checkpoint(path, {"average": self.average.module.state_dict()})
        return path

    def step(self, images: Tensor, joints: Tensor, weights: Tensor) -> None:
        """Learn from one batch: images [N, 3, h, w], joints [N, 16, 2] and their weights [N, 16]."""
        self.descend(self.loss(images, joints, weights), self.rate, CLIP_NORM, len(images))

    def loss(self, images: Tensor, joints: Tensor, weights: Tensor) -> Tensor:
        """The mean loss of a batch's joints; `ABSENT` ones are to have a flat map, those of weight 0 do not count."""
        config = self.config
        with autocast(config.device):
            heatmaps = self.network(images.contiguous(memory_format=torch.channels_last)).heatmaps
        sigma_cells = config.sigma * heatmaps.shape[-1] / images.shape[-1]
        losses = joint_losses(heatmaps, joints, REGULARISERS[config.regulariser], sigma_cells, config.weight)
        absent = weights == ABSENT
        losses = torch.where(absent, config.weight * absence_loss(heatmaps), losses)
        return masked_mean(losses, torch.where(absent, 1, weights))

    def averaged(self, stride: int) -> PoseNetwork:
        """The network with averaged weights, for inference."""
        network = PoseNetwork(self.config.depth, stride, self.config.activation)
        network.load_state_dict(self.average.module.state_dict())
        return network.to(self.config.device).eval()
