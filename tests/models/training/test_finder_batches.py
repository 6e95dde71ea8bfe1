from collections import Counter
from pathlib import Path

import torch

from models.data.scenes import Scene, read_scenes, training_scenes
from models.training.finder_batches import SceneBatches
from models.training.finder_config import FinderConfig


def batches(folder: Path, **options: int | float | tuple[int, ...]) -> tuple[SceneBatches, list[Scene]]:
    scenes = list(read_scenes(folder, training_scenes(folder)))
    chosen = {"sizes": (64, 96), "batch": 4, "views": 64, **options}
    config = FinderConfig(data=folder, out=Path("x"), start=Path("y"), **chosen)
    return SceneBatches.of(scenes, config), scenes


def test_a_batch_depends_on_the_seed_and_its_place_alone(scenes_pack: Path) -> None:
    some, _ = batches(scenes_pack)
    others, _ = batches(scenes_pack)
    first, _ = some.draw(8), some.draw(12)
    again = others.draw(8)
    assert torch.equal(first.pictures, again.pictures)
    assert all(map(torch.equal, first.people, again.people))
    assert all(map(torch.equal, first.ignored, again.ignored))
    other, _ = batches(scenes_pack, seed=1)
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
