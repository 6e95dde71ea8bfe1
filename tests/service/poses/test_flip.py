import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.spec.heatmaps import covariance, expectation, main_mode
from models.spec.skeleton import MIRROR, MPII
from service.inference.engine import Outputs
from service.poses.flip import average, with_mirrored

CELLS = 28


def read(heatmaps: np.ndarray) -> Outputs:
    """What the network gives of heatmaps."""
    return {
        "coordinates": expectation(heatmaps),
        "covariance": covariance(heatmaps),
        "confidence": heatmaps.max((-2, -1)),
        "heatmaps": heatmaps,
    }


def blob(row: int, column: int, peak: float) -> np.ndarray:
    heatmap = np.zeros((CELLS, CELLS), np.float32)
    heatmap[row - 1 : row + 2, column - 1 : column + 2] = (1 - peak) / 8
    heatmap[row, column] = peak
    return heatmap


@given(st.integers(0, 1000))
def test_the_average_is_read_off_the_averaged_maps(seed: int) -> None:
    random = np.random.default_rng(seed)
    heatmaps = np.exp(random.normal(0, 3, (4, 16, CELLS, CELLS))).astype(np.float32)
    heatmaps /= heatmaps.sum((-2, -1), keepdims=True)
    found = average(read(heatmaps), MPII)
    expected = read(main_mode((heatmaps[:2] + heatmaps[2:, list(MIRROR), :, ::-1]) / 2))
    for name in ("coordinates", "covariance", "heatmaps"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    confidence = heatmaps.max((-2, -1))
    np.testing.assert_allclose(found["confidence"], (confidence[:2] + confidence[2:, list(MIRROR)]) / 2, atol=1e-6)


def test_where_the_mirror_image_disagrees_the_surer_place_is_taken_and_none_between() -> None:
    heatmaps = np.stack([np.stack([blob(10, 5, 0.9)] * 16), np.stack([blob(10, CELLS - 1 - 20, 0.3)] * 16)])
    found = average(read(heatmaps), MPII)
    assert len(found["coordinates"]) == 1
    np.testing.assert_allclose(found["coordinates"], expectation(heatmaps[:1]), atol=1e-6)
    np.testing.assert_allclose(found["heatmaps"], heatmaps[:1], atol=1e-6)


def test_whole_maps_are_averaged_where_the_file_gives_them() -> None:
    heatmaps = np.stack([np.stack([blob(10, 5, 0.9)] * 16), np.stack([blob(20, 20, 0.3)] * 16)])
    whole = np.stack([np.stack([blob(4, 6, 0.6)] * 16)] * 2)
    found = average({**read(heatmaps), "maps": whole}, MPII)
    expected = main_mode((whole[:1] + whole[1:, list(MIRROR), :, ::-1]) / 2)
    np.testing.assert_allclose(found["heatmaps"], expected, atol=1e-6)


def test_mirror_images_stand_behind_the_crops() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    both = with_mirrored(crops)
    assert np.array_equal(both[:2], crops)
    assert np.array_equal(both[2:], crops[:, :, ::-1])
