"""Which photos a step of the finder's training learns from."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from models.data.person_views import PersonViews
from models.data.scene_views import SceneAugmentation, View
from models.data.scenes import Scene
from models.training.finder_config import FinderConfig

PERSON_FREQUENCIES: Final = {"mpii": 6.0, "lsp": 2.0, "parse": 2.0, "buffy": 2.0}
"""How often a person of each data set is drawn, relative to the others: better labels and more variety more often."""

OTHER_FREQUENCY: Final = 0.5
"""The same of the data sets that are not named: LSPET's many people, whom crowd workers labelled roughly."""


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
        scenes: What a round shows, in an order of its own; where a view is of a person, a photo is left out.
        sizes: Sides of the views, one of them for each batch.
        batch: Views of a batch.
        seed: The run's.
        augmentation: How far the views are varied.
        people: Fraction of the views that are of a person, in place of a photo.
        person_views: Draws these.
    """

    scenes: Sequence[Scene]
    sizes: Sequence[int]
    batch: int
    seed: int
    augmentation: SceneAugmentation
    people: float
    person_views: PersonViews

    @classmethod
    def of(cls, scenes: Sequence[Scene], config: FinderConfig, people: Sequence[Scene] = ()) -> Self:
        """Batches of scenes; those of nobody come as often as the options say.

        Args:
            scenes: Photos in which everybody is boxed.
            config: Says of which sizes, how many, from which seed.
            people: Scenes of one person each, which `config.people` of the views show.
        """
        nobody = [scene for scene in scenes if not len(scene.boxes)]
        everything = [*scenes, *nobody * (config.nobody - 1)]
        augmentation = SceneAugmentation(beside=config.beside)
        frequencies = np.array([PERSON_FREQUENCIES.get(person.source, OTHER_FREQUENCY) for person in people])
        person_views = PersonViews(people, frequencies, nobody)
        return cls(everything, config.sizes, config.batch, config.seed, augmentation, config.people, person_views)

    def draw(self, seen: int) -> Batch:
        """The batch after `seen` views.

        Raises:
            PackError: A picture cannot be decoded.
        """
        size = Random(f"{self.seed} size {seen}").choice(self.sizes)
        with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
            views = list(pool.map(lambda index: self._view(index, size), range(seen, seen + self.batch)))
        return Batch(
            torch.from_numpy(np.stack([each.picture for each in views])),
            [torch.from_numpy(each.people) for each in views],
            [torch.from_numpy(each.ignored) for each in views],
        )

    def _view(self, index: int, size: int) -> View:
        """The view that a number of views precede."""
        random = np.random.default_rng([self.seed, index])
        if self.people and random.random() < self.people:
            person = self.person_views.choose(np.random.default_rng([self.seed, index, 1]))
            return self.person_views.view(person, size, random)
        return self.augmentation(self._scene(index), size, random)

    def _scene(self, index: int) -> Scene:
        """What a number of views precede, each round in an order of its own."""
        turn, place = divmod(index, len(self.scenes))
        order = np.random.default_rng([self.seed, turn]).permutation(len(self.scenes))
        return self.scenes[int(order[place])]
