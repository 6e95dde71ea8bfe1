import math

import pytest
import torch
from torch import Tensor

from models.networks.finder import Findings, cells, grid_shapes
from models.training.finder_loss import finder_loss, giou_losses, score_losses, side_losses

CELLS = cells(grid_shapes(64, 64))


def findings(seed: int, pictures: int = 2) -> Findings:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn((pictures, len(CELLS)), generator=random) - 2
    return Findings(logits, torch.randn((pictures, len(CELLS), 4, 11), generator=random))


def box(*values: float) -> Tensor:
    return torch.tensor([values])


def test_scores_cost_their_cross_entropy_times_how_far_they_are() -> None:
    logits, targets = torch.tensor([0.0, 0.0, 2.0]), torch.tensor([1.0, 0.0, 0.0])
    sure = 1 / (1 + math.exp(-2))
    expected = [0.5**2 * math.log(2), 0.5 * math.log(2), sure * -math.log(1 - sure)]
    assert score_losses(logits, targets).tolist() == pytest.approx(expected)
    assert score_losses(torch.tensor([0.0]), torch.tensor([0.5])).item() == 0


def test_boxes_cost_how_little_they_share_and_how_far_apart_they_are() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    targets = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [2.0, 0.0, 3.0, 1.0]])
    assert giou_losses(boxes, targets).tolist() == pytest.approx([0, 1 - 1 / 3, 1 + 1 / 3])


def test_sides_cost_the_cross_entropy_of_the_two_steps_around_their_distance() -> None:
    logits = torch.zeros((1, 4, 11))
    assert side_losses(logits, torch.tensor([[0.0, 2.5, 7.25, 10.0]])).item() == pytest.approx(math.log(11))
    right = torch.full((1, 4, 11), -100.0)
    right[..., 2], right[..., 3] = math.log(0.75), math.log(0.25)
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert side_losses(right, torch.full((1, 4), 2.25)).item() == pytest.approx(entropy, abs=1e-5)
    assert side_losses(right, torch.full((1, 4), 2.5)).item() > entropy


@pytest.mark.parametrize("loss", ["scores", "boxes", "sides"])
def test_gradients_are_those_of_finite_differences(loss: str) -> None:
    random = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random, dtype=torch.float64)

    if loss == "scores":
        logits, targets = (4 * some(12) - 2).requires_grad_(), some(12) * (some(12) > 0.5)
        assert torch.autograd.gradcheck(lambda z: score_losses(z, targets), logits)
    elif loss == "boxes":
        low, other = some(8, 2), some(8, 2)
        boxes = torch.cat([low, low + 1 + some(8, 2)], 1).requires_grad_()
        targets = torch.cat([other, other + 1 + some(8, 2)], 1)
        assert torch.autograd.gradcheck(lambda z: giou_losses(z, targets), boxes)
    else:
        sides, distances = some(3, 4, 11).requires_grad_(), 10 * some(3, 4)
        assert torch.autograd.gradcheck(lambda z: side_losses(z, distances), sides)


def test_a_step_against_the_gradient_lowers_the_loss() -> None:
    given = Findings(*(values.requires_grad_() for values in findings(0)))
    people, ignored = [box(8, 8, 30, 40), torch.zeros(0, 4)], [torch.zeros(0, 4), torch.zeros(0, 4)]
    places = CELLS
    loss = finder_loss(given, places, people, ignored)
    logits, sides = torch.autograd.grad(loss, given)
    assert sides[0].abs().sum() > 0
    assert sides[1].abs().sum() == 0  # nobody is there to box
    assert (logits[1] > 0).all()  # and every score is to be lower
    moved = Findings(given.logits - 0.1 * logits, given.sides - 0.1 * sides)
    assert finder_loss(moved, places, people, ignored) < loss


def test_each_picture_learns_its_own_people() -> None:
    places = CELLS
    given, nobody = findings(1), torch.zeros(0, 4)
    first, second = box(4, 4, 20, 30), torch.cat([box(20, 20, 40, 40), box(2, 30, 20, 30)])
    together = Findings(*(values.clone().requires_grad_() for values in given))
    swapped = Findings(*(values.flip(0).clone().requires_grad_() for values in given))
    losses = (
        finder_loss(together, places, [first, second], [nobody, nobody]),
        finder_loss(swapped, places, [second, first], [nobody, nobody]),
    )
    assert losses[0].item() == pytest.approx(losses[1].item())
    gradients = [
        torch.autograd.grad(loss, each.sides)[0] for loss, each in zip(losses, (together, swapped), strict=True)
    ]
    assert torch.allclose(gradients[0], gradients[1].flip(0), atol=1e-7)


def test_ignored_boxes_teach_nothing() -> None:
    places = CELLS
    given = Findings(*(values.requires_grad_() for values in findings(2, pictures=1)))
    loss = finder_loss(given, places, [torch.zeros(0, 4)], [box(0, 0, 32, 64)])
    [gradient] = torch.autograd.grad(loss, given.logits)
    assert (gradient[0, places[:, 0] < 32] == 0).all()
    assert (gradient[0] > 0).any()
