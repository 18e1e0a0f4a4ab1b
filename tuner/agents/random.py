"""Uniform random search without replacement: the baseline that every agent has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tuner.agents.base import Agent, Source
from tuner.objective import Objective
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Trial

__all__ = ["RandomAgent"]

# Sampling in growing draws keeps the first proposals cheap in large spaces.
_FIRST_DRAW = 64


class RandomAgent(Agent):
    """Proposes valid configs uniformly at random, each once.

    Example:
        >>> from tuner.objective import Objective
        >>> from tuner.search_spaces import Parameter, SearchSpace
        >>> space = SearchSpace([Parameter.integer("A", 1, 3)])
        >>> agent = RandomAgent(space, Objective(), seed=0)
        >>> sorted(config["A"] for config in agent.ask(10))
        [1, 2, 3]
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
        self._seen: set[Config] = set()
        self._stream = self._draw(np.random.default_rng(seed))

    def ask(self, count: int) -> list[Config]:
        """Return up to `count` configs that were not proposed or told before."""
        configs: list[Config] = []
        for config in self._stream:
            if config not in self._seen:
                self._seen.add(config)
                configs.append(config)
                if len(configs) == count:
                    break
        return configs

    def tell(self, trials: Sequence[Trial]) -> None:
        """Remember what has been measured, so as not to propose it."""
        self._seen.update(trial.config for trial in trials)

    def _draw(self, rng: np.random.Generator) -> Iterator[Config]:
        """Yield configs, a few at first; a draw that covers the space is the last."""
        size = _FIRST_DRAW
        while True:
            yield from self.space.sample(rng, size)
            if size >= self.space.size:
                return
            size = min(2 * size, self.space.size)
