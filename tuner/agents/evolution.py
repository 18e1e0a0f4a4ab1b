"""Evolution: what the best configs have in common is kept, the rest is varied."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuner.agents.base import Agent, Source
from tuner.agents.pool import Pool, Row
from tuner.objective import Objective
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Trial

__all__ = ["EvolutionAgent"]

# Random configs before the first children, and how many of the best may have them.
_FIRST = 12
_PARENTS = 12
# The share of proposals that are a neighbour of the very best; the others are children of two.
_LOCAL = 0.5
# The chance that a child's parameter takes another of its values.
_MUTATION = 0.1


class EvolutionAgent(Agent):
    """Proposes neighbours of the best config, and children of two good ones moved to the nearest valid config.

    A steady-state genetic algorithm without generations: each trial competes as soon as it is told. It models nothing,
    costs nothing, and needs more trials than agents that model.

    Source: Whitley, The GENITOR algorithm and selection pressure, ICGA 1989.

    Example:
        >>> from tuner.search_spaces import Parameter
        >>> space = SearchSpace([Parameter.integer("A", 1, 9)])
        >>> len(EvolutionAgent(space, Objective(), seed=0).ask(20))
        9
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
        self._pool = Pool(space, self._rng)
        self._asked = 0
        self._scored: list[tuple[float, int, Row]] = []

    def ask(self, count: int) -> list[Config]:
        """Return up to `count` configs that were not proposed or told before."""
        configs: list[Config] = []
        while len(configs) < count and (row := self._next()) is not None:
            self._pool.take(row)
            self._asked += 1
            configs.append(self.space.decode(row))
        return configs

    def tell(self, trials: Sequence[Trial]) -> None:
        """Let the trials compete; what failed has no children."""
        for trial in trials:
            if not self.space.contains(trial.config):
                continue
            row = self._pool.row(trial.config)
            self._pool.take(row)
            score = self.objective.score(trial)
            if math.isfinite(score):
                self._scored.append((score, len(self._scored), row))
        self._scored = sorted(self._scored)[:_PARENTS]

    def _next(self) -> Row | None:
        if self._asked < _FIRST or not self._scored:
            return self._random()
        if self._rng.random() < _LOCAL and (near := self._pool.near([self._scored[0][2]])):
            return near[int(self._rng.integers(len(near)))]
        child = self.space.nearest(self._child())
        row = self._pool.row(child) if child is not None else None
        return row if row is not None and row in self._pool else self._random()

    def _random(self) -> Row | None:
        return next(iter(self._pool.random(1)), None)

    def _child(self) -> Row:
        """Return a mixture of two parents, the better ones more often, with some values changed."""
        places = self._rng.integers(len(self._scored), size=(2, 2)).min(axis=1)
        one, other = (np.array(self._scored[place][2]) for place in places.tolist())
        row = np.where(self._rng.random(len(one)) < 0.5, one, other)
        changed = self._rng.random(len(row)) < _MUTATION
        values = self._rng.integers(0, np.array(self.space.shape))
        return tuple(np.where(changed, values, row).tolist())
