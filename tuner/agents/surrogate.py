"""What agents share that model the scores: history, imputed failures, candidates, batches."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from tuner.agents.base import Agent, Source
from tuner.agents.encoding import Encoding
from tuner.agents.forest import Forest
from tuner.agents.pool import Pool, Row
from tuner.objective import Objective
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Trial

__all__ = ["SurrogateAgent"]

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

# Random configs before the first model.
_FIRST = 4
# Candidates of a proposal: the neighbours of so many of the best, and so many random ones.
_TOP = 5
_RANDOM = 300
_FAILURE_TREES = 10


class SurrogateAgent(Agent):
    """Proposes the candidate that its model of the scores finds most worth a trial.

    The first proposals are random. Then candidates are what is left of the neighbours of the best configs, and random
    ones. Scores enter by their logarithm, clipped where they are so bad that how bad does not matter; a failed config
    counts as the worst that worked, and where failures are predicted a candidate is worth less.
    """

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
        self._rng = np.random.default_rng(seed)
        self._libraries = ThreadpoolController()
        self._encoding = Encoding(space)
        self._pool = Pool(space, self._rng)
        # What was told, in order; failed ones have an infinite logarithm.
        self._rows: list[Row] = []
        self._logs: list[float] = []
        self._pending: list[Row] = []

    def ask(self, count: int) -> list[Config]:
        """Return up to `count` configs that were not proposed or told before."""
        configs: list[Config] = []
        # The matrices are small: threads would wait for each other longer than they compute, the more so beside others.
        with self._libraries.limit(limits=1, user_api="blas"):
            while len(configs) < count:
                row = self._next()
                if row is None:
                    break
                self._pool.take(row)
                self._pending.append(row)
                configs.append(self.space.decode(row))
        return configs

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from finished trials, proposed by this agent or not; what is not in the space teaches nothing."""
        for trial in trials:
            if not self.space.contains(trial.config):
                continue
            row = self._pool.row(trial.config)
            self._pool.take(row)
            if row in self._pending:
                self._pending.remove(row)
            self._rows.append(row)
            self._logs.append(self.objective.log_score(trial))

    @abstractmethod
    def _learn(self) -> None:
        """Fit the model to what was told, and to what is pending."""

    @abstractmethod
    def _worth(self, rows: Rows) -> Floats:
        """Return how much each config is worth a trial, at least 0, by the model that was fitted last; (rows,)."""

    def _next(self) -> Row | None:
        started = self._start()
        if started is not None:
            return started
        candidates = list(dict.fromkeys(self._candidates()))
        return self._best_of(candidates) if candidates else None

    def _start(self) -> Row | None:
        """Return what to propose before there is anything to model; None once there is."""
        if len(self._rows) + len(self._pending) >= _FIRST and any(map(math.isfinite, self._logs)):
            return None
        return next(iter(self._pool.random(1)), None)

    def _candidates(self) -> list[Row]:
        """Return what to choose from: none only if nothing is left."""
        return [*self._pool.near(self._top(_TOP)), *self._pool.random(_RANDOM)]

    def _best_of(self, candidates: list[Row]) -> Row:
        self._learn()
        rows = np.array(candidates)
        return candidates[int((self._worth(rows) * self._chance(rows)).argmax())]

    def _top(self, count: int) -> list[Row]:
        """Return the best configs so far, the very best first."""
        order = np.argsort(self._logs, kind="stable")[:count]
        return [self._rows[i] for i in order if math.isfinite(self._logs[i])]

    @property
    def _targets(self) -> Floats:
        """The told logarithms, bad ones clipped and failed ones at the worst that worked; (told,)."""
        logs = np.array(self._logs)
        valid = logs[np.isfinite(logs)]
        worst = min(valid.max(), np.median(valid) + 2 * (np.median(valid) - valid.min()))
        targets: Floats = np.minimum(logs, worst)
        return targets

    def _chance(self, rows: Rows) -> Floats:
        """Return the chance that each config works; (rows,)."""
        works = np.isfinite(self._logs)
        if works.all():
            return np.ones(len(rows))
        forest = Forest.fit(self._encoding(np.array(self._rows)), works.astype(float), self._rng, trees=_FAILURE_TREES)
        return forest.predict(self._encoding(rows))
