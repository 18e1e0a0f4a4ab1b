"""The default agent: a Gaussian process that starts from what related tasks say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tuner.agents.base import Source
from tuner.agents.gaussian import GaussianProcess
from tuner.agents.gp import GpAgent
from tuner.agents.pool import Row
from tuner.agents.prior import Prior
from tuner.objective import Objective
from tuner.search_spaces import SearchSpace

__all__ = ["AutoAgent"]

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

# The first trials are the best config on average over the sources, and the best of so many of them.
_FIRST_OF_SOURCES = 3
# So many of the prior's best are always among the candidates.
_CANDIDATES = 200
# How firmly the sources' weights stay at equal shares: as if so many observations of unit variance had said so.
_FIRMNESS = 0.5
# Of so many proposals one takes no notice of the sources, which may mislead.
_PERIOD = 3
# Before so many trials nothing can be said about whether the sources help.
_FEWEST_TO_DROP = 5
# They help where the trials correlate with them by so many standard errors of no correlation at all.
_LEAST_ERRORS = 0.6


class AutoAgent(GpAgent):
    """Proposes like `gp`, and where there are sources, models only how the task differs from what they say.

    The prior is a weighted sum of what each source says of a config. The weights are fitted anew at each proposal, by
    ridge regression towards equal shares, so that a source that tells nothing of this task loses its weight. While what
    was measured does not rise with what the sources say, the prior is dropped; and every third proposal ignores it,
    since a prior that is right about most configs may still be wrong about the best.

    Attributes:
        weights: What each source that is used counts; about 0 where it tells nothing of this task.
        informed: Whether the last proposal took notice of the sources.

    Example:
        >>> from tuner.search_spaces import Parameter
        >>> from tuner.types import Config, Device, Measurement, Status, Task, Trial, Workload
        >>> def measured(a: int) -> Trial:
        ...     return Trial(Config(A=a), Measurement(Status.CORRECT, {"seconds": (1.0 + abs(a - 70),)}))
        >>> space = SearchSpace([Parameter.integer("A", 1, 99)])
        >>> task = Task("mine.py:KERNEL", "1", Workload(), Device("cpu", "another", "x86_64", 1, 0))
        >>> source = Source(task, tuple(measured(a) for a in range(1, 99, 9)))
        >>> agent = AutoAgent(space, Objective(), seed=0, sources=[source])
        >>> [config] = agent.ask(1)
        >>> abs(config["A"] - 70) < 10
        True
    """

    learns_from_sources = True

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
        self._prior = Prior(space, objective, sources, self._rng)
        count = len(self._prior)
        self.weights = np.full(count, 1 / max(count, 1))
        # Each model has hyperparameters of its own: one of the scores, one of what the prior leaves of them.
        self._processes = (self._process, GaussianProcess(self._encoding.owners, self._encoding.groups, self._rng))
        self.informed = count > 0
        self._best = self._prior.best(_CANDIDATES) if count else []
        self._first = [*self._best[:1], *self._prior.best_of_each()[:_FIRST_OF_SOURCES]] if count else []
        self._said: dict[Row, Floats] = {}

    def _start(self) -> Row | None:
        """Return the next of the prior's first proposals, unless what was told speaks against it; else as without."""
        first = next((row for row in self._first if row in self._pool), None)
        return first if first is not None and self._prior_helps() else super()._start()

    def _candidates(self) -> list[Row]:
        return [*super()._candidates(), *(row for row in self._best if row in self._pool)]

    def _learn(self) -> None:
        if len(self._prior):
            self._weigh_sources()
            told = len(self._rows) + len(self._pending)
            self.informed = bool(told % _PERIOD) and self._prior_helps()
            self._process = self._processes[self.informed]
        super()._learn()

    def _weigh_sources(self) -> None:
        """Fit the weights to what was told; both sides centred, since how fast the task is at all tells nothing."""
        said, targets = self._say(np.array(self._rows)), self._targets
        centred = said - said.mean(axis=0)
        equal = np.full(len(self.weights), 1 / len(self.weights))
        left = targets - targets.mean() - centred @ equal
        firm = centred.T @ centred + _FIRMNESS * np.eye(len(equal))
        self.weights = equal + np.linalg.solve(firm, centred.T @ left)

    def _prior_helps(self) -> bool:
        """Return whether what was measured rises with what the sources say, by more than chance would have it.

        It is asked of their mean: fitted weights agree with whatever they were fitted to. And it is asked of the
        correlation, not of the likelihood, which condemns a prior that ranks well and exaggerates: of priors that help
        and priors that were shuffled, ten trials tell 9 pairs in 10 apart by the first, and 6 by the second.
        """
        count = len(self._rows)
        if count < _FEWEST_TO_DROP or not any(map(math.isfinite, self._logs)):
            return True
        said, targets = self._say(np.array(self._rows)).mean(axis=1), self._targets
        said, targets = said - said.mean(), targets - targets.mean()
        spread = math.sqrt((said @ said) * (targets @ targets))
        return bool(said @ targets * math.sqrt(count) > _LEAST_ERRORS * spread)

    def _offsets(self, rows: Rows) -> Floats:
        return self._say(rows) @ self.weights if self.informed else super()._offsets(rows)

    def _say(self, rows: Rows) -> Floats:
        """Return what each source says; configs that were asked about before are looked up."""
        keys = list(map(tuple, rows.tolist()))
        new = [key for key in dict.fromkeys(keys) if key not in self._said]
        if new:
            self._said.update(zip(new, self._prior(np.array(new)), strict=True))
        return np.array([self._said[key] for key in keys])
