import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.poses.people import principal_axes


@given(st.floats(0, 100), st.floats(0, 1), st.floats(-89, 90))
def test_principal_axes_are_those_that_made_the_covariance(major: float, ratio: float, angle: float) -> None:
    minor = major * ratio
    turn = np.radians(angle)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = axes @ np.diag([major**2, minor**2]) @ axes.T
    found = principal_axes(np.array([matrix[0, 0], matrix[0, 1], matrix[1, 1]]))
    np.testing.assert_allclose(found[:2], [major, minor], atol=1e-4 * max(major, 1e-3))
    assert found[0] >= found[1] >= 0
    assert -90 < found[2] <= 90
    if major > 1e-3 and ratio < 0.99:
        assert abs((found[2] - angle + 90) % 180 - 90) < 1e-3


@pytest.mark.parametrize(
    ("covariance", "axes"),
    [([4, 0, 1], [2, 1, 0]), ([1, -0.0, 4], [2, 1, 90]), ([1, 0, 4], [2, 1, 90]), ([0, 0, 0], [0, 0, 0])],
)
def test_principal_axes_on_the_axes(covariance: list[float], axes: list[float]) -> None:
    np.testing.assert_allclose(principal_axes(np.array(covariance)), axes)
