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
Rows = NDArray[np.int64]


def expected_improvement(best: float, mean: Floats, deviation: Floats) -> Floats:
    """Return how far below `best` values of this mean and deviation are expected, 0 where above."""
    gap = (best - mean) / deviation
    density = np.exp(-0.5 * gap * gap) / np.sqrt(2 * np.pi)
    gain: Floats = np.maximum(deviation * (gap * ndtr(gap) + density), 0.0)
    return gain


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

    def _learn(self) -> None:
        rows = np.array([*self._rows, *self._pending])
        told = len(self._rows)
        targets = self._targets
        inputs, offsets = self._encoding(rows), self._offsets(rows)
        residuals = targets - offsets[:told]
        self._process.learn(inputs[:told], residuals, inputs[told:])
        self._bar = float(targets.min())

    def _worth(self, rows: Rows) -> Floats:
        mean, deviation = self._process.predict(self._encoding(rows))
        return expected_improvement(self._bar, mean + self._offsets(rows), deviation)

    def _offsets(self, rows: Rows) -> Floats:
        """Return what is expected of each config before anything was told; (rows,)."""
        return np.zeros(len(rows))
