"""Likelihood-free Bayesian optimisation with trees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.agents.forest import Forest
from tuner.agents.surrogate import SurrogateAgent

__all__ = ["LfboAgent"]

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

# Configs better than this quantile teach what to look for.
_QUANTILE = 0.25
# What being among them counts, before how far.
_FLOOR = 0.2


class LfboAgent(SurrogateAgent):
    """Proposes the candidate that trees find most like the best configs so far.

    Source: Song, Yu, Neiswanger and Ermon, A General Recipe for Likelihood-free Bayesian Optimization, ICML 2022.
    """

    def _learn(self) -> None:
        targets = self._targets
        bar = np.quantile(targets, _QUANTILE)
        gains = np.maximum(bar - targets, 0.0)
        mean = gains[gains > 0].mean() if (gains > 0).any() else 1.0
        labels = np.where(targets <= bar, _FLOOR + gains / mean, 0.0)
        rows = self._rows
        if self._pending:
            rows = [*rows, *self._pending]
            labels = np.append(labels, np.zeros(len(self._pending)))
        self._forest = Forest.fit(self._encoding(np.array(rows)), labels, self._rng)

    def _worth(self, rows: Rows) -> Floats:
        return self._forest.predict(self._encoding(rows))
