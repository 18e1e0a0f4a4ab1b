"""A Gaussian process over configs, small enough to be fitted anew for each proposal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dtrtrs

__all__ = ["GaussianProcess"]

Floats = NDArray[np.float64]

# Priors of the hyperparameters: logarithm of each length scale ~ N(0, 1), of the noise's share ~ N(log 0.01, 2).
_NOISE_MEAN, _NOISE_SPREAD = math.log(1e-2), 2.0
_LEAST_NOISE = 1e-6
# How far a step of the climb moves a hyperparameter, in logarithms; and steps at the first fit and at later ones.
_STEP = 0.6
_FIRST_CLIMB, _CLIMB = 30, 12


@dataclass(frozen=True, slots=True)
class _Fit:
    """What predictions need of one choice of hyperparameters."""

    value: float
    root: Floats
    weights: Floats
    mean: float
    variance: float


class GaussianProcess:
    """Regression with a Matern 5/2 kernel, a length scale for each parameter, and a constant mean.

    The variance and the mean are those of greatest likelihood; length scales and noise climb the posterior by random
    steps from where they were, so that a fit after one more observation costs a few steps.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2, 4 and 5.

    Args:
        owners: For each input column, the parameter that it belongs to; columns of a parameter share a length scale.
        groups: How many parameters.
        rng: Where chance comes from.

    Attributes:
        climbed: How many observations there were when the hyperparameters climbed last; 0 before they did.

    Example:
        >>> inputs = np.linspace(0, 1, 9)[:, None]
        >>> process = GaussianProcess(np.zeros(1, dtype=int), 1, np.random.default_rng(0))
        >>> process.fit(inputs, np.sin(3 * inputs[:, 0]), steps=30)
        >>> mean, deviation = process.predict(np.array([[0.3]]))
        >>> bool(abs(mean[0] - np.sin(0.9)) < 0.02), bool(deviation[0] < 0.1)
        (True, True)
    """

    def __init__(self, owners: NDArray[np.int64], groups: int, rng: np.random.Generator) -> None:
        self.climbed = 0
        self._owners = owners
        self._rng = rng
        # Logarithms: the length scales, and last the noise.
        self._logs = np.append(np.zeros(groups), _NOISE_MEAN)
        self._inputs: Floats = np.empty((0, len(owners)))
        self._fit: _Fit | None = None

    def fit(self, inputs: Floats, targets: Floats, *, steps: int) -> None:
        """Take in all observations, and let the hyperparameters climb so many steps.

        Args:
            inputs: (observations, columns), at least one observation.
            targets: (observations,), in any unit.
            steps: Tries to find better hyperparameters; 0 keeps those there are.
        """
        self._inputs = inputs
        best = self._evaluate(self._logs, targets)
        size = len(self._logs)
        for _ in range(steps):
            moved = self._rng.random(size) < max(0.3, 2 / size)
            tried = self._logs + np.where(moved, _STEP * self._rng.standard_normal(size), 0.0)
            fit = self._evaluate(tried, targets)
            if fit.value > best.value:
                best, self._logs = fit, tried
        self._fit = best
        if steps:
            self.climbed = len(targets)

    def learn(self, inputs: Floats, targets: Floats, waiting: Floats, *, climbs: bool = True) -> None:
        """Take in all observations, and what is pending as what is expected of it.

        The hyperparameters climb as far as is due: at each observation in the beginning, and more seldom later. That
        what is pending counts so is the constant liar of Ginsbourger et al. (2010).

        Args:
            inputs: (observations, columns), at least one observation.
            targets: (observations,), in any unit.
            waiting: (pending, columns).
            climbs: Whether hyperparameters climb at all.
        """
        self.fit(inputs, targets, steps=self._due(len(targets)) if climbs else 0)
        if len(waiting):
            lies, _ = self.predict(waiting)
            self.fit(np.concatenate([inputs, waiting]), np.append(targets, lies), steps=0)

    def _due(self, told: int) -> int:
        if not self.climbed:
            return _FIRST_CLIMB
        return 0 if told - self.climbed < (1 if told < 30 else 3 if told < 100 else 10) else _CLIMB

    def evidence(self, inputs: Floats, targets: Floats) -> float:
        """Return the logarithm of how likely the targets are, up to a constant, with the hyperparameters there are."""
        kept, self._inputs = self._inputs, inputs
        value = self._evaluate(self._logs, targets).value
        self._inputs = kept
        return value

    def predict(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of what lies at (inputs, columns), the noise not counted."""
        assert self._fit is not None, "fit first"
        scales = np.exp(-self._logs[:-1])[self._owners]
        cross = _matern(_distances(self._inputs * scales, inputs * scales))
        mean = self._fit.mean + self._fit.weights @ cross
        explained, _ = dtrtrs(self._fit.root, cross, lower=1)
        left = np.maximum(1.0 - np.einsum("ij,ij->j", explained, explained), 1e-9)
        return mean, np.sqrt(self._fit.variance * left)

    def sample(self, inputs: Floats, count: int, rng: np.random.Generator) -> Floats:
        """Return `count` draws of what may lie at (inputs, columns), all of them together; (count, inputs)."""
        assert self._fit is not None, "fit first"
        scales = np.exp(-self._logs[:-1])[self._owners]
        scaled = inputs * scales
        cross = _matern(_distances(self._inputs * scales, scaled))
        mean = self._fit.mean + self._fit.weights @ cross
        explained, _ = dtrtrs(self._fit.root, cross, lower=1)
        left = _matern(_distances(scaled, scaled)) - explained.T @ explained
        # What is almost known makes the matrix almost singular: a thousandth of a deviation is added, more if need be.
        for jitter in (1e-6, 1e-4, 1e-2):
            spread = left.copy()
            spread[np.diag_indices(len(inputs))] += jitter
            root, failed = dpotrf(spread, lower=1, clean=1, overwrite_a=1)
            if not failed:
                break
        drawn: Floats = mean + math.sqrt(self._fit.variance) * rng.standard_normal((count, len(inputs))) @ root.T
        return drawn

    def _evaluate(self, logs: Floats, targets: Floats) -> _Fit:
        """Return the fit at these hyperparameters, with its log posterior."""
        scales = np.exp(-logs[:-1])[self._owners]
        scaled = self._inputs * scales
        kernel = _matern(_distances(scaled, scaled))
        count = len(targets)
        kernel[np.diag_indices(count)] = 1.0 + _LEAST_NOISE + math.exp(logs[-1])
        root, failed = dpotrf(kernel, lower=1, clean=0, overwrite_a=1)
        if failed:
            return _Fit(-math.inf, root, targets, 0.0, 1.0)
        # Whitened, observations are independent: their mean of greatest likelihood is that of least squares.
        whitened, _ = dtrtrs(root, np.column_stack((np.ones(count), targets)), lower=1)
        ones = whitened[:, 0]
        mean = float(ones @ whitened[:, 1] / (ones @ ones))
        residual = whitened[:, 1] - mean * ones
        variance = max(float(residual @ residual) / count, 1e-12)
        value = -0.5 * count * math.log(variance) - float(np.log(np.diag(root)).sum())
        value -= 0.5 * float(logs[:-1] @ logs[:-1])
        value -= 0.5 * ((logs[-1] - _NOISE_MEAN) / _NOISE_SPREAD) ** 2
        weights, _ = dtrtrs(root, residual, lower=1, trans=1)
        return _Fit(value, root, weights, mean, variance)


def _distances(one: Floats, other: Floats) -> Floats:
    """Return the Euclidean distances between (n, columns) and (m, columns); (n, m)."""
    squares = (one * one).sum(axis=1)[:, None] + (other * other).sum(axis=1) - 2.0 * (one @ other.T)
    distances: Floats = np.sqrt(np.maximum(squares, 0.0))
    return distances


def _matern(distances: Floats) -> Floats:
    """Return the Matern 5/2 correlation at distances in length scales."""
    scaled = math.sqrt(5) * distances
    correlation: Floats = (1.0 + scaled + scaled * scaled / 3.0) * np.exp(-scaled)
    return correlation
