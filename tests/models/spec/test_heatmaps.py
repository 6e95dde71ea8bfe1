"""The service's numpy reads maps as the network's torch does."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.networks import dsnt
from models.spec.heatmaps import REACH_CELLS, covariance, expectation, main_mode


def maps(seed: int, rows: int, columns: int) -> np.ndarray:
    values = np.exp(np.random.default_rng(seed).normal(0, 3, (2, 3, rows, columns))).astype(np.float32)
    return np.asarray(values / values.sum((-2, -1), keepdims=True))


@given(st.integers(0, 1000), st.integers(3, 20), st.integers(3, 20))
def test_numpy_and_torch_agree_on_maps_of_any_shape(seed: int, rows: int, columns: int) -> None:
    heatmaps = maps(seed, rows, columns)
    tensor = torch.from_numpy(heatmaps)
    np.testing.assert_allclose(expectation(heatmaps), dsnt.dsnt(tensor), atol=1e-5)
    np.testing.assert_allclose(covariance(heatmaps), dsnt.covariance(tensor), atol=1e-5)
    np.testing.assert_allclose(main_mode(heatmaps), dsnt.main_mode(tensor)[0], atol=1e-5)


def test_a_mode_ends_two_cells_from_its_highest_place() -> None:
    heatmap = np.full((1, 1, 12, 9), 0.001, np.float32)
    heatmap[0, 0, 6:9, 2:5] = 0.1
    heatmap[0, 0, 7, 3] = 1
    rows, columns = np.nonzero(main_mode(heatmap)[0, 0])
    assert (rows.min(), rows.max()) == (7 - REACH_CELLS, 7 + REACH_CELLS)
    assert (columns.min(), columns.max()) == (3 - REACH_CELLS, 3 + REACH_CELLS)


def test_a_map_of_zeros_has_no_mode() -> None:
    assert not main_mode(np.zeros((1, 1, 8, 8), np.float32)).any()
