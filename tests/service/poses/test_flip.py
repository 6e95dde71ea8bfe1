from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.spec.skeleton import JOINTS, MIRROR
from service.inference.engine import Estimates
from service.poses.flip import average, with_mirrored

CELLS = 28
AXIS = ((2 * np.arange(CELLS) - (CELLS - 1)) / CELLS).astype(np.float32)


def read(heatmaps: np.ndarray) -> Estimates:
    """Coordinates and covariance of heatmaps, by their definition."""
    x, y = (heatmaps * AXIS).sum((-2, -1)), (heatmaps * AXIS[:, None]).sum((-2, -1))
    dx, dy = AXIS - x[..., None, None], AXIS[:, None] - y[..., None, None]
    covariance = np.stack([(heatmaps * product).sum((-2, -1)) for product in (dx * dx, dx * dy, dy * dy)], -1)
    return Estimates(np.stack([x, y], -1), covariance, heatmaps.max((-2, -1)), heatmaps)


@given(st.integers(0, 1000))
def test_average_is_what_dsnt_reads_off_the_averaged_heatmaps(seed: int) -> None:
    random = np.random.default_rng(seed)
    heatmaps = np.exp(random.normal(0, 3, (4, 16, CELLS, CELLS))).astype(np.float32)
    heatmaps /= heatmaps.sum((-2, -1), keepdims=True)
    found = average(read(heatmaps), JOINTS)
    expected = read((heatmaps[:2] + heatmaps[2:, list(MIRROR), :, ::-1]) / 2)
    np.testing.assert_allclose(found.heatmaps, expected.heatmaps, atol=1e-6)
    np.testing.assert_allclose(found.coordinates, expected.coordinates, atol=1e-5)
    np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-5)


def test_mirror_images_stand_behind_the_crops() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    both = with_mirrored(crops)
    assert np.array_equal(both[:2], crops)
    assert np.array_equal(both[2:], crops[:, :, ::-1])


def test_without_heatmaps_there_are_none_to_average() -> None:
    heatmaps = np.full((2, 16, CELLS, CELLS), 1 / CELLS**2, np.float32)
    assert average(replace(read(heatmaps), heatmaps=None), JOINTS).heatmaps is None
