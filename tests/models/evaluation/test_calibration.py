import numpy as np
import pytest
import torch

from models.evaluation.calibration import (
    Calibration,
    cross_validated,
    expected_calibration_error,
    features,
    fifths,
    fit,
)
from models.networks.pose import Outputs
from models.spec.skeleton import MIRROR


def test_features_are_constant_mass_spread_and_peak() -> None:
    mass, heatmaps = torch.full((1, 16), 0.75), torch.full((1, 16, 28, 14), 1 / 392)
    covariance = torch.tensor([(2 / 14) ** 2, 0.0, (2 / 28) ** 2]).expand(1, 16, 3)
    expected = [1, np.log(3), np.log(2), np.log(0.75 / 392)]
    outputs = Outputs(torch.zeros(1, 16, 2), covariance, heatmaps, mass, heatmaps)
    assert features(outputs)[0, 0].numpy() == pytest.approx(expected, abs=1e-3)


def test_features_of_a_map_of_zeros_are_finite() -> None:
    zeros = torch.zeros(1, 16, 28, 28)
    outputs = Outputs(torch.zeros(1, 16, 2), torch.zeros(1, 16, 3), zeros, torch.zeros(1, 16), zeros)
    assert features(outputs).isfinite().all()


def test_fit_finds_the_probabilities_that_made_the_data() -> None:
    random = np.random.default_rng(0)
    inputs = np.stack([np.ones((4000, 16)), *random.normal(size=(3, 4000, 16))], -1)
    truth = Calibration(np.tile([0.5, -1.0, 2.0, 1.0], (16, 1)))
    right = random.random((4000, 16)) < truth.confidence(inputs)
    counted = random.random((4000, 16)) < 0.9
    fitted = fit(inputs, right, counted.astype(float))
    assert np.abs(fitted.coefficients - truth.coefficients).max() < 0.3
    assert expected_calibration_error(fitted.confidence(inputs)[counted], right[counted]) < 0.01
    assert np.array_equal(fitted.coefficients, fitted.coefficients[list(MIRROR)])


def test_metadata_round_trip() -> None:
    calibration = Calibration(np.arange(64, dtype=float).reshape(16, 4))
    metadata = calibration.to_metadata("somebody", 7)
    assert np.array_equal(Calibration.from_metadata(metadata).coefficients, calibration.coefficients)
    assert (metadata["dataset"], metadata["joints"]) == ("somebody", 7)


def test_calibration_error_of_the_overconfident_is_their_excess() -> None:
    assert expected_calibration_error(np.full(100, 0.95), np.arange(100) < 50) == pytest.approx(0.45)


def test_cross_validation_never_sees_the_fold_that_it_judges() -> None:
    """Each fold's labels contradict the other's, so a fit that had seen them would do far better."""
    random = np.random.default_rng(0)
    inputs = np.stack([np.ones((400, 16)), *random.normal(size=(3, 400, 16))], -1)
    folds = np.arange(400) % 2
    right = (inputs[..., 1] > 0) ^ (folds == 1)[:, None]
    confidence = cross_validated(inputs, right, np.ones((400, 16)), folds)
    assert (confidence[~right] > 0.5).mean() > 0.95


def test_a_joint_of_weight_two_counts_twice_and_one_of_none_not_at_all() -> None:
    random = np.random.default_rng(0)
    inputs = np.stack([np.ones((100, 16)), *random.normal(size=(3, 100, 16))], -1)
    right, weights = random.random((100, 16)) < 0.6, np.repeat([1.0, 2.0, 0.0], [40, 30, 30])[:, None] * np.ones(16)
    weighted = fit(inputs, right, weights).coefficients
    chosen = [*range(40), *range(40, 70), *range(40, 70)]
    repeated = fit(inputs[chosen], right[chosen], np.ones((100, 16))).coefficients
    assert np.allclose(weighted, repeated, atol=1e-3)
    assert not np.allclose(weighted, fit(inputs, right, np.ones((100, 16))).coefficients, atol=0.05)


def test_fifths_are_the_ends_of_the_confidence() -> None:
    confidence = np.arange(100) / 100
    right = confidence >= 0.1
    assert fifths(confidence, right) == (0.5, 0.0)
