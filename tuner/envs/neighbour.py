"""`tuner/Neighbour-v0`: an action changes one parameter."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from tuner.envs.problem import Problem
from tuner.envs.reward import LogSpeedup, Reward
from tuner.envs.search_env import SearchEnv, search_observation, search_space_of
from tuner.types import Config

__all__ = ["NeighbourEnv"]


class NeighbourEnv(SearchEnv[dict[str, Any], Any]):
    """A walk: an action gives one parameter of the last config another value.

    Actions count through the values of the first parameter, then those of the second, and so on. A change that is not
    valid stays where it is. Going back is free, since a config that was tried costs nothing.

    Args:
        problem: What is searched; a random space if None.
        budget: Trials of an episode, without the default's.
        reward: What a step is worth.

    Example:
        >>> env = NeighbourEnv(budget=10)
        >>> seen, info = env.reset(seed=0)
        >>> action = int(env.action_masks().argmax())
        >>> before = info["config"]
        >>> *_, info = env.step(action)
        >>> sum(before[name] != value for name, value in info["config"].items())
        1
    """

    def __init__(self, problem: Problem | None = None, *, budget: int = 100, reward: Reward = LogSpeedup()) -> None:
        super().__init__(problem, budget=budget, reward=reward)
        shape = self.problem.space.shape
        self.observation_space = search_space_of(self.problem)
        self.action_space = gymnasium.spaces.Discrete(sum(shape))
        self._firsts = np.array([0, *accumulate(shape)][:-1])
        self._moves: tuple[Config | None, dict[int, Config]] = (None, {})

    def meaning(self, action: int | np.integer[Any]) -> tuple[Config, bool]:
        """Return the neighbour that `action` leads to, or the last config where there is none."""
        move = self._reachable().get(int(action))
        return (move, False) if move is not None else (self.last, int(action) not in self._stays())

    def observe(self) -> dict[str, Any]:
        """Return what `search_space_of` describes."""
        return search_observation(self)

    def action_masks(self) -> NDArray[np.bool_]:
        """Return for each action whether it leads to another valid config; staying is open where nothing else is."""
        masks = np.zeros(sum(self.problem.space.shape), dtype=np.bool_)
        masks[list(self._reachable()) or list(self._stays())] = True
        return masks

    def _stays(self) -> list[int]:
        """Return the actions that choose the values which the last config has."""
        stays: list[int] = (self._firsts + self.problem.space.encode(self.last)).tolist()
        return stays

    def _reachable(self) -> dict[int, Config]:
        """Return the neighbours of the last config by the action that leads there."""
        if self._moves[0] != self.last:
            space = self.problem.space
            here = space.encode(self.last)
            moves: dict[int, tuple[int, Config]] = {}
            for config in space.neighbours(self.last):
                row = space.encode(config)
                changed = np.flatnonzero(row != here)
                # Where a change resets conditional parameters too, the action is the one that changes the least.
                for axis in changed.tolist():
                    action = int(self._firsts[axis] + row[axis])
                    if action not in moves or len(changed) < moves[action][0]:
                        moves[action] = (len(changed), config)
            self._moves = (self.last, {action: config for action, (_, config) in moves.items()})
        return self._moves[1]
