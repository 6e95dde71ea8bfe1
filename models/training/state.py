"""What every training run is between two steps: a network, its optimiser and its average, kept in a checkpoint."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from models.networks.checkpoint import read_checkpoint, save_checkpoint
from models.training.optimisation import AVERAGE_EVERY
from models.training.options import RunOptions
from models.training.record import CHECKPOINT

Options = TypeVar("Options", bound=RunOptions)
Network = TypeVar("Network", bound=nn.Module)


@dataclass
class RunState(Generic[Options, Network]):
    """Everything that a checkpoint holds.

    Attributes:
        config: The run's options.
        network: As it was learnt so far.
        optimiser: Its groups state the learning rate `times` the schedule's.
        average: Of the network's weights.
        seen: How many examples were learnt from.
        losses: Of the steps since the last line of the log.
    """

    config: Options
    network: Network
    optimiser: torch.optim.Optimizer
    average: AveragedModel
    seen: int = 0
    losses: list[Tensor] = field(default_factory=list)

    def descend(self, loss: Tensor, rate: float, clip_norm: float, examples: int) -> None:
        """Take a step down the gradient of a batch's loss.

        Args:
            loss: Of the batch, a scalar.
            rate: Learning rate of the groups whose `times` is 1.
            clip_norm: Largest norm of all gradients together.
            examples: How many the batch holds.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["times"]
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), clip_norm)
        self.optimiser.step()
        self.losses.append(loss.detach())  # its value would have to be waited for
        is_averaged = self.seen // examples % AVERAGE_EVERY == 0  # the first step is, however short the run
        self.seen += examples
        if is_averaged:
            self.average.update_parameters(self.network)

    def save(self) -> None:
        """Write the checkpoint."""
        state = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "seen": self.seen}
        updates = int(self.average.get_buffer("n_averaged"))
        average = self.average.module.state_dict()
        save_checkpoint(self.config.out / CHECKPOINT, {**state, "average": average, "updates": updates})

    def resume(self) -> None:
        """Go on from the checkpoint in `config.out`, where there is one.

        Raises:
            WeightsError: It cannot be read, or is of another network.
        """
        path = self.config.out / CHECKPOINT
        if not path.exists():
            return
        saved = read_checkpoint(path)
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.average.module.load_state_dict(saved["average"])
        self.average.get_buffer("n_averaged").fill_(saved["updates"])
        self.seen = saved["seen"]
