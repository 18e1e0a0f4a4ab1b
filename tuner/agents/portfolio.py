"""Several agents with one history: who finds improvements proposes more often."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tuner.agents.base import Agent, Source
from tuner.agents.evolution import EvolutionAgent
from tuner.agents.gp import GpAgent
from tuner.agents.lfbo import LfboAgent
from tuner.objective import Objective
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Trial

__all__ = ["PortfolioAgent"]

_MEMBERS: tuple[Callable[..., Agent], ...] = (GpAgent, LfboAgent, EvolutionAgent)
# What a proposal long ago counts, for each one since.
_MEMORY = 0.95
# A member asked in vain so often is skipped for this proposal.
_REPEATS = 8


class PortfolioAgent(Agent):
    """Asks one of `gp`, `lfbo` and `evolution` for each proposal, and tells all of them every trial.

    Who is asked is drawn by Thompson sampling: each member's chance that its next proposal is among the best tenth of
    all trials so far follows a beta distribution over its own proposals, older ones counting less.

    Source: Agrawal and Goyal, Analysis of Thompson Sampling for the Multi-armed Bandit Problem, COLT 2012.

    Example:
        >>> from tuner.search_spaces import Parameter
        >>> space = SearchSpace([Parameter.integer("A", 1, 9)])
        >>> len(PortfolioAgent(space, Objective(), seed=0).ask(20))
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
        self._members: list[Agent] = [kind(space, objective, seed=seed + i) for i, kind in enumerate(_MEMBERS)]
        self._wins = np.ones(len(_MEMBERS))
        self._losses = np.ones(len(_MEMBERS))
        self._proposer: dict[Config, int] = {}
        self._seen: set[Config] = set()
        self._scores: list[float] = []

    def ask(self, count: int) -> list[Config]:
        """Return up to `count` configs that were not proposed or told before."""
        configs: list[Config] = []
        while len(configs) < count:
            order = np.argsort(-self._rng.beta(self._wins, self._losses)).tolist()
            found = next(((member, config) for member in order if (config := self._propose(member))), None)
            if found is None:
                break
            member, config = found
            self._seen.add(config)
            self._proposer[config] = member
            configs.append(config)
        return configs

    def tell(self, trials: Sequence[Trial]) -> None:
        """Credit who proposed what, and tell everyone."""
        for trial in trials:
            self._seen.add(trial.config)
            score = self.objective.score(trial)
            self._scores.append(score)
            member = self._proposer.pop(trial.config, None)
            if member is not None:
                bar = sorted(self._scores)[max(0, math.ceil(len(self._scores) / 10) - 1)]
                won = float(math.isfinite(score) and score <= bar)
                self._wins *= _MEMORY
                self._losses *= _MEMORY
                self._wins[member] += won
                self._losses[member] += 1 - won
        for agent in self._members:
            agent.tell(trials)

    def _propose(self, member: int) -> Config | None:
        for _ in range(_REPEATS):
            asked = self._members[member].ask(1)
            if not asked:
                return None
            if asked[0] not in self._seen:
                return asked[0]
        return None
