from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.augmentation import Augmentation
from models.data.pack import ABSENT, load_people, nominal_crops, read_people
from models.networks.pose import normalise
from models.spec.crop import OUTSIDE_COLOUR, PIXEL_MEAN, PIXEL_STD
from models.spec.skeleton import MIRROR

PLAIN_COLOURS = Augmentation(gain=0, brightness=0, grey=0, hidden=0, surrounded=0, ended=0)
STILL = replace(PLAIN_COLOURS, rotation_degrees=0, scale_octaves=0, shift=0, loose=0)


def blobs(size: int, places: torch.Tensor) -> torch.Tensor:
    """Pictures uint8 [N, size, size, 3] with a white Gaussian blob at each place [N, 2], normalised to the picture."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    x, y = axis[None, None, :] - places[:, 0, None, None], axis[None, :, None] - places[:, 1, None, None]
    bright = (-(x**2 + y**2) / (2 * 0.04**2)).exp()
    outside = torch.tensor(OUTSIDE_COLOUR)
    return (outside + bright[..., None] * (255 - outside)).round().to(torch.uint8)


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 4.0]))
def test_joints_move_with_the_picture(seed: int, lead_px: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand((8, 2), generator=generator) * 0.8 - 0.4
    joints = (places * 1.5)[:, None].expand(8, 16, 2)
    images, moved, weights = PLAIN_COLOURS(blobs(192, places), joints, torch.ones(8, 16), 128, generator, lead_px)
    axis = (torch.arange(128) + 0.5) / 128 * 2 - 1
    bright = (images.sum(1) - 0.2).clamp(min=0)  # the outside colour is not quite zero in 8 bits
    for index in range(8):
        well_inside = (moved[index].abs() < 0.8).all()
        if well_inside:
            mass = bright[index].sum()
            mean = torch.stack([(bright[index].sum(0) * axis).sum(), (bright[index].sum(1) * axis).sum()]) / mass
            assert ((mean + 2 * lead_px / 128 - moved[index, 0]) * 64).abs().max() < 0.6
        assert (weights[index] > 0).all() == (moved[index].abs() < 1).all()


def test_mirrored_crops_exchange_left_and_right() -> None:
    generator = torch.Generator().manual_seed(0)
    joints = torch.rand((64, 16, 2), generator=generator) - 0.5
    weights = torch.rand((64, 16), generator=generator)
    _, moved, trust = STILL(blobs(96, joints[:, 0]), joints, weights, 64, generator)
    mirrored = ~torch.isclose(moved[:, 6, 0], joints[:, 6, 0])
    assert 16 < mirrored.sum() < 48
    flipped = joints[:, list(MIRROR)] * torch.tensor([-1.0, 1.0])
    assert torch.allclose(moved[mirrored], flipped[mirrored], atol=1e-5)
    assert torch.equal(trust[mirrored], weights[:, list(MIRROR)][mirrored])
    assert torch.allclose(moved[~mirrored], joints[~mirrored], atol=1e-5)


def grey_pictures(count: int, size: int = 96) -> torch.Tensor:
    """Pictures uint8 [count, size, size, 3] of one colour, unlike the outside's and with channels of their own."""
    return torch.tensor([100, 140, 180], dtype=torch.uint8).expand(count, size, size, 3).clone()


def test_the_usual_augmentation_rotates_some_crops_by_thirty_degrees_or_so() -> None:
    tight = replace(Augmentation(), loose=0)
    joints = torch.zeros(2000, 16, 2)
    joints[:, 9, 1], joints[:, 6, 1] = -0.2, 0.2  # head top above pelvis; neither changes sides
    crops, moved, _ = tight(grey_pictures(2000, 12), joints, torch.ones(2000, 16), 8, torch.Generator().manual_seed(0))
    assert len(crops) == 2000
    up = moved[:, 6] - moved[:, 9]
    degrees = torch.rad2deg(torch.atan2(up[:, 0], up[:, 1]))
    rotated = degrees.abs() > 1e-3
    assert rotated.float().mean().item() == pytest.approx(0.6, abs=0.05)
    assert degrees[rotated].std().item() == pytest.approx(28, abs=3)  # 30, clipped at 60
    assert degrees.abs().max().item() == pytest.approx(60, abs=0.1)
    assert abs(degrees.mean().item()) < 2


def test_the_usual_augmentation_changes_colours() -> None:
    coloured = replace(STILL, gain=Augmentation().gain, brightness=Augmentation().brightness, grey=Augmentation().grey)
    pictures = grey_pictures(2000, 12)
    images, _, _ = coloured(
        pictures, torch.zeros(2000, 16, 2), torch.ones(2000, 16), 8, torch.Generator().manual_seed(0)
    )
    mean, std = (torch.tensor(value)[:, None, None] for value in (PIXEL_MEAN, PIXEL_STD))
    colours = (images * std + mean)[:, :, 4, 4]
    assert images.std((2, 3)).max() < 1e-4  # a picture of one colour stays one
    original = torch.tensor([100, 140, 180]) / 255
    ratios = colours / original
    assert ratios[:, 0].min() < 0.5 and ratios[:, 0].max() > 1.5  # a gain of 0.35, and 0.1 of 0.39 by brightness
    assert (ratios[:, 0] - ratios[:, 1]).abs().mean() > 0.1  # each channel by itself
    # With a gain alone, the channels of those that lost their colour are in the ratio of their gains to one grey.
    grey = replace(STILL, grey=Augmentation().grey)
    images, _, _ = grey(pictures, torch.zeros(2000, 16, 2), torch.ones(2000, 16), 8, torch.Generator().manual_seed(0))
    colours = (images * std + mean)[:, :, 4, 4]
    lost = (colours - colours.mean(1, keepdim=True)).abs().amax(1) < 1e-3
    assert lost.float().mean().item() == pytest.approx(0.1, abs=0.03)


def test_the_usual_augmentation_hides_a_square_of_half_the_crops() -> None:
    hiding = replace(STILL, hidden=Augmentation().hidden)
    pictures = torch.zeros((400, 96, 96, 3), dtype=torch.uint8)
    pictures[1::2] = 255
    images, _, _ = hiding(pictures, torch.zeros(400, 16, 2), torch.ones(400, 16), 64, torch.Generator().manual_seed(0))
    other = (images[:, 0] > 0) != (torch.arange(400) % 2 == 1)[:, None, None]
    sides = other.any(1).sum(1).float(), other.any(2).sum(1).float()
    is_hidden = other.flatten(1).any(1)
    assert is_hidden.float().mean().item() == pytest.approx(0.5, abs=0.08)
    assert (other.sum((1, 2)) == sides[0] * sides[1]).all()  # a rectangle, cut off by the crop's edge at most
    assert max(side.max() for side in sides) <= 0.35 * 64 + 1
    assert sides[0][is_hidden].mean() > 0.1 * 64


def test_nothing_varied_gives_the_nominal_crop(pack: Path) -> None:
    people = load_people(list(read_people(pack, ["dev"])), None, 64)
    generator = torch.Generator().manual_seed(0)
    images, _, _ = STILL(people.pictures, people.joints, people.weights, 64, generator)
    nominal = normalise(nominal_crops(people))
    same = [min((i - n).abs().max(), (i - n.flip(-1)).abs().max()) < 1e-3 for i, n in zip(images, nominal, strict=True)]
    assert all(same)


def test_loose_crops_show_people_small_and_in_part(pack: Path) -> None:
    loose = replace(PLAIN_COLOURS, rotation_degrees=0, loose=1)
    joints = torch.tensor([(-0.5, -0.5), (0.5, 0.5)]).repeat(8, 1)[None].expand(256, 16, 2)
    pictures = torch.zeros((256, 96, 96, 3), dtype=torch.uint8)
    _, moved, weights = loose(pictures, joints, torch.ones(256, 16), 64, torch.Generator().manual_seed(0))
    size = (moved[:, 1] - moved[:, 0]).abs()[:, 1]
    assert size.min() < 0.4 and size.max() > 1.8
    assert 0.3 < (weights > 0).float().mean() < 0.95


def test_the_same_seed_gives_the_same_crops(pack: Path) -> None:
    people = load_people(list(read_people(pack, ["dev"])), None, 64)
    first, second = (
        Augmentation()(people.pictures, people.joints, people.weights, 64, torch.Generator().manual_seed(7))
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_outside_the_picture_is_the_outside_colour() -> None:
    far = replace(STILL, shift=5.0)
    white = torch.full((16, 96, 96, 3), 255, dtype=torch.uint8)
    images, _, weights = far(white, torch.zeros(16, 16, 2), torch.ones(16, 16), 64, torch.Generator().manual_seed(0))
    gone = (weights == ABSENT).all(1)
    assert gone.any()
    assert images[gone].amin() == pytest.approx(0, abs=1e-6)


def test_where_the_photo_ends_nothing_is_shown_and_joints_are_absent() -> None:
    ended = replace(STILL, ended=1)
    white = torch.full((96, 96, 96, 3), 255, dtype=torch.uint8)
    joints = torch.linspace(-0.95, 0.95, 16)[:, None].expand(96, 16, 2)
    weights = torch.ones(96, 16)
    weights[:, 7] = 0
    images, moved, weights = ended(white, joints, weights, 64, torch.Generator().manual_seed(0))
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
    colours = torch.tensor([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)] * 16, dtype=torch.uint8)
    pictures = colours[:, None, None].expand(64, 96, 96, 3).clone()
    pictures[:, :20] = torch.tensor(OUTSIDE_COLOUR)  # beside the photo: the corners are to be taken from below
    wide = replace(STILL, scale_octaves=0.8, surrounded=1)
    images, _, _ = wide(pictures, torch.zeros(64, 16, 2), torch.ones(64, 16), 64, torch.Generator().manual_seed(0))
    own, neighbours = (normalise(each[:, None, None])[:, :, 0, 0] for each in (colours, colours.roll(1, 0)))
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
    surrounded = replace(STILL, surrounded=1)
    images, _, _ = surrounded(
        pictures, torch.zeros(128, 16, 2), torch.ones(128, 16), 64, torch.Generator().manual_seed(0)
    )
    covered = images[:, :, 4, 32].amin(1) > 1
    assert 40 < covered.sum() < 88
