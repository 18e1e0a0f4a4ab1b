"""`tuner/Slate-v0`: an action chooses one config of a slate, in terms that are the same in every space."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from tuner.agents.pool import Pool
from tuner.agents.slate import SlateShape
from tuner.agents.slate_search import Slate, SlateSearch
from tuner.envs.problem import Problem
from tuner.envs.reward import LogSpeedup, Reward
from tuner.envs.search_env import SearchEnv
from tuner.errors import TunerError
from tuner.types import Config, Trial

__all__ = ["SlateEnv"]


class SlateEnv(SearchEnv[NDArray[np.float32], Any]):
    """What `SlateVectorEnv` is for recorded spaces, for any problem, one search at a time.

    Args:
        problem: What is searched; a random space if None.
        budget: Trials of an episode, without the default's.
        reward: What a step is worth.
        shape: What a slate holds.
        starts: Random trials at the beginning of an episode, which count.

    Example:
        >>> env = SlateEnv(budget=10)
        >>> seen, info = env.reset(seed=0)
        >>> info["trials"], seen.shape == (env.shape.length,)
        (4, True)
    """

    def __init__(
        self,
        problem: Problem | None = None,
        *,
        budget: int = 100,
        reward: Reward = LogSpeedup(relative=True),
        shape: SlateShape = SlateShape(),
        starts: int = 4,
    ) -> None:
        super().__init__(problem, budget=budget, reward=reward)
        if not 0 <= starts < budget:
            raise TunerError(f"a budget of {budget} trials with {starts} random ones leaves no step; allow more")
        self.shape = shape
        self.observation_space = gymnasium.spaces.Box(-16.0, 16.0, (shape.length,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(shape.width)
        self._starts = starts
        self._slate: Slate | None = None
        self.on_restart()

    def meaning(self, action: int | np.integer[Any]) -> tuple[Config, bool]:
        """Return the config at a place of the slate; the first that is open where that place is not."""
        slate = self._slate or self._search.draw()
        row = slate.chosen(int(action))
        if row is None:
            return self.last, True
        self._search.take(row)
        return self.problem.space.decode(row), not slate.is_open[int(action)]

    def observe(self) -> NDArray[np.float32]:
        """Draw a new slate, and return what is seen of it."""
        self._slate = self._search.draw()
        return self._slate.observation

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which places of the slate are open."""
        if self._slate is None or not self._slate.is_open.any():
            return np.ones(self.shape.width, dtype=np.bool_)
        return self._slate.is_open

    def on_restart(self) -> None:
        """Forget everything."""
        space = self.problem.space
        self._pool = Pool(space, self.np_random)
        self._search = SlateSearch(
            space, self.shape, self._pool, self.np_random, budget=self.budget, size=self.problem.size
        )

    def on_started(self) -> None:
        """Try a few random configs."""
        for row in self._pool.random(self._starts)[: self._starts]:
            self.try_config(self.problem.space.decode(row))

    def on_trial(self, trial: Trial) -> None:
        """Keep the trial for later observations."""
        if self.problem.space.contains(trial.config):
            score = self.problem.objective.score(trial)
            self._search.tell(self._pool.row(trial.config), math.log(score) if 0 < score < math.inf else math.inf)
