import math
from pathlib import Path

import pytest
import torch

from models.data.augmentation import Augmentation
from models.data.pack import People, load_people, read_people, training_packs
from models.training.batches import SOURCE_FREQUENCIES, Batches, lead_px


@pytest.fixture(scope="module")
def people(pack: Path) -> People:
    return load_people(list(read_people(pack, training_packs(pack))), None, 64)


def batches(people: People, seed: int = 0) -> Batches:
    return Batches.of(people, 6, 64, 16, seed, "cpu")


def test_a_batch_depends_on_the_seed_and_the_crops_before_it_only(people: People) -> None:
    source = batches(people)
    first = source.draw(0)
    source.draw(6)
    assert all(torch.equal(a, b) for a, b in zip(first, batches(people).draw(0), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, source.draw(0), strict=True))
    for other in (source.draw(6), batches(people, seed=1).draw(0)):
        assert not torch.equal(first[0], other[0])


def test_the_global_generator_changes_nothing(people: People) -> None:
    torch.manual_seed(1)
    first = batches(people).draw(0)
    torch.manual_seed(2)
    assert torch.equal(batches(people).draw(0)[0], first[0])


def test_one_person_is_cut_differently_each_time(pack: Path) -> None:
    person = next(read_people(pack, ["train-mpii"]))
    source = batches(load_people([person] * 6, None, 64))
    assert source.augmentation == Augmentation()
    joints = torch.cat([source.draw(seen)[1] for seen in (0, 6)])
    assert len({tuple(each.flatten().tolist()) for each in joints}) == 12


def test_people_of_better_labels_are_drawn_more_often(people: People) -> None:
    source = batches(people)
    assert source.frequencies.tolist() == [SOURCE_FREQUENCIES[name] for name in people.sources]
    assert set(source.frequencies.tolist()) == {1.0, 2.5}


def test_coarser_strides_are_cut_ahead_by_half_the_difference() -> None:
    """Cell i looks at pixel stride * i; with the lead it looks as far ahead of its centre as the shipped stride."""
    for stride in (8, 16, 32):
        looked_at, centre = lead_px(stride), stride / 2
        assert math.isclose(centre - looked_at, 4)
