from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.augmentation import Augmentation, Plan
from models.data.pack import ABSENT, CONTEXT, Labels, load_people, nominal_crops, read_people
from models.networks.pose import normalise
from models.spec.crop import OUTSIDE_COLOUR, PIXEL_MEAN, PIXEL_STD
from models.spec.skeleton import MIRROR
from tests.models.conftest import STANDING

PLAIN_COLOURS = Augmentation(gain=0, brightness=0, grey=0, sharpness=0, hidden=0, surrounded=0)
WHOLE_BODIES = replace(PLAIN_COLOURS, halved=0, ended=0)
STILL = replace(WHOLE_BODIES, rotation_degrees=0, turned=0, scale_octaves=0, shift=0, loose=0)


def labels(joints: torch.Tensor, weights: torch.Tensor | None = None) -> Labels:
    """Labels with joints [N, 16, 2] and weights [N, 16], 1 where left out."""
    trusted = torch.ones(joints.shape[:2]) if weights is None else weights
    return Labels(joints, trusted, torch.full((len(joints),), 0.2))


def augmented(
    augmentation: Augmentation,
    pictures: Sequence[torch.Tensor],
    labelled: Labels,
    seed: int = 0,
    crop_size: int = 64,
    lead_px: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, joints and weights of one crop of each picture."""
    generator = torch.Generator().manual_seed(seed)
    plan = augmentation.plan(labelled, generator)
    return augmentation.crops(pictures, plan, crop_size, generator, lead_px), plan.joints, plan.weights


def standing(count: int) -> torch.Tensor:
    return torch.tensor(STANDING, dtype=torch.float32).expand(count, 16, 2)


def ramps(size: int) -> torch.Tensor:
    """A picture uint8 [size, size, 3] whose red and green say where, from left to right and from top to bottom."""
    axis = (torch.arange(size) + 0.5) / size * 255
    x, y = axis[None].expand(size, -1), axis[:, None].expand(-1, size)
    return torch.stack([x, y, torch.zeros(size, size)], -1).round().to(torch.uint8)


def colours(images: torch.Tensor) -> torch.Tensor:
    """The network's input [N, 3, h, w] as colours, 0 to 1."""
    mean, std = (torch.tensor(value)[:, None, None] for value in (PIXEL_MEAN, PIXEL_STD))
    return images * std + mean


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 4.0]))
def test_joints_move_with_the_pixels(seed: int, lead_px: float) -> None:
    size, every_kind = 48, replace(PLAIN_COLOURS, turned=0.3)
    generator = torch.Generator().manual_seed(seed)
    joints = standing(16) * (0.5 + torch.rand((16, 1, 1), generator=generator))
    plan = every_kind.plan(labels(joints), generator)
    images = every_kind.crops([ramps(192)] * 16, plan, size, generator, lead_px)
    mirrored = torch.linalg.det(plan.crop_to_nominal[:, :, :2]) < 0
    places = torch.where(mirrored[:, None, None], joints[:, list(MIRROR)], joints)
    shifted = plan.joints - 2 * lead_px / size
    read = F.grid_sample(colours(images), shifted[:, None], align_corners=False)[:, :2, 0].mT
    edge = 1 - 4 / size
    ends = torch.cat([-plan.ends[:, :2], plan.ends[:, 2:]], 1)[:, None]
    inside = (torch.cat([-shifted, shifted], 2) < ends - 4 / size).all(2)
    there = (plan.weights > 0) & inside & (shifted.abs().amax(2) < edge) & (places.abs().amax(2) < 1.4)
    assert there.sum() > 50
    levels = 255 * (read - (places / CONTEXT + 1) / 2)
    assert levels[there].abs().max() < 2


@settings(max_examples=8)
@given(st.integers(0, 10_000))
def test_joints_that_a_crop_does_not_show_are_absent_and_no_others(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    joints = standing(32) * (0.5 + torch.rand((32, 1, 1), generator=generator))
    weights = torch.rand((32, 16), generator=generator)
    weights[:, :2], weights[:, 2:4] = 0, ABSENT
    plan = Augmentation().plan(labels(joints, weights), generator)
    mirrored = torch.linalg.det(plan.crop_to_nominal[:, :, :2]) < 0
    before = torch.where(mirrored[:, None], weights[:, list(MIRROR)], weights)
    beyond = torch.cat([plan.ends[:, None, :2] - plan.joints, plan.joints - plan.ends[:, None, 2:]], 2).amax(2)
    labelled = before > 0
    assert torch.equal(plan.weights[~labelled], before[~labelled])
    assert torch.equal(plan.weights[labelled & (beyond <= 0)], before[labelled & (beyond <= 0)])
    assert (plan.weights[labelled & (beyond > 0.051)] == ABSENT).all()  # a fortieth of the crop's side
    assert (plan.weights[labelled & (beyond > 0) & (beyond < 0.049)] == 0).all()
    assert (plan.ends.abs() <= 1).all() and (plan.ends[:, :2] < plan.ends[:, 2:]).all()


@settings(max_examples=8)
@given(st.integers(0, 10_000))
def test_crops_map_back_to_the_nominal_crop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    plan = Augmentation().plan(labels(joints := standing(8)), generator)
    linear, shift = plan.crop_to_nominal[:, :, :2], plan.crop_to_nominal[:, :, 2:]
    mirrored = torch.linalg.det(linear) < 0
    places = torch.where(mirrored[:, None, None], joints[:, list(MIRROR)], joints)
    torch.testing.assert_close((linear @ plan.joints.mT + shift).mT, places, atol=1e-4, rtol=0)


def test_mirrored_crops_exchange_left_and_right() -> None:
    generator = torch.Generator().manual_seed(0)
    joints = torch.rand((64, 16, 2), generator=generator) - 0.5
    weights = torch.rand((64, 16), generator=generator)
    plan = STILL.plan(labels(joints, weights), torch.Generator().manual_seed(0))
    mirrored = ~torch.isclose(plan.joints[:, 6, 0], joints[:, 6, 0])
    assert 16 < mirrored.sum() < 48
    flipped = joints[:, list(MIRROR)] * torch.tensor([-1.0, 1.0])
    assert torch.allclose(plan.joints[mirrored], flipped[mirrored], atol=1e-5)
    assert torch.equal(plan.weights[mirrored], weights[:, list(MIRROR)][mirrored])
    assert torch.allclose(plan.joints[~mirrored], joints[~mirrored], atol=1e-5)
    # The same seed mirrors the same people.
    again = STILL.plan(labels(plan.joints, plan.weights), torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.joints, joints)
    assert torch.equal(again.weights, weights)


def test_the_usual_augmentation_rotates_some_crops_by_thirty_degrees_or_so() -> None:
    joints = torch.zeros(2000, 16, 2)
    joints[:, 9, 1], joints[:, 6, 1] = -0.2, 0.2  # head top above pelvis; neither changes sides
    moved = replace(Augmentation(), turned=0).plan(labels(joints), torch.Generator().manual_seed(0)).joints
    up = moved[:, 6] - moved[:, 9]
    degrees = torch.rad2deg(torch.atan2(up[:, 0], up[:, 1]))
    rotated = degrees.abs() > 1e-3
    assert rotated.float().mean().item() == pytest.approx(0.6, abs=0.05)
    assert degrees[rotated].std().item() == pytest.approx(28, abs=3)  # 30, clipped at 60
    assert degrees.abs().max().item() == pytest.approx(60, abs=0.1)
    assert abs(degrees.mean().item()) < 2


def test_the_usual_augmentation_changes_colours() -> None:
    usual = Augmentation()
    # Of one colour, unlike the outside's and with channels of their own.
    pictures = torch.tensor([100, 140, 180], dtype=torch.uint8).expand(600, 12, 12, 3)
    nothing = labels(torch.zeros(600, 16, 2))
    coloured = replace(STILL, gain=usual.gain, brightness=usual.brightness, grey=usual.grey)
    images, _, _ = augmented(coloured, pictures, nothing, crop_size=8)
    middle = colours(images)[:, :, 4, 4]
    assert images.std((2, 3)).max() < 1e-4  # a picture of one colour stays one
    ratios = middle / (torch.tensor([100, 140, 180]) / 255)
    assert ratios[:, 0].min() < 0.5 and ratios[:, 0].max() > 1.5  # a gain of 0.35, and 0.1 of 0.39 by brightness
    assert (ratios[:, 0] - ratios[:, 1]).abs().mean() > 0.1  # each channel by itself
    # Without a gain, the channels of those that lost their colour are equal.
    images, _, _ = augmented(replace(STILL, grey=usual.grey), pictures, nothing, crop_size=8)
    middle = colours(images)[:, :, 4, 4]
    lost = (middle - middle.mean(1, keepdim=True)).abs().amax(1) < 1e-3
    assert lost.float().mean().item() == pytest.approx(0.1, abs=0.04)


def test_the_usual_augmentation_hides_a_square_of_half_the_crops() -> None:
    hiding = replace(STILL, hidden=Augmentation().hidden)
    pictures = torch.zeros((200, 96, 96, 3), dtype=torch.uint8)
    pictures[1::2] = 255
    images, _, _ = augmented(hiding, pictures, labels(torch.zeros(200, 16, 2)))
    other = (images[:, 0] > 0) != (torch.arange(200) % 2 == 1)[:, None, None]
    sides = other.any(1).sum(1).float(), other.any(2).sum(1).float()
    is_hidden = other.flatten(1).any(1)
    assert is_hidden.float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert (other.sum((1, 2)) == sides[0] * sides[1]).all()  # a rectangle, cut off by the crop's edge at most
    assert max(side.max() for side in sides) <= 0.35 * 64 + 1
    assert sides[0][is_hidden].mean() > 0.1 * 64


def test_nothing_varied_gives_the_nominal_crop(pack: Path) -> None:
    people = load_people(list(read_people(pack, ["dev"])), 64)
    images, _, _ = augmented(STILL, people.pictures, labels(people.joints, people.weights))
    nominal = normalise(nominal_crops(people))
    same = [min((i - n).abs().max(), (i - n.flip(-1)).abs().max()) < 1e-3 for i, n in zip(images, nominal, strict=True)]
    assert all(same)


def test_loose_crops_show_people_small_and_in_part() -> None:
    loose = replace(WHOLE_BODIES, rotation_degrees=0, turned=0, loose=1)
    joints = torch.tensor([(-0.5, -0.5), (0.5, 0.5)]).repeat(8, 1).expand(256, 16, 2)
    plan = loose.plan(labels(joints), torch.Generator().manual_seed(0))
    size = (plan.joints[:, 1] - plan.joints[:, 0]).abs()[:, 1]
    assert size.min() < 0.4 and size.max() > 1.8
    assert 0.3 < (plan.weights > 0).float().mean() < 0.95


def test_the_same_seed_gives_the_same_crops(pack: Path) -> None:
    people = load_people(list(read_people(pack, ["dev"])), 64)
    labelled = labels(people.joints, people.weights)
    first, second, other = (augmented(Augmentation(), people.pictures, labelled, seed) for seed in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])


def test_outside_the_picture_is_the_outside_colour() -> None:
    white = torch.full((16, 96, 96, 3), 255, dtype=torch.uint8)
    images, _, weights = augmented(replace(STILL, shift=5.0), white, labels(torch.zeros(16, 16, 2)))
    gone = (weights == ABSENT).all(1)
    assert gone.any()
    assert images[gone].amin() == pytest.approx(0, abs=1e-6)


def test_where_the_photo_ends_nothing_is_shown_and_joints_are_absent() -> None:
    white = torch.full((96, 96, 96, 3), 255, dtype=torch.uint8)
    joints = torch.linspace(-0.95, 0.95, 16)[:, None].expand(96, 16, 2)
    weights = torch.ones(96, 16)
    weights[:, 7] = 0
    images, moved, weights = augmented(replace(STILL, ended=1), white, labels(joints, weights))
    shown = images[:, 0] > 0
    rows, columns = shown.any(2).float().mean(1), shown.any(1).float().mean(1)
    assert (torch.maximum(rows, columns) == 1).all()  # one end each
    assert torch.minimum(rows, columns).min() < 0.5
    near = F.max_pool2d(shown[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0  # a pixel may be half shown
    for index in range(96):
        x, y = ((moved[index] + 1) * 32).long().T
        beyond = ~near[index, y, x]
        assert (weights[index][beyond] <= 0).all()
        assert beyond[weights[index] == ABSENT].all()
        assert (weights[index][beyond] == 0).sum() <= 2  # one at the very end, one that had no label
    assert (weights[:, [7, 8]] == 0).sum() > 96 / 2  # one of them by mirroring


def test_surrounded_pictures_lie_over_a_corner_of_their_neighbour() -> None:
    plain = torch.tensor([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)] * 16, dtype=torch.uint8)
    pictures = plain[:, None, None].expand(64, 96, 96, 3).clone()
    pictures[:, :20] = torch.tensor(OUTSIDE_COLOUR)  # beside the photo: the corners are to be taken from below
    wide = replace(STILL, scale_octaves=0.8, surrounded=1)
    images, _, _ = augmented(wide, pictures, labels(torch.zeros(64, 16, 2)))
    own, neighbours = (normalise(each[:, None, None])[:, :, 0, 0] for each in (plain, plain.roll(1, 0)))
    assert torch.allclose(images[:, :, 32, 32], own, atol=0.01)
    below = images[:, :, -1, 32]
    is_around = torch.isclose(below, neighbours, atol=0.01).all(1)
    assert 8 < is_around.sum() < 56
    assert torch.allclose(below[~is_around], own[~is_around], atol=0.01)
    above = images[is_around][:, :, 0, 32]
    assert torch.isclose(above, neighbours[is_around], atol=0.01).all()


def test_in_half_of_the_surrounded_pictures_what_is_beside_the_photo_is_covered_too() -> None:
    pictures = torch.full((128, 96, 96, 3), 255, dtype=torch.uint8)
    pictures[:, :40] = torch.tensor(OUTSIDE_COLOUR)
    images, _, _ = augmented(replace(STILL, surrounded=1), pictures, labels(torch.zeros(128, 16, 2)))
    covered = images[:, :, 4, 32].amin(1) > 1
    assert 40 < covered.sum() < 88


def test_half_bodies_fill_their_crops_and_what_is_cut_off_is_absent() -> None:
    white = torch.full((96, 96, 3), 255, dtype=torch.uint8)
    images, moved, weights = augmented(replace(STILL, halved=1), [white] * 128, labels(standing(128)))
    there = weights > 0
    assert 0.4 < there.float().mean() < 0.8
    assert (moved[there].abs() <= 1).all()
    assert (weights == ABSENT).float().mean() > 0.15
    longest = torch.stack([m[t].amax(0) - m[t].amin(0) for m, t in zip(moved, there, strict=True)]).amax(1)
    assert longest.median() > 1
    grey = (images == 0).all(1).float().mean((1, 2))
    assert 0.4 < (grey > 0.02).float().mean() < 0.95  # the photos of seven in ten end with the cut


def test_half_of_the_crops_are_of_half_bodies() -> None:
    usual = replace(STILL, halved=Augmentation().halved)
    moved = usual.plan(labels(standing(1000)), torch.Generator().manual_seed(0)).joints
    whole = torch.isclose(moved[:, 6], standing(1000)[:, 6]).all(1)  # the pelvis is in the middle
    assert whole.float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_some_people_are_turned_by_any_angle() -> None:
    joints = torch.tensor([(0.0, -0.5), (0.0, 0.5)]).repeat(8, 1).expand(256, 16, 2)
    moved = replace(STILL, turned=0.5).plan(labels(joints), torch.Generator().manual_seed(0)).joints
    upright = (moved[:, 9] - moved[:, 6])[:, 1]  # neither changes places by mirroring
    assert 0.35 < (upright < 0.99).float().mean() < 0.6
    assert 0.15 < (upright < 0).float().mean() < 0.35


def test_pictures_are_decoded_as_finely_as_crops_need_and_no_finer() -> None:
    scales = torch.tensor([0.25, 1.0, 2.0])
    linear = torch.eye(2)[None] * scales[:, None, None]
    nothing = torch.zeros(3, 16, 2)
    plan = Plan(torch.cat([linear, torch.zeros(3, 2, 1)], 2), nothing, nothing[..., 0], torch.zeros(3, 4))
    assert plan.picture_sizes([576, 576, 576], 224) == [576, 404, 202]
    assert plan.picture_sizes([264, 264, 264], 224) == [264, 264, 202]


def test_the_size_of_a_picture_does_not_move_what_it_shows() -> None:
    nothing = labels(torch.zeros(1, 16, 2))
    fine, coarse = (augmented(STILL, [ramps(size)], nothing, seed=1)[0] for size in (192, 96))
    assert (colours(fine) - colours(coarse)).abs().max() < 2 / 255  # a pixel's shift would be 2.6


def test_sharpness_spreads_edges_and_leaves_planes() -> None:
    edge = torch.full((96, 96, 3), 80, dtype=torch.uint8)
    edge[:, 48:] = 160
    spread, plain = (
        augmented(replace(STILL, sharpness=sharpness), [edge] * 64, labels(torch.zeros(64, 16, 2)))[0]
        for sharpness in (Augmentation().sharpness, 0.0)
    )
    assert torch.allclose(spread[:, :, :, 8], plain[:, :, :, 8], atol=1e-5)
    ranges = spread.amax((1, 2, 3)) - spread.amin((1, 2, 3))
    assert (ranges > 1.05 * (plain.amax() - plain.amin())).any()


def test_what_lies_beside_the_photo_keeps_its_colour() -> None:
    pictures = torch.full((32, 96, 96, 3), 200, dtype=torch.uint8)
    pictures[:, 70:] = torch.tensor(OUTSIDE_COLOUR)
    coloured = replace(STILL, gain=0.3, brightness=0.1)
    images, _, _ = augmented(coloured, pictures, labels(torch.zeros(32, 16, 2)))
    assert (images[:, :, 56:] == 0).all()
    assert images[:, 0, 32, 32].std() > 0.1
