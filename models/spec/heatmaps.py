"""What a heatmap says, in numpy; `models.networks.dsnt` computes the same inside the network, differentiably.

Heatmaps H are [..., m, n], m rows and n columns, each summing to 1; coordinates are normalised to [-1, 1].
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_TINY: Final = np.float32(1e-24)  # a map of zeros stays one

REACH_CELLS: Final = 2
"""How far a mode reaches from its highest cell: two sigmas of the target Gaussian."""


def cell_centres(cells: int) -> NDArray[np.float32]:
    """Normalised positions [cells] of the centres of a row's cells: (2j - (n + 1)) / n for j = 1 ... n."""
    return ((2 * np.arange(cells) - (cells - 1)) / cells).astype(np.float32)


def expectation(heatmaps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Equation 1: coordinates [..., 2], x then y, of heatmaps [..., m, n]."""
    rows, columns = heatmaps.shape[-2:]
    return np.stack([heatmaps.sum(-2) @ cell_centres(columns), heatmaps.sum(-1) @ cell_centres(rows)], -1)


def covariance(heatmaps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Equation 4 and its mixed term: Var x, Cov xy, Var y, [..., 3] in normalised units squared."""
    rows, columns = heatmaps.shape[-2:]
    mean = expectation(heatmaps)
    x, y = cell_centres(columns) - mean[..., :1], cell_centres(rows) - mean[..., 1:]
    var_x, var_y = (heatmaps.sum(-2) * x * x).sum(-1), (heatmaps.sum(-1) * y * y).sum(-1)
    cov_xy = (heatmaps * x[..., None, :] * y[..., :, None]).sum((-2, -1))
    return np.stack([var_x, cov_xy, var_y], -1)


def main_mode(heatmaps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each heatmap within two cells of its highest place, where 3 x 3 cells hold most, divided by its sum."""
    rows, columns = heatmaps.shape[-2:]
    maps = heatmaps.reshape(-1, rows, columns)
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    mass = sum(padded[:, y : y + rows, x : x + columns] for y in range(3) for x in range(3))
    row, column = np.divmod(np.asarray(mass).reshape(len(maps), -1).argmax(-1), columns)
    near_rows = np.abs(np.arange(rows) - row[:, None]) <= REACH_CELLS
    near_columns = np.abs(np.arange(columns) - column[:, None]) <= REACH_CELLS
    modes = maps * (near_rows[:, :, None] & near_columns[:, None, :])
    return np.asarray((modes / np.maximum(modes.sum((-2, -1), keepdims=True), _TINY)).reshape(heatmaps.shape))
