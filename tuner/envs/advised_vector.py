"""Recorded spaces with what models advise on each slate: what policies over advice are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from tuner.agents.history import Histories
from tuner.agents.informant import Informant
from tuner.agents.pool import Row
from tuner.agents.slate import ADVISED, SlateShape
from tuner.agents.slate_search import STOP, Slate, SlateSearch
from tuner.envs.landscape import Landscape
from tuner.envs.reward import Outcome, Reward, ShareOfOptimum, all_rewards
from tuner.errors import TunerError

__all__ = ["AdvisedVectorEnv"]

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

# More draws than wanted, since some were tried.
_DRAWS = 2
# The share of episodes that are told what other tasks say, where there are any.
_INFORMED = 0.8


class _Ground:
    """A landscape in terms of rows that can be looked up."""

    def __init__(self, landscape: Landscape) -> None:
        self.landscape = landscape

    @cached_property
    def rows(self) -> list[Row]:
        """The configs' index vectors."""
        return list(map(tuple, self.landscape.rows.tolist()))

    @cached_property
    def places(self) -> dict[Row, int]:
        """Where each config stands."""
        return {row: place for place, row in enumerate(self.rows)}


class _LandscapePool:
    """The configs of a landscape that were not taken."""

    def __init__(self, ground: _Ground, rng: np.random.Generator) -> None:
        self._ground = ground
        self._rng = rng
        self._taken = np.zeros(len(ground.landscape), dtype=np.bool_)

    def take(self, row: Row) -> None:
        """Do not hand out `row` any more."""
        self._taken[self._ground.places[row]] = True

    def random(self, count: int) -> list[Row]:
        """Return up to `count` rows that were not taken."""
        drawn = np.unique(self._rng.integers(len(self._taken), size=_DRAWS * count))
        left = drawn[~self._taken[drawn]]
        if len(left) < count:
            left = np.flatnonzero(~self._taken)
        return [self._ground.rows[place] for place in self._rng.permutation(left)[:count]]

    def near(self, rows: list[Row]) -> list[Row]:
        """Return the neighbours of `rows` that were not taken."""
        around = self._ground.landscape.neighbours[[self._ground.places[row] for row in rows]].ravel()
        places = np.unique(around[around >= 0])
        return [self._ground.rows[place] for place in places[~self._taken[places]]]


class _Search:
    """One search of one landscape."""

    def __init__(
        self,
        ground: _Ground,
        shape: SlateShape,
        budget: int,
        rng: np.random.Generator,
        informant: Informant | None = None,
    ) -> None:
        self.ground = ground
        self.budget = budget
        size = len(ground.landscape)
        self._pool = _LandscapePool(ground, rng)
        self._stopped = False
        self._informant = informant
        self._slates = SlateSearch(
            ground.landscape.space, shape, self._pool, rng, budget=budget, size=size, informant=informant
        )
        self.slate: Slate = self._slates.draw()

    @property
    def history(self) -> Histories:
        """What was tried."""
        return self._slates.history

    def start(self, trials: int) -> None:
        """Try what other tasks find best, or random configs."""
        if self._informant is None:
            for drawn in self._pool.random(trials):
                self.tell(drawn)
        else:
            for _ in range(trials):
                if (row := self._slates.first()) is not None:
                    self.tell(row)
        self.slate = self._slates.draw()

    def tell(self, row: Row) -> float:
        """Try a config, and return the logarithm of its score."""
        log = float(self.ground.landscape.logs[self.ground.places[row]])
        self._slates.tell(row, log)
        return log

    def step(self, action: int) -> float:
        """Try the config that an action chooses, and return the logarithm of its score."""
        row = self.slate.chosen(action)
        if row == STOP:
            self._stopped = True
            return np.nan
        log = self.tell(row) if row is not None else np.nan
        self.slate = self._slates.draw()
        return log

    @property
    def logs(self) -> NDArray[np.float64]:
        """Logarithms of the scores of the configs on the slate; NaN where they fail or are not open."""
        logs, places = self.ground.landscape.logs, self.ground.places
        return np.array([logs[places[row]] if row else np.nan for row in self.slate.rows])

    @property
    def stopped(self) -> bool:
        """Whether an action has ended it."""
        return self._stopped

    @property
    def ended(self) -> bool:
        """Whether it was stopped, the budget is spent, or nothing is left."""
        if self._stopped:
            return True
        trials = int(self.history.trials[0])
        return trials >= self.budget or trials >= len(self.ground.landscape)


class AdvisedVectorEnv(VectorEnv[NDArray[np.float32], Integers, NDArray[Any]]):
    """Does what `SlateVectorEnv` does for slates of any shape, one search after another: some hundred steps a second.

    Args:
        landscapes: The spaces.
        num_envs: How many searches run side by side.
        shape: What a slate holds.
        budget: Trials of an episode; or from where to where each episode draws its own.
        starts: Random trials at its beginning.
        reward: What a step is worth.
        informants: For each of the landscapes, what other tasks may say; an episode draws one, or none of them.

    Example:
        >>> landscape = Landscape.random(np.random.default_rng(0))
        >>> env = AdvisedVectorEnv([landscape], num_envs=2, budget=20)
        >>> seen, _ = env.reset(seed=0)
        >>> seen, rewards, ended, cut, info = env.step(np.array([0, 5]))
        >>> seen.shape == (2, env.shape.length), env.all_rewards().shape
        (True, (2, 24))
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012 - Gymnasium's own name

    def __init__(
        self,
        landscapes: Sequence[Landscape],
        num_envs: int = 1,
        *,
        shape: SlateShape = ADVISED,
        budget: int | tuple[int, int] = 100,
        starts: int = 4,
        reward: Reward = ShareOfOptimum(),
        informants: Sequence[Sequence[Informant]] = (),
    ) -> None:
        if not landscapes:
            raise TunerError("there is no space to step through; give one or more")
        low, high = (budget, budget) if isinstance(budget, int) else budget
        if not 0 < starts < low <= high:
            raise TunerError(f"a budget of {budget} trials with {starts} random ones leaves no step; allow more")
        self.num_envs = num_envs
        self.shape = shape
        self.reward = reward
        self.single_observation_space = gymnasium.spaces.Box(-16.0, 16.0, (shape.length,), np.float32)
        self.single_action_space = gymnasium.spaces.Discrete(shape.width)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._informants = list(informants) or [()] * len(landscapes)
        self._grounds = [_Ground(landscape) for landscape in landscapes]
        self._optima = np.array([np.nanmin(landscape.logs) for landscape in landscapes])
        self._budgets = (low, high)
        self._random_starts = starts
        self._space = np.zeros(num_envs, dtype=np.int64)
        self._searches: list[_Search] = []

    @property
    def open(self) -> Bools:
        """Which configs may be chosen, (num_envs, width)."""
        return np.stack([search.slate.is_open for search in self._searches])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin all searches anew."""
        super().reset(seed=seed)
        self._searches = [self._new(i) for i in range(self.num_envs)]
        return self._seen(), {}

    def step(
        self, actions: Integers
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Try one config of each search; the infos are those of `SlateVectorEnv`."""
        before = self._of_each("best")
        logs = np.array([s.step(int(a)) for s, a in zip(self._searches, actions, strict=True)])
        budgets = np.array([search.budget for search in self._searches])
        optima, best = self._optima[self._space], self._of_each("best")
        left = 1 - self._of_each("trials") / budgets
        # To stop costs nothing, like what was known.
        repeated = np.array([search.stopped for search in self._searches])
        rewards = self.reward(Outcome(before, logs, repeated, optima, self._of_each("deviation"), left))
        infos: dict[str, Any] = {"optimum_share": np.exp(optima - best), "space": self._space.copy()}
        ended = np.array([search.ended for search in self._searches])
        if ended.any():
            infos["final_obs"] = np.full(self.num_envs, None, dtype=object)
            infos["_final_obs"] = ended.copy()
            for i in np.flatnonzero(ended).tolist():
                infos["final_obs"][i] = self._searches[i].slate.observation
                self._searches[i] = self._new(i)
        return self._seen(), rewards, ended, np.zeros_like(ended), infos

    def action_masks(self) -> Bools:
        """Return which actions choose a config that is open, (num_envs, width)."""
        return self.open

    def all_rewards(self) -> NDArray[np.float64]:
        """Return what each action would be worth now, (num_envs, width); 0 for those that are not open."""
        now = Outcome(
            self._of_each("best"),
            np.stack([search.logs for search in self._searches]),
            np.zeros(self.num_envs, dtype=np.bool_),
            self._optima[self._space],
            self._of_each("deviation"),
            1 - (self._of_each("trials") + 1) / np.array([search.budget for search in self._searches]),
        )
        rewards = all_rewards(self.reward, now, self.open)
        if self.shape.stop:
            rewards[:, -self.shape.stop :] = 0
        return rewards

    def _new(self, i: int) -> _Search:
        self._space[i] = self.np_random.integers(len(self._grounds))
        low, high = self._budgets
        budget = int(self.np_random.integers(low, high + 1))
        known = self._informants[self._space[i]]
        informed = bool(known) and self.np_random.random() < _INFORMED
        informant = known[self.np_random.integers(len(known))] if informed else None
        search = _Search(self._grounds[self._space[i]], self.shape, budget, self.np_random, informant)
        search.start(self._random_starts)
        return search

    def _of_each(self, name: str) -> NDArray[np.float64]:
        return np.array([float(getattr(search.history, name)[0]) for search in self._searches])

    def _seen(self) -> NDArray[np.float32]:
        return np.stack([search.slate.observation for search in self._searches])
