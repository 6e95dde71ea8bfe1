import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.data.half_bodies import Windows, half_body_windows
from models.spec.crop import MARGIN
from tests.models.conftest import STANDING

HEAD = 0.2
COUNT = 400


def standing(count: int = COUNT) -> Tensor:
    return torch.tensor(STANDING, dtype=torch.float32).expand(count, 16, 2)


def cut(joints: Tensor, known: Tensor | None = None, seed: int = 0, ended: float = 1) -> Windows:
    known = torch.ones(joints.shape[:2], dtype=torch.bool) if known is None else known
    generator = torch.Generator().manual_seed(seed)
    return half_body_windows(joints, known, torch.full((len(joints),), HEAD), generator, ended)


def beyond(windows: Windows, joints: Tensor) -> Tensor:
    """Which joints [N, 16] lie beyond each of the ends [N, 4]: [N, 4, 16]."""
    low = joints.mT < windows.ends[:, :2, None]
    return torch.cat([low, joints.mT > windows.ends[:, 2:, None]], 1)


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_the_box_lies_within_the_ends_and_three_known_joints_with_it(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    joints = 2 * torch.rand((32, 16, 2), generator=generator) - 1
    known = torch.rand((32, 16), generator=generator) < 0.7
    windows = cut(joints, known, seed)
    shown = known & ~beyond(windows, joints).any(1)
    assert (shown.sum(1) >= known.sum(1).clamp(max=3)).all()
    assert (windows.half_sides > 0).all()
    # The crop's side is a margin around the box's longer one, which does not reach over an end.
    half_box = windows.half_sides / MARGIN - 1e-5
    low, high = windows.centres - half_box[:, None], windows.centres + half_box[:, None]
    assert ((low > windows.ends[:, :2]) & (high < windows.ends[:, 2:])).any(1).all()
    assert ((windows.centres > windows.ends[:, :2]) & (windows.centres < windows.ends[:, 2:])).all()


def test_photos_end_at_every_side_and_mostly_below() -> None:
    windows = cut(standing())
    ended = windows.ends.isfinite().float().mean(0)
    assert (ended > 0.1).all()
    assert ended.argmax() == 3
    once = windows.ends.isfinite().sum(1) == 1
    assert 0.6 < once.float().mean() < 0.95  # the others are cut twice


def test_a_crop_holds_what_is_shown_and_hardly_more() -> None:
    joints = standing()
    windows = cut(joints)
    shown = ~beyond(windows, joints).any(1)
    assert not shown.all(1).all()
    places = (joints - windows.centres[:, None]) / windows.half_sides[:, None, None]
    assert (places[shown].abs() < 1).float().mean() > 0.99
    extents = torch.stack([p[s].amax(0) - p[s].amin(0) for p, s in zip(places, shown, strict=True)]).amax(1)
    assert (extents > 2 / MARGIN / 2.5).float().mean() > 0.95


def test_parts_from_head_and_shoulders_to_nearly_all_remain() -> None:
    joints = standing()
    shown = (~beyond(cut(joints), joints).any(1)).sum(1)
    assert shown.min() <= 5
    assert shown.max() >= 14


def test_photos_that_go_on_have_no_ends_and_the_same_crops() -> None:
    ended, on = (cut(standing(), ended=fraction) for fraction in (1, 0))
    assert not on.ends.isfinite().any()
    assert torch.equal(ended.half_sides, on.half_sides)
    assert torch.equal(ended.centres, on.centres)
    half = cut(standing(), ended=0.5).ends.isfinite().any(1).float().mean()
    assert 0.4 < half < 0.6


def test_joints_without_a_place_change_nothing() -> None:
    joints, known = standing().clone(), torch.ones(COUNT, 16, dtype=torch.bool)
    joints[:, 7], known[:, 7] = 100, False
    assert cut(joints, known).half_sides.max() < 2


@pytest.mark.parametrize("known", [0, 2])
def test_who_has_too_few_joints_is_not_cut(known: int) -> None:
    windows = cut(standing(8), (torch.arange(16) < known).expand(8, 16))
    assert not windows.ends.isfinite().any()
    assert windows.half_sides.isfinite().all() and (windows.half_sides > 0).all()


def test_the_same_seed_gives_the_same_cuts() -> None:
    first, second = (cut(standing(), seed=5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first.centres, cut(standing(), seed=6).centres)
