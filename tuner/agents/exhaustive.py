"""Every config of the space, in its order: for small spaces and for recording."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from tuner.agents.base import Agent, Source
from tuner.objective import Objective
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Trial

__all__ = ["ExhaustiveAgent"]


class ExhaustiveAgent(Agent):
    """Proposes each config of the space once, in the order of enumeration.

    Example:
        >>> from tuner.objective import Objective
        >>> from tuner.search_spaces import Parameter, SearchSpace
        >>> agent = ExhaustiveAgent(SearchSpace([Parameter.boolean("A")]), Objective(), seed=0)
        >>> [len(agent.ask(1)), len(agent.ask(5)), len(agent.ask(1))]
        [1, 1, 0]
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
        self._told: set[Config] = set()
        self._rest = (config for config in space.iterate() if config not in self._told)

    def ask(self, count: int) -> list[Config]:
        """Return the next `count` configs."""
        return list(islice(self._rest, count))

    def tell(self, trials: Sequence[Trial]) -> None:
        """Remember what has been measured, so as not to propose it."""
        self._told.update(trial.config for trial in trials)
