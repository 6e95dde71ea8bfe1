from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.pack import read_people, training_packs
from models.data.person_views import PersonViews, person_scenes
from models.data.scenes import Scene, read_scenes, training_scenes
from models.training.finder_batches import Batch, SceneBatches
from models.training.finder_config import FinderConfig


def batches(folder: Path, **options: int | float | tuple[int, ...]) -> tuple[SceneBatches, list[Scene]]:
    scenes = list(read_scenes(folder, training_scenes(folder)))
    chosen = {"sizes": (64, 96), "batch": 4, "views": 64, **options}
    config = FinderConfig(data=folder, out=Path("x"), start=Path("y"), **chosen)
    people = person_scenes(read_people(folder, training_packs(folder))) if config.people else []
    return SceneBatches.of(scenes, config, people), scenes


def assert_same(batch: Batch, other: Batch) -> None:
    assert torch.equal(batch.pictures, other.pictures)
    assert all(map(torch.equal, batch.people, other.people))
    assert all(map(torch.equal, batch.ignored, other.ignored))


@pytest.mark.parametrize("people", [0.0, 0.5, 1.0])
def test_a_batch_depends_on_the_seed_and_its_place_alone(finder_pack: Path, people: float) -> None:
    some, _ = batches(finder_pack, people=people)
    others, _ = batches(finder_pack, people=people)
    first, _ = some.draw(8), some.draw(12)
    assert_same(first, others.draw(8))
    other, _ = batches(finder_pack, people=people, seed=1)
    drawn = other.draw(8).pictures
    assert drawn.shape != first.pictures.shape or not torch.equal(drawn, first.pictures)


def test_batches_have_one_size_each_and_all_sizes_in_turn(scenes_pack: Path) -> None:
    some, _ = batches(scenes_pack)
    sizes = [some.draw(seen).pictures.shape for seen in range(0, 64, 4)]
    assert {tuple(shape) for shape in sizes} == {(4, 64, 64, 3), (4, 96, 96, 3)}


def test_a_round_shows_each_photo_once_and_those_of_nobody_as_often_as_said(scenes_pack: Path) -> None:
    some, scenes = batches(scenes_pack, nobody=3)
    turn = len(some.scenes)
    assert turn == 10 + 3 * 5  # of 15 photos 5 are of nobody
    for start in (0, turn):
        counts = Counter(some._scene(start + place).id for place in range(turn))
        assert all(counts[scene.id] == (1 if len(scene.boxes) else 3) for scene in scenes)
    assert [some._scene(i).id for i in range(turn)] != [some._scene(turn + i).id for i in range(turn)]


def test_without_views_of_people_their_packs_change_nothing(finder_pack: Path) -> None:
    some, _ = batches(finder_pack, people=0.5)
    without, _ = batches(finder_pack)
    drawn = replace(some, people=0.0).draw(4)
    assert_same(drawn, without.draw(4))
    size = drawn.pictures.shape[1]
    for index in range(4):  # as before there were any: the first random number is already of the photo's view
        view = without.augmentation(without._scene(4 + index), size, np.random.default_rng([0, 4 + index]))
        assert np.array_equal(view.picture, drawn.pictures[index].numpy())


def test_a_fraction_of_the_views_is_of_people(finder_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    choose = PersonViews.choose

    def noted(views: PersonViews, random: np.random.Generator) -> Scene:
        chosen.append(choose(views, random))
        return chosen[-1]

    monkeypatch.setattr(PersonViews, "choose", noted)
    some, _ = batches(finder_pack, people=0.3, sizes=(32,), batch=200, views=200)
    batch = some.draw(0)
    assert 0.2 <= len(chosen) / 200 <= 0.4
    assert sum(len(ignored) > 0 for ignored in batch.ignored) >= len(chosen)
    assert len({person.id for person in chosen}) > 10
    # 12 people of MPII, each drawn twelve times as often as one of LSPET's 6
    assert np.mean([person.source == "mpii" for person in chosen]) >= 0.9


def test_people_are_pasted_over_photos_of_nobody_and_drawn_by_data_set(finder_pack: Path) -> None:
    some, scenes = batches(finder_pack, people=0.3, nobody=3)
    views = some.person_views
    assert [scene.id for scene in views.nobody] == [scene.id for scene in scenes if not len(scene.boxes)]
    assert {(p.source, f) for p, f in zip(views.people, views.frequencies, strict=True)} == {
        ("mpii", 6.0),
        ("lspet", 0.5),
    }
