"""What related tasks say of a search's configs, for policies: asked often, answered from memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tuner.agents.pool import Row, index_vectors
from tuner.agents.prior import Prior

__all__ = ["Informant"]

Floats = NDArray[np.float64]

# The prior's best that are always looked at, and how many of the sources' own best a search begins with.
_BEST = 100
_FIRST_OF_SOURCES = 3
# How firmly the sources' weights stay at equal shares: as if so many observations of unit variance had said so.
_FIRMNESS = 0.5


class Informant:
    """Remembers what a prior said of configs; many searches of one space may share one.

    Args:
        prior: Of one source at least.

    Attributes:
        best: The configs that the sources find best on average, the very best first.
        first: What a search begins with: the best on average, then the best of some of the sources.
    """

    def __init__(self, prior: Prior) -> None:
        self._prior = prior
        self._said: dict[Row, Floats] = {}
        self.best = prior.best(_BEST)
        self.first = list(dict.fromkeys([*self.best[:1], *prior.best_of_each()[:_FIRST_OF_SOURCES]]))

    def __len__(self) -> int:
        return len(self._prior)

    def __call__(self, rows: Sequence[Row]) -> Floats:
        """Return what each source says of configs, one at least, as `Prior` does; (rows, sources)."""
        if new := [row for row in rows if row not in self._said]:
            self._said.update(zip(new, self._prior(index_vectors(new)), strict=True))
        return np.array([self._said[row] for row in rows])

    def weights(self, said: Floats, targets: Floats) -> Floats:
        """Return what each source counts, by ridge regression of what was measured towards equal shares; (sources,).

        Args:
            said: What the sources say of the configs that were tried, (tried, sources).
            targets: The logarithms of their scores.
        """
        centred = said - said.mean(axis=0)
        equal = np.full(len(self), 1 / len(self))
        left = targets - targets.mean() - centred @ equal
        firm = centred.T @ centred + _FIRMNESS * np.eye(len(self))
        weights: Floats = equal + np.linalg.solve(firm, centred.T @ left)
        return weights
