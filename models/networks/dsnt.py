"""The differentiable spatial-to-numerical transform and the losses that train it.

Equations and tables are those of Nibali et al. 2018 (arXiv 1801.07372). The module needs nothing else of this project
and can be taken out as it is.

Not the paper's are `main_mode`, to which heatmaps are reduced at inference, and `absence_loss`.

Shapes: unnormalised maps Z and heatmaps H are [..., m, n], m rows and n columns; coordinates are [..., 2], x then y,
normalised so that (-1, -1) is the map's top-left corner and (1, 1) its bottom-right. Everything computes in float32,
under autocast too, and in float64 where that is what it gets.
"""

from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

# Keeps logarithms and quotients finite; below every probability that a float32 softmax tells apart from zero.
_EPSILON: Final = 1e-24

# How far a mode reaches from its highest cell: two sigmas of the target Gaussian.
_REACH_CELLS: Final = 2

# Keeps the gradient of the sum-to-one normalisation finite where a ReLU or abs map is zero everywhere.
_SUM_EPSILON: Final = 1e-6


def softmax(z: Tensor) -> Tensor:
    """Table 2's softmax: exp(Z) divided by its sum."""
    return _at_least_float32(z).flatten(-2).softmax(-1).view(z.shape)


def absolute(z: Tensor) -> Tensor:
    """Table 2's abs: |Z| divided by its sum."""
    return _divide_by_sum(_at_least_float32(z).abs())


def relu(z: Tensor) -> Tensor:
    """Table 2's ReLU: max(0, Z) divided by its sum."""
    return _divide_by_sum(_at_least_float32(z).relu())


def sigmoid(z: Tensor) -> Tensor:
    """Table 2's sigmoid: 1 / (1 + exp(-Z)) divided by its sum."""
    return _divide_by_sum(_at_least_float32(z).sigmoid())


HEATMAP_ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "softmax": softmax,
    "abs": absolute,
    "relu": relu,
    "sigmoid": sigmoid,
}
"""From unnormalised maps Z to heatmaps H, each of which sums to 1."""


def cell_centres(cells: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normalised positions [cells] of the centres of a row's cells: (2j - (n + 1)) / n for j = 1 ... n."""
    return (2 * torch.arange(cells, dtype=dtype, device=device) - (cells - 1)) / cells


def dsnt(heatmaps: Tensor) -> Tensor:
    """Equation 1: the expectation of the cell centres under each heatmap.

    Args:
        heatmaps: H [..., m, n], each summing to 1.

    Returns:
        Coordinates [..., 2].
    """
    x, y = _marginals(heatmaps)
    return torch.stack([(x * _centres_like(x)).sum(-1), (y * _centres_like(y)).sum(-1)], dim=-1)


def covariance(heatmaps: Tensor) -> Tensor:
    """Equation 4 and its mixed term: Var[x], Cov[x, y], Var[y] of each heatmap.

    Args:
        heatmaps: H [..., m, n], each summing to 1.

    Returns:
        [..., 3] in normalised units squared.
    """
    heatmaps = _at_least_float32(heatmaps)
    mean = dsnt(heatmaps)
    marginal_x, marginal_y = _marginals(heatmaps)
    x, y = _centres_like(marginal_x) - mean[..., :1], _centres_like(marginal_y) - mean[..., 1:]
    mixed = ((heatmaps * x[..., None, :]).sum(-1) * y).sum(-1)
    return torch.stack([(marginal_x * x.square()).sum(-1), mixed, (marginal_y * y.square()).sum(-1)], dim=-1)


def main_mode(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """The heatmap around its highest place, and how much of it is there.

    Where the network cannot choose between two places, the expectation of the whole map lies between them, and stray
    mass draws it towards the middle of the crop. Of one mode it does neither. The highest place is where 3x3 cells hold
    most, so that a single cell does not outweigh a broader peak.

    Args:
        heatmaps: H [N, joints, m, n], each summing to 1.

    Returns:
        The map [N, joints, m, n] within two cells of its highest place, divided by its sum and zero elsewhere; and that
        sum [N, joints], the mode's mass. Of a map that is zero everywhere (ReLU's can be) both are zero.
    """
    heatmaps = _at_least_float32(heatmaps)
    smooth = F.avg_pool2d(heatmaps, 3, stride=1, padding=1).flatten(-2)
    highest = smooth.argmax(-1, keepdim=True)  # the first of several: a flat map is not all one mode
    is_highest = (torch.arange(smooth.shape[-1], device=smooth.device) == highest).to(heatmaps.dtype)
    is_near = F.max_pool2d(is_highest.view(heatmaps.shape), 2 * _REACH_CELLS + 1, stride=1, padding=_REACH_CELLS)
    mode = heatmaps * is_near
    mass = mode.sum((-2, -1))
    return mode / torch.where(mass > 0, mass, 1)[..., None, None], mass


def gaussian(means: Tensor, rows: int, columns: int, sigma_px: float) -> Tensor:
    """Target heatmaps: a Gaussian drawn at the cell centres and normalised over the map.

    Args:
        means: Coordinates [..., 2].
        rows: Rows m of the map.
        columns: Columns n of the map.
        sigma_px: Standard deviation in heatmap cells; one cell is 2 / n in normalised units.

    Returns:
        [..., rows, columns], each summing to 1 (far outside the map too: the exponents are shifted before exp).
    """
    means = _at_least_float32(means)
    dx = (cell_centres(columns, means.device, means.dtype) - means[..., :1]) * columns / 2
    dy = (cell_centres(rows, means.device, means.dtype) - means[..., 1:]) * rows / 2
    return softmax(-(dx[..., None, :].square() + dy[..., :, None].square()) / (2 * sigma_px**2))


def euclidean_loss(targets: Tensor, coordinates: Tensor) -> Tensor:
    """Equation 2: the distance |p - mu| of each joint, [...]; its gradient at zero distance is zero."""
    offsets = _at_least_float32(targets) - _at_least_float32(coordinates)
    distances: Tensor = torch.linalg.vector_norm(offsets, dim=-1)
    return distances


def variance_regulariser(heatmaps: Tensor, targets: Tensor, sigma_px: float) -> Tensor:
    """Equation 5: (Var[x] - sigma^2)^2 + (Var[y] - sigma^2)^2 in normalised units, [...]; `targets` is not used."""
    del targets
    spread = covariance(heatmaps)
    sigma_x, sigma_y = (2 * sigma_px / cells for cells in (heatmaps.shape[-1], heatmaps.shape[-2]))
    return (spread[..., 0] - sigma_x**2).square() + (spread[..., 2] - sigma_y**2).square()


def kl_regulariser(heatmaps: Tensor, targets: Tensor, sigma_px: float) -> Tensor:
    """Equation 6 with KL(heatmap || Gaussian at the target), natural logarithm, [...]."""
    rows, columns = heatmaps.shape[-2:]
    return _kl(_at_least_float32(heatmaps), gaussian(targets, rows, columns, sigma_px))


def js_regulariser(heatmaps: Tensor, targets: Tensor, sigma_px: float) -> Tensor:
    """Equation 6 with the Jensen-Shannon divergence to a Gaussian at the target, natural logarithm, [...]."""
    rows, columns = heatmaps.shape[-2:]
    return _js(_at_least_float32(heatmaps), gaussian(targets, rows, columns, sigma_px))


Regulariser = Callable[[Tensor, Tensor, float], Tensor]

REGULARISERS: Final[dict[str, Regulariser | None]] = {
    "none": None,
    "variance": variance_regulariser,
    "kl": kl_regulariser,
    "js": js_regulariser,
}
"""Table 3's regularisers; "none" is plain DSNT, "js" is DSNTr."""


def joint_losses(
    heatmaps: Tensor,
    targets: Tensor,
    regulariser: Regulariser | None = js_regulariser,
    sigma_px: float = 1.0,
    weight: float = 1.0,
) -> Tensor:
    """Equation 3 for each joint: Euclidean loss + weight * regulariser.

    Args:
        heatmaps: H [..., m, n], each summing to 1.
        targets: True coordinates p [..., 2].
        regulariser: One of `REGULARISERS`; None leaves the Euclidean loss alone.
        sigma_px: The target's standard deviation sigma_t, in heatmap cells.
        weight: The regulariser's weight lambda.

    Returns:
        [...].
    """
    losses = euclidean_loss(targets, dsnt(heatmaps))
    if regulariser is not None:
        losses = losses + weight * regulariser(heatmaps, targets, sigma_px)
    return losses


def absence_loss(heatmaps: Tensor) -> Tensor:
    """Jensen-Shannon divergence to a flat map, natural logarithm, [...]: for joints that the picture does not show.

    DSNT has no way to say that a joint is not there. A map taught to be flat then has no mode that holds much of it.
    """
    rows, columns = heatmaps.shape[-2:]
    heatmaps = _at_least_float32(heatmaps)
    return _js(heatmaps, torch.full_like(heatmaps, 1 / (rows * columns)))


def masked_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Mean over labelled joints.

    Args:
        losses: A loss for each joint, [...].
        weights: 0 for a joint that is not labelled, 1 (or how far a label is trusted) for one that is, [...].

    Returns:
        A scalar: 0 where no joint is labelled; a joint of weight 0 changes neither it nor its gradient.
    """
    return (losses * weights).sum() / weights.sum().clamp(min=_SUM_EPSILON)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _centres_like(marginal: Tensor) -> Tensor:
    """The cell centres [n] of a marginal [..., n]."""
    return cell_centres(marginal.shape[-1], marginal.device, marginal.dtype)


def _divide_by_sum(rectified: Tensor) -> Tensor:
    return rectified / (rectified.sum((-2, -1), keepdim=True) + _SUM_EPSILON)


def _marginals(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over rows [..., n] and over columns [..., m]."""
    heatmaps = _at_least_float32(heatmaps)
    return heatmaps.sum(-2), heatmaps.sum(-1)


def _js(p: Tensor, q: Tensor) -> Tensor:
    middle = (p + q) / 2
    return (_kl(p, middle) + _kl(q, middle)) / 2


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * ((p + _EPSILON).log() - (q + _EPSILON).log())).sum((-2, -1))
