import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from models.networks.dsnt import (
    HEATMAP_ACTIVATIONS,
    REGULARISERS,
    absence_loss,
    cell_centres,
    covariance,
    dsnt,
    euclidean_loss,
    gaussian,
    joint_losses,
    js_regulariser,
    kl_regulariser,
    main_mode,
    masked_mean,
    variance_regulariser,
)

inside = st.floats(-0.7, 0.7)


def uniform(cells: int = 28) -> Tensor:
    return torch.full((cells, cells), 1 / cells**2)


def test_cell_centres_are_the_papers_grid_not_its_corners() -> None:
    n = 4
    assert torch.allclose(cell_centres(n), torch.tensor([(2 * j - (n + 1)) / n for j in range(1, n + 1)]))
    assert cell_centres(28)[0].item() == pytest.approx(-1 + 1 / 28)


@pytest.mark.parametrize("activation", HEATMAP_ACTIVATIONS)
def test_heatmaps_are_probabilities_with_finite_gradients(activation: str) -> None:
    for z in (torch.randn(2, 3, 7, 5), torch.zeros(1, 1, 4, 4), -torch.ones(1, 1, 4, 4), 200 * torch.randn(1, 1, 9, 9)):
        z.requires_grad_()
        heatmaps = HEATMAP_ACTIVATIONS[activation](z)
        assert (heatmaps >= 0).all()
        if (z > 0).any():
            assert torch.allclose(heatmaps.sum((-2, -1)), torch.ones(z.shape[:-2]), atol=1e-4)
        dsnt(heatmaps).sum().backward()
        assert z.grad is not None and z.grad.isfinite().all()


def test_one_bright_cell_has_its_mean_at_its_centre() -> None:
    heatmap = torch.zeros(3, 5)
    heatmap[2, 1] = 1
    assert torch.allclose(dsnt(heatmap), torch.tensor([-0.4, 2 / 3]))
    assert torch.allclose(covariance(heatmap), torch.zeros(3))


@given(inside, inside)
def test_a_gaussian_has_its_mean_where_it_was_drawn(x: float, y: float) -> None:
    mean = torch.tensor([x, y])
    heatmap = gaussian(mean, 28, 28, sigma_px=1)
    assert torch.allclose(dsnt(heatmap), mean, atol=1e-4)
    spread = covariance(heatmap)
    assert torch.allclose(spread, torch.tensor([(2 / 28) ** 2, 0, (2 / 28) ** 2]), atol=3e-5)


@given(inside, inside, inside, inside, st.floats(0.55, 0.95))
def test_main_mode_is_the_larger_of_two_peaks(x: float, y: float, other_x: float, other_y: float, mass: float) -> None:
    place, other = torch.tensor([x, y]), torch.tensor([other_x, other_y])
    assume((place - other).abs().max() > 0.6)
    both = mass * gaussian(place, 28, 28, sigma_px=1) + (1 - mass) * gaussian(other, 28, 28, sigma_px=1)
    mode, held = main_mode(both[None, None])
    assert (dsnt(mode)[0, 0] - place).abs().max() < 0.1 * 2 / 28
    assert held.item() == pytest.approx(mass, abs=0.04)
    assert mode.sum().item() == pytest.approx(1, abs=1e-5)


def test_main_mode_is_a_broad_peak_rather_than_one_bright_cell() -> None:
    heatmap = 0.85 * gaussian(torch.tensor([0.5, 0.5]), 28, 28, sigma_px=1)
    heatmap[3, 3] += 0.15
    assert heatmap[3, 3] > heatmap[14:, 14:].max()
    mode, _ = main_mode(heatmap[None, None])
    assert torch.allclose(dsnt(mode), torch.tensor([0.5, 0.5]), atol=0.01)


def test_a_mode_of_a_flat_map_holds_as_little_as_any_other() -> None:
    mode, mass = main_mode(uniform()[None, None])
    assert (mode > 0).sum() <= 25
    assert mode.sum().item() == pytest.approx(1)
    assert mass.item() <= 25.1 / 28**2


def test_main_mode_reaches_two_cells_and_no_further() -> None:
    heatmap = uniform().clone()
    heatmap[8:11, 16:19] = 0.02
    mode, mass = main_mode(heatmap[None, None])
    within = torch.zeros(28, 28, dtype=torch.bool)
    within[7:12, 15:20] = True
    assert torch.equal(mode[0, 0] > 0, within)
    assert mass.item() == pytest.approx(9 * 0.02 + 16 / 28**2)


def test_main_mode_of_a_non_square_map_is_around_its_row_and_column() -> None:
    heatmap = torch.zeros(1, 1, 6, 15)
    heatmap[0, 0, 3:6, 10:13] = 1 / 9
    mode, mass = main_mode(heatmap)
    assert torch.allclose(mode, heatmap)
    assert mass.item() == pytest.approx(1)


def test_a_map_of_zeros_has_no_mode_and_nothing_is_nan() -> None:
    z = -torch.ones(1, 2, 5, 7)
    z[0, 1, 2, 3] = 1
    z.requires_grad_()
    mode, mass = main_mode(HEATMAP_ACTIVATIONS["relu"](z))
    assert mass[0, 0] == 0
    assert mass[0, 1].item() == pytest.approx(1, abs=1e-5)
    assert (mode[0, 0] == 0).all()
    assert (dsnt(mode)[0, 0] == 0).all()
    assert covariance(mode).isfinite().all()
    dsnt(mode).sum().backward()
    assert z.grad is not None and z.grad.isfinite().all()


@given(st.integers(-8, 8), st.integers(-8, 8))
def test_shifting_the_heatmap_shifts_the_coordinates(rows: int, columns: int) -> None:
    heatmap = gaussian(torch.zeros(2), 28, 28, 1)
    moved = dsnt(heatmap.roll((rows, columns), (0, 1)))
    assert torch.allclose(moved, torch.tensor([2 * columns / 28, 2 * rows / 28]), atol=1e-4)


def test_covariance_of_a_diagonal_line_is_mixed() -> None:
    assert torch.allclose(covariance(torch.eye(8) / 8)[1], covariance(torch.eye(8) / 8)[0])
    assert covariance(torch.eye(8).flip(0) / 8)[1] < 0


def test_uniform_map_has_the_variance_of_a_uniform_distribution() -> None:
    n = 28
    assert covariance(uniform(n))[0].item() == pytest.approx((1 - 1 / n**2) / 3, rel=1e-5)


def test_divergences_have_their_known_values() -> None:
    centre = torch.zeros(2)
    assert js_regulariser(uniform(), centre, 1.0).item() == pytest.approx(0.617, abs=5e-4)
    beside = gaussian(torch.tensor([2 / 28, 0.0]), 28, 28, 1)
    assert js_regulariser(beside, centre, 1.0).item() == pytest.approx(0.111, abs=5e-4)
    # KL of two Gaussians one sigma apart is a half.
    assert kl_regulariser(beside, centre, 1.0).item() == pytest.approx(0.5, abs=1e-3)
    for regulariser in (kl_regulariser, js_regulariser):
        assert regulariser(gaussian(centre, 28, 28, 1), centre, 1.0).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_kl_is_of_the_heatmap_to_the_gaussian_and_not_the_other_way_round(sigma: float) -> None:
    # KL(N(0, s^2 I) || N(0, I)) in two dimensions is s^2 - 1 - ln s^2.
    divergence = kl_regulariser(gaussian(torch.zeros(2), 28, 28, sigma), torch.zeros(2), 1.0).item()
    assert divergence == pytest.approx(sigma**2 - 1 - math.log(sigma**2), abs=0.02)


def test_rows_and_columns_of_non_square_maps_are_not_exchanged() -> None:
    rows, columns = 12, 30
    mean = torch.tensor([0.2, -0.1])
    heatmap = gaussian(mean, rows, columns, sigma_px=1.0)
    assert heatmap.shape == (rows, columns)
    assert torch.allclose(dsnt(heatmap), mean, atol=1e-4)
    spread = torch.tensor([(2 / columns) ** 2, 0, (2 / rows) ** 2])
    assert torch.allclose(covariance(heatmap), spread, atol=1e-4)
    assert variance_regulariser(heatmap, mean, 1.0).item() == pytest.approx(0, abs=1e-7)
    wide = variance_regulariser(heatmap, mean, 2.0).item()
    assert wide == pytest.approx(9 * (spread[0] ** 2 + spread[2] ** 2).item(), rel=0.01)
    for regulariser in (kl_regulariser, js_regulariser):
        assert regulariser(heatmap, mean, 1.0).item() == pytest.approx(0, abs=1e-6)
    assert absence_loss(torch.full((rows, columns), 1 / (rows * columns))).item() == pytest.approx(0, abs=1e-6)


def test_js_is_bounded_and_finite_for_what_does_not_overlap() -> None:
    heatmap = torch.zeros(28, 28)
    heatmap[0, 0] = 1
    heatmap.requires_grad_()
    divergence = js_regulariser(heatmap, torch.tensor([0.9, 0.9]), 1.0)
    assert divergence.item() == pytest.approx(math.log(2), abs=1e-4)
    divergence.backward()
    assert heatmap.grad is not None and heatmap.grad.isfinite().all()


def test_absence_is_a_flat_map() -> None:
    assert absence_loss(uniform()).item() == pytest.approx(0, abs=1e-6)
    assert absence_loss(gaussian(torch.zeros(2), 28, 28, 1)).item() == pytest.approx(0.617, abs=5e-4)
    z = torch.randn(5, 7, requires_grad=True)
    for _ in range(200):
        (gradient,) = torch.autograd.grad(absence_loss(HEATMAP_ACTIVATIONS["softmax"](z)), z)
        z = (z - 20 * gradient).detach().requires_grad_()
    assert z.std() < 0.1


def test_variance_regulariser_is_zero_at_its_sigma_in_heatmap_pixels() -> None:
    centre = torch.zeros(2)
    assert variance_regulariser(gaussian(centre, 28, 28, 2), centre, 2.0).item() == pytest.approx(0, abs=1e-8)
    expected = 2 * ((2 / 28) ** 2 - (4 / 28) ** 2) ** 2
    assert variance_regulariser(gaussian(centre, 28, 28, 2), centre, 1.0).item() == pytest.approx(expected, rel=1e-3)


def test_target_gaussian_is_a_distribution_even_far_outside() -> None:
    assert gaussian(torch.tensor([50.0, -50.0]), 28, 28, 1).sum().item() == pytest.approx(1)


def test_gradient_at_zero_distance_is_zero() -> None:
    mu = torch.zeros(3, 2, requires_grad=True)
    euclidean_loss(torch.zeros(3, 2), mu).sum().backward()
    assert mu.grad is not None and (mu.grad == 0).all()


@pytest.mark.parametrize("activation", HEATMAP_ACTIVATIONS)
@pytest.mark.parametrize("name", REGULARISERS)
def test_gradients_of_the_losses_are_right_in_double_precision(name: str, activation: str) -> None:
    torch.manual_seed(0)
    z = torch.randn(2, 4, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[0.3, -0.2], [-0.5, 0.6]], dtype=torch.float64)

    def losses(z: Tensor) -> Tensor:
        return joint_losses(HEATMAP_ACTIVATIONS[activation](z), targets, REGULARISERS[name])

    assert torch.autograd.gradcheck(losses, z)


@pytest.mark.parametrize("of", [dsnt, covariance, absence_loss, lambda maps: main_mode(maps)[0]])
def test_gradients_of_what_heatmaps_say_are_right_in_double_precision(of: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    z = 2 * torch.randn(1, 2, 8, 7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: of(HEATMAP_ACTIVATIONS["softmax"](z)), z.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_double_precision_is_kept_and_half_types_compute_in_float32(dtype: torch.dtype) -> None:
    computed = torch.float64 if dtype == torch.float64 else torch.float32
    z, targets = torch.randn(1, 2, 5, 7).to(dtype), torch.zeros(1, 2, 2, dtype=dtype)
    for activation in HEATMAP_ACTIVATIONS.values():
        assert activation(z).dtype == computed
    heatmaps = HEATMAP_ACTIVATIONS["softmax"](z).to(dtype)
    results = [dsnt(heatmaps), covariance(heatmaps), absence_loss(heatmaps), *main_mode(heatmaps)]
    results += [joint_losses(heatmaps, targets, regulariser) for regulariser in REGULARISERS.values()]
    assert {result.dtype for result in results} == {computed}


def test_a_perfect_prediction_has_no_loss() -> None:
    target = torch.tensor([[0.1, -0.3]])
    assert joint_losses(gaussian(target, 28, 28, 1), target).item() == pytest.approx(0, abs=1e-4)


def test_masked_joints_change_neither_loss_nor_gradient() -> None:
    torch.manual_seed(0)
    z = torch.randn(4, 3, 7, 7)
    weights = torch.tensor([[1.0, 0.0, 1.0]]).expand(4, 3)
    losses, gradients = [], []
    for hidden in (torch.zeros(2), torch.tensor([50.0, -50.0])):
        targets = torch.full((4, 3, 2), 0.2)
        targets[:, 1] = hidden
        leaf = z.clone().requires_grad_()
        loss = masked_mean(joint_losses(HEATMAP_ACTIVATIONS["softmax"](leaf), targets), weights)
        loss.backward()
        losses.append(loss.item())
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    assert losses[0] == losses[1]
    assert (gradients[0][:, 1] == 0).all()
    assert torch.equal(gradients[0], gradients[1])


def test_a_batch_without_labels_has_no_loss() -> None:
    z = torch.randn(2, 3, 7, 7, requires_grad=True)
    loss = masked_mean(joint_losses(HEATMAP_ACTIVATIONS["softmax"](z), torch.zeros(2, 3, 2)), torch.zeros(2, 3))
    loss.backward()
    assert loss.item() == 0
    assert z.grad is not None and (z.grad == 0).all()


def test_head_computes_in_float32_under_autocast() -> None:
    z = torch.randn(1, 2, 28, 28)
    targets = torch.zeros(1, 2, 2)
    expected = joint_losses(HEATMAP_ACTIVATIONS["softmax"](z.bfloat16()), targets)
    with torch.autocast("cpu", torch.bfloat16):
        heatmaps = HEATMAP_ACTIVATIONS["softmax"](z.bfloat16())
        losses = joint_losses(heatmaps, targets)
    assert heatmaps.dtype == losses.dtype == torch.float32
    assert torch.allclose(losses, expected, atol=1e-6)
