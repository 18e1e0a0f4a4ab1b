"""A Gaussian process with expected improvement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tuner.agents.base import Source
from tuner.agents.gaussian import GaussianProcess
from tuner.agents.surrogate import SurrogateAgent
from tuner.objective import Objective
from tuner.search_spaces import SearchSpace

__all__ = ["GpAgent"]

Floats = NDArray[np.float64]

# Steps of the hyperparameters' climb, at the first fit and at later ones.
_FIRST_STEPS, _STEPS = 30, 12


def expected_improvement(best: float, mean: Floats, deviation: Floats) -> Floats:
    """Return how far below `best` values of this mean and deviation are expected, 0 where above."""
    gap = (best - mean) / deviation
    density = np.exp(-0.5 * gap * gap) / np.sqrt(2 * np.pi)
    return np.maximum(deviation * (gap * ndtr(gap) + density), 0.0)


class GpAgent(SurrogateAgent):
    """Proposes the candidate of greatest expected improvement under a Gaussian process."""

    def __init__(
        self,
        space: SearchSpace,
        objective: Objective,
        *,
        seed: int,
        sources: Sequence[Source] = (),
        variant: str = "",
    ) -> None:
        super().__init__(space, objective, seed=seed, sources=sources, variant=variant)
        self._process = GaussianProcess(self._encoding.owners, self._encoding.groups, self._rng)
        self._fitted = 0

    def _learn(self) -> None:
        targets = self._targets
        inputs = self._encoding(np.array(self._rows))
        self._process.fit(inputs, targets, steps=self._steps())
        if self._pending:
            waiting = self._encoding(np.array(self._pending))
            lies, _ = self._process.predict(waiting)
            self._process.fit(np.vstack((inputs, waiting)), np.append(targets, lies), steps=0)
        self._bar = float(targets.min())

    def _worth(self, candidates: Floats) -> Floats:
        mean, deviation = self._process.predict(candidates)
        return expected_improvement(self._bar, mean, deviation)

    def _steps(self) -> int:
        told = len(self._rows)
        if not self._fitted:
            self._fitted = told
            return _FIRST_STEPS
        if told - self._fitted < (1 if told < 30 else 3 if told < 100 else 10):
            return 0
        self._fitted = told
        return _STEPS
