"""Which people a step learns from, and how their pictures are varied."""

from dataclasses import dataclass
from random import Random
from typing import Final, Self

import torch
from torch import Tensor

from models.data.augmentation import Augmentation
from models.data.pack import People

SOURCE_FREQUENCIES: Final = {"mpii": 2.5, "lsp": 2.0, "coco": 1.5, "lspet": 1.0, "stanford40": 1.0}
"""How often a person of each data set is drawn, relative to one of LSPET: better labels more often."""

SHIPPED_STRIDE: Final = 8


def lead_px(stride: int) -> float:
    """How far crops are shifted so that the weights' sense of position does not depend on the stride.

    Cell i looks at input pixel `stride * i` and stands for its centre, `stride * (i + 1/2)`: the network learns to read
    half a stride ahead. Shifted by half the difference, a coarser stride reads as far ahead as the shipped one.
    """
    return (stride - SHIPPED_STRIDE) / 2


@dataclass(frozen=True, slots=True)
class Batches:
    """Random batches of people that all lie on one device.

    6 GB for the whole pack at 224 px: a GPU would wait for pictures that come one by one.

    Attributes:
        people: Whom to draw, on the device.
        frequencies: How often each is drawn, relative to the others, [people].
        batch: People of a batch, all different.
        size: Side of the crops, in pixels.
        stride: Input pixels per heatmap cell.
        seed: The run's.
        augmentation: How far the crops are varied.
    """

    people: People
    frequencies: Tensor
    batch: int
    size: int
    stride: int
    seed: int
    augmentation: Augmentation

    @classmethod
    def of(cls, people: People, batch: int, size: int, stride: int, seed: int, device: str) -> Self:
        """Batches of people, drawn as often as `SOURCE_FREQUENCIES` says of their data sets."""
        frequencies = torch.tensor([SOURCE_FREQUENCIES.get(source, 1.0) for source in people.sources])
        return cls(people.to(device), frequencies, batch, size, stride, seed, Augmentation())

    def draw(self, seen: int) -> tuple[Tensor, Tensor, Tensor]:
        """The batch after `seen` crops: images [N, 3, size, size], joints [N, 16, 2] and weights [N, 16].

        It depends on the seed and on `seen` only: a resumed run draws what the uninterrupted one does.
        """
        random = Random(f"{self.seed} {seen}")
        people = self.people
        choice, change = torch.Generator(), torch.Generator(people.pictures.device)
        for generator in (choice, change):
            generator.manual_seed(random.getrandbits(32))
        chosen = torch.multinomial(self.frequencies, self.batch, replacement=False, generator=choice)
        chosen = chosen.to(people.pictures.device)
        pictures, joints, weights = people.pictures[chosen], people.joints[chosen], people.weights[chosen]
        return self.augmentation(pictures, joints, weights, self.size, change, lead_px(self.stride))
