import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.augmentation import Augmentation
from models.data.pack import ABSENT, Example, PackError, read_people, training_packs
from models.training.batches import SOURCE_FREQUENCIES, Batches, lead_px
from models.training.config import TrainingConfig

Configure = Callable[..., TrainingConfig]


@pytest.fixture(scope="module")
def people(pack: Path) -> list[Example]:
    return list(read_people(pack, training_packs(pack)))


@pytest.fixture
def batches(people: list[Example], configure: Configure) -> Callable[..., Batches]:
    """`batches(seed=1)`: of the drawn people, or of others with weights of their own."""

    def make(some: list[Example] = people, weights: np.ndarray | None = None, seed: int = 0) -> Batches:
        config = configure(seed=seed)
        trusted = np.ones((len(some), 16), np.float32) if weights is None else weights
        return Batches.of(some, trusted, config, config.phases[0])

    return make


def test_batches_hold_crops_joints_and_weights(batches: Callable[..., Batches]) -> None:
    images, joints, weights = batches().draw(0)
    assert images.shape == (6, 3, 64, 64)
    assert joints.shape == (6, 16, 2)
    assert {0.0, 1.0, ABSENT} >= set(weights.unique().tolist())
    assert joints[weights > 0].abs().max() <= 1


def test_a_batch_depends_on_the_seed_and_the_crops_before_it_only(batches: Callable[..., Batches]) -> None:
    source = batches()
    first = source.draw(0)
    source.draw(6)
    assert all(torch.equal(a, b) for a, b in zip(first, batches().draw(0), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, source.draw(0), strict=True))
    for other in (source.draw(6), batches(seed=1).draw(0)):
        assert not torch.equal(first[0], other[0])


def test_the_global_generator_changes_nothing(batches: Callable[..., Batches]) -> None:
    torch.manual_seed(1)
    first = batches().draw(0)
    torch.manual_seed(2)
    assert torch.equal(batches().draw(0)[0], first[0])


def test_one_person_is_cut_differently_each_time(people: list[Example], batches: Callable[..., Batches]) -> None:
    source = batches(people[-1:] * 6)
    assert source.augmentation == Augmentation()
    joints = torch.cat([source.draw(seen)[1] for seen in (0, 6)])
    assert len({tuple(each.flatten().tolist()) for each in joints}) == 12


def test_people_of_better_labels_are_drawn_more_often_and_nobody_twice_in_a_batch(
    people: list[Example], batches: Callable[..., Batches]
) -> None:
    # The weight says who it is: 6 people of LSPET, then 12 of MPII.
    source = batches(weights=np.repeat((np.arange(1, 19, dtype=np.float32) / 100)[:, None], 16, 1))
    assert source.frequencies.tolist() == [SOURCE_FREQUENCIES[person.source] for person in people]
    source = replace(source, augmentation=replace(Augmentation(), halved=0, loose=0, ended=0), size=16)
    drawn = [source.draw(seen)[2].amax(1).mul(100).round().long() for seen in range(0, 240, 6)]
    assert all(len(set(each.tolist())) == 6 for each in drawn)
    crowd = (torch.cat(drawn) <= 6).float().mean()
    assert 0.05 < crowd < 0.25  # a third of the people, of whom MPII's are drawn five times as often


def test_a_batch_decodes_its_own_pictures_only_and_no_finer_than_they_are_seen(
    people: list[Example], batches: Callable[..., Batches], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[tuple[str, int]] = []
    decode = Example.decode

    def record(person: Example, size: int) -> np.ndarray:
        decoded.append((person.id, size))
        return decode(person, size)

    monkeypatch.setattr(Example, "decode", record)
    source = replace(batches(), size=32, augmentation=replace(Augmentation(), halved=0, loose=0, scale_octaves=0))
    assert not decoded
    source.draw(0)
    assert len(decoded) == len(set(decoded)) == 6
    assert {size for _, size in decoded} <= {57, 58}  # 1.2 times the picture that a crop of 32 px is of; they have 96
    source = replace(source, size=64)
    decoded.clear()
    source.draw(0)
    assert [size for _, size in decoded] == [96] * 6  # as they are


def test_people_without_a_head_size_are_cut_too(people: list[Example], batches: Callable[..., Batches]) -> None:
    images, joints, _ = batches([replace(person, head_size=None) for person in people]).draw(0)
    assert images.isfinite().all() and joints.isfinite().all()


def test_a_picture_that_breaks_off_is_named(people: list[Example], batches: Callable[..., Batches]) -> None:
    broken = [replace(person, picture=person.picture[:200]) for person in people]
    with pytest.raises(PackError, match=r"the picture of (mpii|lspet)_\d+ cannot be decoded"):
        batches(broken).draw(0)


def test_coarser_strides_are_cut_ahead_by_half_the_difference() -> None:
    """Cell i looks at pixel stride * i; with the lead it looks as far ahead of its centre as the shipped stride."""
    for stride in (8, 16, 32):
        looked_at, centre = lead_px(stride), stride / 2
        assert math.isclose(centre - looked_at, 4)
