"""Which photos a step of the finder's training learns from."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from models.data.scene_views import SceneAugmentation, View
from models.data.scenes import Scene
from models.training.finder_config import FinderConfig


class Batch(NamedTuple):
    """Views of photos.

    Attributes:
        pictures: uint8 [N, size, size, 3].
        people: For each picture boxes [n, 4] (x, y, width, height), in its pixels.
        ignored: For each picture boxes [m, 4] where a finder may say what it likes.
    """

    pictures: Tensor
    people: list[Tensor]
    ignored: list[Tensor]


@dataclass(frozen=True, slots=True)
class SceneBatches:
    """Batches of views that depend on the seed and on how many came before: a resumed run draws what another does.

    Attributes:
        scenes: What a round shows, in an order of its own.
        sizes: Sides of the views, one of them for each batch.
        batch: Views of a batch.
        seed: The run's.
        augmentation: How far the views are varied.
    """

    scenes: Sequence[Scene]
    sizes: Sequence[int]
    batch: int
    seed: int
    augmentation: SceneAugmentation

    @classmethod
    def of(cls, scenes: Sequence[Scene], config: FinderConfig) -> Self:
        """Batches of scenes; those of nobody come as often as the options say."""
        nobody = [scene for scene in scenes if not len(scene.boxes)]
        everything = [*scenes, *nobody * (config.nobody - 1)]
        return cls(everything, config.sizes, config.batch, config.seed, SceneAugmentation(beside=config.beside))

    def draw(self, seen: int) -> Batch:
        """The batch after `seen` views.

        Raises:
            PackError: A picture cannot be decoded.
        """
        size = Random(f"{self.seed} size {seen}").choice(self.sizes)

        def view(index: int) -> View:
            random = np.random.default_rng([self.seed, index])
            return self.augmentation(self._scene(index), size, random)

        with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
            views = list(pool.map(view, range(seen, seen + self.batch)))
        return Batch(
            torch.from_numpy(np.stack([each.picture for each in views])),
            [torch.from_numpy(each.people) for each in views],
            [torch.from_numpy(each.ignored) for each in views],
        )

    def _scene(self, index: int) -> Scene:
        """What a number of views precede, each round in an order of its own."""
        turn, place = divmod(index, len(self.scenes))
        order = np.random.default_rng([self.seed, turn]).permutation(len(self.scenes))
        return self.scenes[int(order[place])]
