import pytest
import torch
from torch import Tensor

from models.networks.hourglass import Hourglass, Residual, StackedHourglass
from models.networks.pose import HourglassPoseNetwork


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def network() -> HourglassPoseNetwork:
    torch.manual_seed(0)
    return HourglassPoseNetwork(2, joints=3).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))


def test_parameters_are_those_of_the_authors_layers() -> None:
    """Convolutions with biases and batch norms, added up from the authors' own description."""

    def residual(inputs: int, outputs: int) -> int:
        half = outputs // 2
        norms = 2 * (inputs + half + half)
        convolutions = (inputs + 1) * half + (9 * half + 1) * half + (half + 1) * outputs
        return norms + convolutions + (0 if inputs == outputs else (inputs + 1) * outputs)

    stem = (3 * 49 + 1) * 64 + 2 * 64 + residual(64, 128) + residual(128, 128) + residual(128, 256)
    stack = (3 * 4 + 1 + 1) * residual(256, 256) + 257 * 256 + 2 * 256 + 257 * 16
    feedback = 257 * 256 + 17 * 256
    assert parameters(StackedHourglass(8)) == stem + 8 * stack + 7 * feedback == 25_434_112


def test_the_published_25_6_million_have_a_wider_stem() -> None:
    ours = Residual(128, 128), Residual(128, 256)
    theirs = Residual(128, 256), Residual(256, 256)
    wider = parameters(StackedHourglass(8)) - sum(map(parameters, ours)) + sum(map(parameters, theirs))
    assert round(wider / 1e6, 1) == 25.6


@pytest.mark.parametrize("stacks", [1, 2, 4])
def test_fewer_stacks_are_thicker(stacks: int) -> None:
    assert parameters(StackedHourglass(stacks)) == pytest.approx(25_434_112, rel=0.05)


def test_an_hourglass_reaches_four_levels_down() -> None:
    depth, inside = 0, Hourglass(4, 1)
    while isinstance(inside, Hourglass):
        depth, inside = depth + 1, inside.inside
    assert depth == 4


def test_every_stack_gives_maps_of_a_quarter() -> None:
    with torch.device("meta"):  # shapes only
        maps = StackedHourglass(2, joints=3)(torch.zeros(2, 3, 64, 128))
    assert [z.shape for z in maps] == [(2, 3, 16, 32)] * 2


def test_the_networks_pose_is_its_last_stacks(network: HourglassPoseNetwork, images: Tensor) -> None:
    with torch.inference_mode():
        poses, pose = network.poses(images), network(images)
    assert torch.equal(poses[-1].coordinates, pose.coordinates)
    assert not torch.allclose(poses[0].heatmaps, pose.heatmaps)
    assert torch.allclose(pose.heatmaps.sum((-2, -1)), torch.ones(1, 3))
    assert (pose.coordinates.abs() <= 1).all()


def test_a_stack_sees_the_heatmaps_of_the_one_before(network: HourglassPoseNetwork, images: Tensor) -> None:
    maps = network.backbone(images)
    network.zero_grad()
    maps[1].square().sum().backward()
    assert network.backbone.stacks[0].heatmap.weight.grad.abs().sum() > 0
    network.zero_grad()


@pytest.mark.parametrize("stacks", [0, 3, 16])
def test_other_numbers_of_stacks_are_refused(stacks: int) -> None:
    with pytest.raises(ValueError, match=f"not {stacks}"):
        StackedHourglass(stacks)
