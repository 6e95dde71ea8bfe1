"""The differentiable spatial-to-numerical transform and the losses that train it.

Equations and tables are those of Nibali et al. 2018 (arXiv 1801.07372). The module needs nothing else of this project
and can be taken out as it is.

Not the paper's are `main_mode`, to which heatmaps are reduced at inference, and `absence_loss`.

Shapes: unnormalised maps Z and heatmaps H are [..., m, n], m rows and n columns; coordinates are [..., 2], x then y,
normalised so that (-1, -1) is the map's top-left corner and (1, 1) its bottom-right. Everything after the activation
computes in float32, under autocast too.
"""

from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

# Keeps logarithms and quotients finite; below every probability that a float32 softmax tells apart from nought.
_EPSILON: Final = 1e-24

# How far a mode reaches from its highest cell: two sigmas of the target Gaussian.
_REACH_CELLS: Final = 2

# Keeps the gradient of the sum-to-one normalisation finite where a ReLU or abs map is nought everywhere.
_SUM_EPSILON: Final = 1e-6


def softmax(z: Tensor) -> Tensor:
    """Table 2's softmax: exp(Z) divided by its sum."""
    return z.float().flatten(-2).softmax(-1).view(z.shape)


def absolute(z: Tensor) -> Tensor:
    """Table 2's abs: |Z| divided by its sum."""
    return _divide_by_sum(z.float().abs())


def relu(z: Tensor) -> Tensor:
    """Table 2's ReLU: max(0, Z) divided by its sum."""
    return _divide_by_sum(z.float().relu())


def sigmoid(z: Tensor) -> Tensor:
    """Table 2's sigmoid: 1 / (1 + exp(-Z)) divided by its sum."""
    return _divide_by_sum(z.float().sigmoid())


HEATMAP_ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "softmax": softmax,
    "abs": absolute,
    "relu": relu,
    "sigmoid": sigmoid,
}
"""From unnormalised maps Z to heatmaps H, each of which sums to 1."""


def cell_centres(cells: int, device: torch.device | str | None = None) -> Tensor:
    """Normalised positions [cells] of the centres of a row's cells: (2j - (n + 1)) / n for j = 1 ... n."""
    return (2 * torch.arange(cells, dtype=torch.float32, device=device) - (cells - 1)) / cells


def dsnt(heatmaps: Tensor) -> Tensor:
    """Equation 1: the expectation of the cell centres under each heatmap.

    Args:
        heatmaps: H [..., m, n], each summing to 1.

    Returns:
        Coordinates [..., 2], float32.
    """
    x, y = _marginals(heatmaps)
    return torch.stack(
        [(x * cell_centres(x.shape[-1], x.device)).sum(-1), (y * cell_centres(y.shape[-1], y.device)).sum(-1)], dim=-1
    )


def covariance(heatmaps: Tensor) -> Tensor:
    """Equation 4 and its mixed term: Var[x], Cov[x, y], Var[y] of each heatmap.

    Args:
        heatmaps: H [..., m, n], each summing to 1.

    Returns:
        [..., 3] in normalised units squared, float32.
    """
    heatmaps = heatmaps.float()
    mean = dsnt(heatmaps)
    x = cell_centres(heatmaps.shape[-1], heatmaps.device) - mean[..., :1]
    y = cell_centres(heatmaps.shape[-2], heatmaps.device) - mean[..., 1:]
    marginal_x, marginal_y = _marginals(heatmaps)
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
        The map [N, joints, m, n] within two cells of its highest place, divided by its sum and nought elsewhere; and
        that sum [N, joints], the mode's share of the mass.
    """
    heatmaps = heatmaps.float()
    mass = F.avg_pool2d(heatmaps, 3, stride=1, padding=1).flatten(-2)
    highest = mass.argmax(-1, keepdim=True)  # the first of several: a flat map is not all one mode
    is_highest = (torch.arange(mass.shape[-1], device=mass.device) == highest).float().view(heatmaps.shape)
    mode = heatmaps * F.max_pool2d(is_highest, 2 * _REACH_CELLS + 1, stride=1, padding=_REACH_CELLS)
    share = mode.sum((-2, -1))
    return mode / share[..., None, None], share


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
    means = means.float()
    dx = (cell_centres(columns, means.device) - means[..., :1]) * columns / 2
    dy = (cell_centres(rows, means.device) - means[..., 1:]) * rows / 2
    return softmax(-(dx[..., None, :].square() + dy[..., :, None].square()) / (2 * sigma_px**2))


def euclidean_loss(targets: Tensor, coordinates: Tensor) -> Tensor:
    """Equation 2: the distance |p - mu| of each joint, [...]; its gradient at zero distance is zero."""
    distances: Tensor = torch.linalg.vector_norm(targets.float() - coordinates.float(), dim=-1)
    return distances


def variance_regulariser(heatmaps: Tensor, targets: Tensor, sigma_px: float) -> Tensor:
    """Equation 5: (Var[x] - sigma^2)^2 + (Var[y] - sigma^2)^2 in normalised units, [...]; `targets` is not used."""
    del targets
    spread = covariance(heatmaps)
    sigma_x, sigma_y = (2 * sigma_px / cells for cells in (heatmaps.shape[-1], heatmaps.shape[-2]))
    return (spread[..., 0] - sigma_x**2).square() + (spread[..., 2] - sigma_y**2).square()


def kl_regulariser(heatmaps: Tensor, targets: Tensor, sigma_px: float) -> Tensor:
    """Equation 6 with KL(heatmap || Gaussian at the target), natural logarithm, [...]."""
    return _kl(heatmaps.float(), gaussian(targets, heatmaps.shape[-2], heatmaps.shape[-1], sigma_px))


def js_regulariser(heatmaps: Tensor, targets: Tensor, sigma_px: float) -> Tensor:
    """Equation 6 with the Jensen-Shannon divergence to a Gaussian at the target, natural logarithm, [...]."""
    return _js(heatmaps.float(), gaussian(targets, heatmaps.shape[-2], heatmaps.shape[-1], sigma_px))


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
        [...], float32.
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
    return _js(heatmaps.float(), torch.full_like(heatmaps, 1 / (rows * columns), dtype=torch.float32))


def masked_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Mean over labelled joints.

    Args:
        losses: A loss for each joint, [...].
        weights: 0 for a joint that is not labelled, 1 (or how far a label is trusted) for one that is, [...].

    Returns:
        A scalar: 0 where no joint is labelled; a joint of weight 0 changes neither it nor its gradient.
    """
    return (losses * weights).sum() / weights.sum().clamp(min=_SUM_EPSILON)


def _divide_by_sum(rectified: Tensor) -> Tensor:
    return rectified / (rectified.sum((-2, -1), keepdim=True) + _SUM_EPSILON)


def _marginals(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over rows [..., n] and over columns [..., m], in float32."""
    heatmaps = heatmaps.float()
    return heatmaps.sum(-2), heatmaps.sum(-1)


def _js(p: Tensor, q: Tensor) -> Tensor:
    middle = (p + q) / 2
    return (_kl(p, middle) + _kl(q, middle)) / 2


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * ((p + _EPSILON).log() - (q + _EPSILON).log())).sum((-2, -1))
