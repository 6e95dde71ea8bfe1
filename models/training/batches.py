"""Which people a step learns from, and how their pictures are varied.

Pictures stay encoded until a batch needs them, and are decoded as finely as its crops can show: all of them at their
own resolution would fill 20 GB, and at one resolution for all a close-up of a large picture would be blurred.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.augmentation import Augmentation, Plan
from models.data.pack import Example, Labels
from models.training.config import Phase, TrainingConfig

SOURCE_FREQUENCIES: Final = {
    "mpii": 5.0,
    "lsp": 2.0,
    "coco": 2.0,
    "parse": 1.5,
    "lspet": 1.0,
    "stanford40": 1.0,
    "litehrnet": 0.7,
    "buffy": 0.7,
}
"""How often a person of each data set is drawn, relative to one of LSPET: better labels and more variety more often."""

SHIPPED_STRIDE: Final = 8

_USUAL_HEAD: Final = 0.2
"""A head's usual size, normalised to the nominal crop, where a person's is not known."""


def lead_px(stride: int) -> float:
    """How far crops are shifted so that the weights' sense of position does not depend on the stride.

    Cell i looks at input pixel `stride * i` and stands for its centre, `stride * (i + 1/2)`: the network learns to read
    half a stride ahead. Shifted by half the difference, a coarser stride reads as far ahead as the shipped one.
    """
    return (stride - SHIPPED_STRIDE) / 2


@dataclass(frozen=True, slots=True)
class Batches:
    """Random batches of people.

    Attributes:
        people: Whom to draw; their pictures stay encoded.
        labels: Of all people, on the device; every head size is a number.
        frequencies: How often each is drawn, relative to the others, [people].
        batch: People of a batch, all different.
        size: Side of the crops, in pixels.
        stride: Input pixels per heatmap cell.
        seed: The run's.
        augmentation: How far the crops are varied.
    """

    people: Sequence[Example]
    labels: Labels
    frequencies: Tensor
    batch: int
    size: int
    stride: int
    seed: int
    augmentation: Augmentation

    @classmethod
    def of(cls, people: Sequence[Example], weights: NDArray[np.float32], config: TrainingConfig, phase: Phase) -> Self:
        """Batches of people, drawn as often as `SOURCE_FREQUENCIES` says of their data sets.

        Args:
            people: Whom to draw.
            weights: [people, 16], how far each label is trusted.
            config: Says how many, from which seed, and where.
            phase: Says of which size and stride.
        """
        joints, trusted, head_sizes = (each.to(config.device) for each in Labels.of(people, weights))
        labels = Labels(joints, trusted, head_sizes.nan_to_num(_USUAL_HEAD))
        frequencies = torch.tensor([SOURCE_FREQUENCIES.get(person.source, 1.0) for person in people])
        return cls(people, labels, frequencies, config.batch, phase.size, phase.stride, config.seed, Augmentation())

    def draw(self, seen: int) -> tuple[Tensor, Tensor, Tensor]:
        """The batch after `seen` crops: images [N, 3, size, size], joints [N, 16, 2] and weights [N, 16].

        It depends on the seed and on `seen` only: a resumed run draws what the uninterrupted one does.

        Raises:
            PackError: A picture cannot be decoded.
        """
        random = Random(f"{self.seed} {seen}")
        choice, change = torch.Generator(), torch.Generator(self.labels.joints.device)
        for generator in (choice, change):
            generator.manual_seed(random.getrandbits(32))
        chosen = torch.multinomial(self.frequencies, self.batch, replacement=False, generator=choice)
        plan = self.augmentation.plan(Labels(*(each[chosen] for each in self.labels)), change)
        pictures = self._pictures([self.people[index] for index in chosen.tolist()], plan)
        images = self.augmentation.crops(pictures, plan, self.size, change, lead_px(self.stride))
        return images, plan.joints, plan.weights

    def _pictures(self, people: Sequence[Example], plan: Plan) -> list[Tensor]:
        """Decoded pictures uint8 [S, S, 3] of people, each as fine as its crop needs, on the device."""
        sizes = plan.picture_sizes([person.size for person in people], self.size)
        with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
            decoded = pool.map(Example.decode, people, sizes)
            return [torch.from_numpy(pixels.copy()).to(self.labels.joints.device) for pixels in decoded]
