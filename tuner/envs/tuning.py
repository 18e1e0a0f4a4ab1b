"""`tuner/Tuning-v0`: an action is a whole config."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from tuner.envs.problem import Problem
from tuner.envs.reward import LogSpeedup, Reward
from tuner.envs.search_env import SearchEnv, search_observation, search_space_of
from tuner.errors import TunerError
from tuner.types import Config, Trial

__all__ = ["TuningEnv"]

# Of spaces up to this size it is counted which values are left.
_MOST_COUNTED = 50_000


class TuningEnv(SearchEnv[dict[str, Any], NDArray[np.integer]]):
    """An action chooses the index of every parameter's value; one that is not valid means the nearest that is.

    Args:
        problem: What is searched; a random space if None.
        budget: Trials of an episode, without the default's.
        reward: What a step is worth.

    Example:
        >>> env = TuningEnv(budget=10)
        >>> seen, info = env.reset(seed=0)
        >>> seen, reward, ended, cut, info = env.step(env.action_space.sample())
        >>> info["trials"], len(env.action_masks()) == sum(env.problem.space.shape)
        (1, True)
    """

    def __init__(self, problem: Problem | None = None, *, budget: int = 100, reward: Reward = LogSpeedup()) -> None:
        super().__init__(problem, budget=budget, reward=reward)
        space = self.problem.space
        self.observation_space = search_space_of(self.problem)
        self.action_space = gymnasium.spaces.MultiDiscrete(np.array(space.shape))
        self._firsts = np.array([0, *accumulate(space.shape)][:-1])
        self._all = self._count()
        self._left = self._all.copy()

    def meaning(self, action: NDArray[np.integer]) -> tuple[Config, bool]:
        """Return the config at `action`, or the nearest that is valid."""
        space = self.problem.space
        config = space.decode(np.asarray(action, dtype=np.int64))
        if config in self.tried or space.contains(config):
            return config, False
        nearest = space.nearest(np.asarray(action, dtype=np.int64))
        return nearest or self.problem.default, True

    def observe(self) -> dict[str, Any]:
        """Return what `search_space_of` describes."""
        return search_observation(self)

    def action_masks(self) -> NDArray[np.bool_]:
        """Return for each value of each parameter, one after another, whether a config with it is left to try.

        That all values of an action are open does not make their combination valid: masks of a MultiDiscrete space are
        independent of each other. In spaces of more than 50,000 configs every value is open.
        """
        masks: NDArray[np.bool_] = self._left > 0
        return masks if masks.any() else np.ones_like(masks)

    def on_restart(self) -> None:
        """Begin counting anew."""
        self._left = self._all.copy()

    def on_trial(self, trial: Trial) -> None:
        """Count what is left."""
        if self.problem.space.contains(trial.config):
            self._left[self._firsts + self.problem.space.encode(trial.config)] -= 1

    def _count(self) -> NDArray[np.int64]:
        """Return how many valid configs have each value; in large spaces, a number that does not run out."""
        space = self.problem.space
        total = sum(space.shape)
        try:
            if space.size > _MOST_COUNTED:
                return np.full(total, np.iinfo(np.int64).max)
        except TunerError:
            return np.full(total, np.iinfo(np.int64).max)
        return np.bincount((self._firsts + space.table.astype(np.int64)).ravel(), minlength=total)
