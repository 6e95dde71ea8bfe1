"""Confidence: the probability that a joint is within half a head of the truth, from the shape of its heatmap.

A logistic regression for each kind of joint (one for left and right) on how much of the network's heatmap lies in its
main mode, and on that mode's spread and peak. `fit` finds its coefficients; the exported graph computes `features` and
the confidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.networks.pose import Outputs
from models.spec.skeleton import JOINTS, MIRROR

FEATURES: Final = ("1", "logit(mass of the main mode)", "log(variance in cells^2)", "log(peak)")
"""Variance is the main mode's; mass and peak are of the network's heatmap."""

COEFFICIENTS: Final = "coefficients"
"""Name of the coefficients in an exported graph."""

# Strength of the pull of every kind's coefficients towards those of all joints together.
_PULL: Final = 1.0

# A heatmap that is one bright cell has no variance and leaves nothing beside its main mode; far below any real one.
FLOOR: Final = 1e-4

# A map of zeros has no mode; below any mass or peak that a softmax gives.
_LEAST: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """Coefficients of the logistic regression, [16, 4], in the order of `FEATURES`."""

    coefficients: NDArray[np.float64]

    def confidence(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Confidence [people, 16] from `features` [people, 16, 4]."""
        return _sigmoid((features * self.coefficients).sum(-1))

    def to_metadata(self, dataset: str, joints: int) -> dict[str, Any]:
        """What the model file records of the fit."""
        return {
            "method": "logistic regression for each kind of joint",
            "meaning": "probability that the joint is within half a head of the truth",
            "features": list(FEATURES),
            "coefficients": {name: self.coefficients[i].round(5).tolist() for i, name in enumerate(JOINTS)},
            "dataset": dataset,
            "joints": joints,
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> "Calibration":
        """Read what `to_metadata` wrote."""
        return cls(np.array([metadata["coefficients"][name] for name in JOINTS]))


UNFITTED: Final = Calibration(np.zeros((len(JOINTS), len(FEATURES))))
"""Says 0.5 of every joint."""


def features(outputs: Outputs) -> Tensor:
    """`FEATURES` [N, joints, 4] of what `PoseNetwork.infer` says; traced into the exported graph."""
    heatmaps, mass = outputs.heatmaps, outputs.mode_mass
    rows, columns = heatmaps.shape[-2:]
    variance = outputs.covariance[..., 0] * (columns / 2) ** 2 + outputs.covariance[..., 2] * (rows / 2) ** 2
    logit = mass.clamp(min=_LEAST).log() - (1 - mass + FLOOR).log()
    peak = heatmaps.flatten(-2).amax(-1) * mass
    return torch.stack([torch.ones_like(peak), logit, (variance + FLOOR).log(), peak.clamp(min=_LEAST).log()], -1)


def fit(features: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]) -> Calibration:
    """Fit on joints [people, 16] that are `right` or not, each with its weight [people, 16]; 0 leaves a joint out."""
    everything = regression(features, right, weights, np.zeros(len(FEATURES)), pull=1e-6)
    coefficients = np.empty((len(JOINTS), len(FEATURES)))
    for kind in _kinds():
        columns = list(kind)
        coefficients[columns] = regression(
            features[:, columns], right[:, columns], weights[:, columns], everything, _PULL
        )
    return Calibration(coefficients)


def cross_validated(
    features: NDArray[np.float64],
    right: NDArray[np.bool_],
    weights: NDArray[np.float64],
    folds: NDArray[np.int_],
) -> NDArray[np.float64]:
    """Confidence [people, 16] of each person, by `fit` on the people of all other folds [people]."""
    confidence = np.empty(right.shape)
    for fold in np.unique(folds):
        held_out = folds == fold
        calibration = fit(features[~held_out], right[~held_out], weights[~held_out])
        confidence[held_out] = calibration.confidence(features[held_out])
    return confidence


def fifths(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> tuple[float, float]:
    """Fraction of wrong joints in the fifth of lowest and in the fifth of highest confidence."""
    wrong = ~right[np.argsort(confidence)]
    fifth = max(1, len(wrong) // 5)
    return float(wrong[:fifth].mean()), float(wrong[-fifth:].mean())


def expected_calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = 10) -> float:
    """Mean distance between confidence and fraction of right joints over equal bins, weighted by their joints."""
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for bin_ in range(bins):
        inside = index == bin_
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return float(error)


def _kinds() -> list[Sequence[int]]:
    """Joints of the same coefficients: a joint and its mirror image."""
    return [tuple(sorted({joint, mirrored})) for joint, mirrored in enumerate(MIRROR) if joint <= mirrored]


def regression(
    features: NDArray[np.float64],
    right: NDArray[np.bool_],
    weights: NDArray[np.float64],
    centre: NDArray[np.float64],
    pull: float,
) -> NDArray[np.float64]:
    """Logistic regression [4] with a quadratic pull towards `centre` [4]."""
    from scipy.optimize import minimize  # noqa: PLC0415 - reading a fit does not need scipy

    counted = weights > 0
    x, y, of = features[counted], right[counted], weights[counted]

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z, off = x @ w, w - centre
        return (
            float(of @ (np.logaddexp(0, z) - z * y) + pull * (off @ off)),
            x.T @ (of * (_sigmoid(z) - y)) + 2 * pull * off,
        )

    return np.asarray(minimize(loss, centre, jac=True, method="L-BFGS-B").x)


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0, -z))  # of any z, without overflow
