"""An agent of one's own.

`tuner replay FILE... --agent random,examples/own_agent.py:Climber` shows how good it is, and
`tuner tune KERNEL --agent examples/own_agent.py:Climber` uses it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tuner.agents import Agent
from tuner.types import Config, Trial


class Climber(Agent):
    """Tries the neighbours of the best config so far in random order, and random configs when all are known."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.rng = np.random.default_rng(self.seed)
        self.scores: dict[Config, float] = {}

    def ask(self, count: int) -> list[Config]:
        """Return up to `count` configs that were not tried."""
        best = min(self.scores, key=self.scores.__getitem__, default=None)
        near = self.space.neighbours(best) if best is not None else []
        self.rng.shuffle(near)
        anywhere = self.space.sample(self.rng, len(self.scores) + count)
        chosen = [config for config in dict.fromkeys([*near, *anywhere]) if config not in self.scores][:count]
        self.scores.update(dict.fromkeys(chosen, float("inf")))
        return chosen

    def tell(self, trials: Sequence[Trial]) -> None:
        """Keep the scores."""
        self.scores.update((trial.config, self.objective.score(trial)) for trial in trials)
