"""Many recorded spaces at once, in numpy: what policies are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from tuner.agents.history import EVERY, MOST_ELITES, Histories, cards_of
from tuner.agents.slate import SlateShape, observe
from tuner.envs.landscape import Landscape
from tuner.envs.reward import LogSpeedup, Outcome, Reward, all_rewards
from tuner.errors import TunerError

__all__ = ["SlateVectorEnv"]

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

# So many draws make it likely that enough random configs are new, as long as few of the space were tried.
_DRAWS = 2


class SlateVectorEnv(VectorEnv[NDArray[np.float32], Integers, NDArray[Any]]):
    """Steps through many recorded spaces at once; an action chooses one of the configs on a slate.

    Each search begins with a few random trials, which count. An episode ends when its budget is spent, or nothing is
    left to try; it starts anew, on a space drawn at random, in the same step (`AutoresetMode.SAME_STEP`), and the last
    observation of the old one is `final_obs`. A config is never offered twice; choosing one that is not open chooses
    the first that is.

    Args:
        landscapes: The spaces.
        num_envs: How many searches run side by side.
        shape: What a slate holds.
        budget: Trials of an episode; or from where to where each episode draws its own.
        starts: Random trials at its beginning.
        reward: What a step is worth.

    Example:
        >>> landscape = Landscape.random(np.random.default_rng(0))
        >>> env = SlateVectorEnv([landscape], num_envs=3, budget=20)
        >>> seen, _ = env.reset(seed=0)
        >>> seen, rewards, ended, cut, info = env.step(env.action_space.sample())
        >>> seen.shape == (3, env.shape.length), rewards.shape
        (True, (3,))
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012 - Gymnasium's own name

    def __init__(
        self,
        landscapes: Sequence[Landscape],
        num_envs: int = 1,
        *,
        shape: SlateShape = SlateShape(),
        budget: int | tuple[int, int] = 100,
        starts: int = 4,
        reward: Reward = LogSpeedup(relative=True),
    ) -> None:
        if not landscapes:
            raise TunerError("there is no space to step through; give one or more")
        if shape.advised:
            raise TunerError(f"{shape} asks for advice, which AdvisedVectorEnv gives")
        low, high = (budget, budget) if isinstance(budget, int) else budget
        if not 0 < starts < low <= high:
            raise TunerError(f"a budget of {budget} trials with {starts} random ones leaves no step; allow more")
        self.landscapes = list(landscapes)
        self.num_envs = num_envs
        self.shape = shape
        self.reward = reward
        self._budgets = (low, high)
        self._random_starts = starts
        self.single_observation_space = gymnasium.spaces.Box(-16.0, 16.0, (shape.length,), np.float32)
        self.single_action_space = gymnasium.spaces.Discrete(shape.width)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._lay_out()
        parameters = self._cards.shape[1]
        self.histories = Histories(num_envs, parameters, int(self._cards.max()))
        self._all = np.arange(num_envs)
        self._space = np.zeros(num_envs, dtype=np.int64)
        self._budget = np.zeros(num_envs, dtype=np.int64)
        self._seen = np.ones((num_envs, int(self._sizes.max())), dtype=np.bool_)
        self._slate = np.zeros((num_envs, shape.width), dtype=np.int64)
        self.open: Bools = np.zeros((num_envs, shape.width), dtype=np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin all searches anew."""
        super().reset(seed=seed)
        self._restart(self._all)
        return self._observe(), {}

    def step(
        self, actions: Integers
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Try one config of each search.

        The infos are `optimum_share` (optimum / best so far) and `space` (the landscape's position), and, where an
        episode ended, `final_obs`.
        """
        chosen = np.where(self.open[self._all, actions], actions, self.open.argmax(axis=1))
        places = self._slate[self._all, chosen]
        before = self.histories.best.copy()
        logs = self._tell(self._all, places)
        left = 1 - self.histories.trials / self._budget
        outcome = Outcome(
            before, logs, np.zeros(self.num_envs, np.bool_), self._optima[self._space], self.histories.deviation, left
        )
        rewards = self.reward(outcome)
        space, share = self._space.copy(), np.exp(self._optima[self._space] - self.histories.best)
        ended = (self.histories.trials >= self._budget) | (self.histories.trials >= self._sizes[self._space])
        infos: dict[str, Any] = {"optimum_share": share, "space": space}
        if ended.any():
            infos["final_obs"] = np.full(self.num_envs, None, dtype=object)
            infos["_final_obs"] = ended.copy()
            over = np.flatnonzero(ended)
            for i, last in zip(over.tolist(), self._look(over, *self._draw(over)), strict=True):
                infos["final_obs"][i] = last
            self._restart(over)
        return self._observe(), rewards, ended, np.zeros_like(ended), infos

    def all_rewards(self) -> NDArray[np.float64]:
        """Return what each action would be worth now, (num_envs, width); 0 for those that are not open.

        A recorded space knows what every config would have given: a policy can learn from all of them.
        """
        places = self._firsts[self._space][:, None] + np.maximum(self._slate, 0)
        now = Outcome(
            self.histories.best,
            self._logs[places],
            np.zeros(self.num_envs, dtype=np.bool_),
            self._optima[self._space],
            self.histories.deviation,
            1 - (self.histories.trials + 1) / self._budget,
        )
        return all_rewards(self.reward, now, self.open)

    def action_masks(self) -> Bools:
        """Return which actions choose a config that is open, (num_envs, width)."""
        return self.open

    def _lay_out(self) -> None:
        """Put all landscapes into arrays of one shape."""
        spaces = self.landscapes
        shapes = [cards_of(space.space) for space in spaces]
        parameters = max(len(cards) for cards, _ in shapes)
        degree = max(space.neighbours.shape[1] for space in spaces)
        self._sizes = np.array([len(space) for space in spaces])
        self._firsts = np.concatenate([[0], np.cumsum(self._sizes)[:-1]])
        self._optima = np.array([np.nanmin(space.logs) for space in spaces])
        self._cards = np.stack([np.pad(cards, (0, parameters - len(cards))) for cards, _ in shapes])
        self._ordered = np.stack([np.pad(ordered, (0, parameters - len(ordered))) for _, ordered in shapes])
        self._rows = np.concatenate([np.pad(s.rows, ((0, 0), (0, parameters - s.rows.shape[1]))) for s in spaces])
        self._logs = np.concatenate([space.logs for space in spaces])
        self._neighbours = np.concatenate(
            [np.pad(s.neighbours, ((0, 0), (0, degree - s.neighbours.shape[1])), constant_values=-1) for s in spaces]
        )

    def _restart(self, which: Integers) -> None:
        space = self.np_random.integers(len(self.landscapes), size=len(which))
        self._space[which] = space
        low, high = self._budgets
        self._budget[which] = self.np_random.integers(low, high + 1, size=len(which))
        sizes = self._sizes[space]
        self.histories.restart(
            which, cards=self._cards[space], ordered=self._ordered[space], sizes=sizes, budgets=self._budget[which]
        )
        self._seen[which] = np.arange(self._seen.shape[1]) >= sizes[:, None]
        for _ in range(self._random_starts):
            places = (self.np_random.random(len(which)) * sizes).astype(np.int64)
            # Drawn again where it was drawn before: the next one that is new.
            while (again := self._seen[which, places]).any():
                places = np.where(again, (places + 1) % sizes, places)
            self._tell(which, places)

    def _tell(self, which: Integers, places: Integers) -> NDArray[np.float64]:
        """Try the configs at `places` of the searches' spaces, and return the logarithms of their scores."""
        everywhere = self._firsts[self._space[which]] + places
        logs: NDArray[np.float64] = self._logs[everywhere]
        self._seen[which, places] = True
        self.histories.add(which, self._rows[everywhere], logs, tags=places)
        return logs

    def _observe(self) -> NDArray[np.float32]:
        """Draw new slates for all searches, and return what is seen of them."""
        self._slate, self.open = self._draw(self._all)
        return self._look(self._all, self._slate, self.open)

    def _draw(self, which: Integers) -> tuple[Integers, Bools]:
        """Return slates for the searches `which`, -1 where there is no config, and which places are open."""
        shape, rng = self.shape, self.np_random
        tags, logs = self.histories.elite_tags[which], self.histories.elite_logs[which]
        own = np.arange(len(which))
        best = logs.argmin(axis=1)
        # One of the other elites; where there is none, the best once more.
        other = (best + rng.integers(1, MOST_ELITES, size=len(which))) % MOST_ELITES
        other = np.where(tags[own, other] < 0, best, other)
        near_best = self._near(which, tags[own, best], shape.near_best)
        near_elite = self._near(which, tags[own, other], shape.near_elite)
        draws = rng.random((len(which), _DRAWS * shape.random))
        places = (draws * self._sizes[self._space[which]][:, None]).astype(np.int64)
        new = ~self._seen[which[:, None], places]
        order = (~new).argsort(axis=1, kind="stable")[:, : shape.random]
        random = np.where(np.take_along_axis(new, order, 1), np.take_along_axis(places, order, 1), -1)
        slate = np.concatenate([near_best, near_elite, random], axis=1)
        is_open = slate >= 0
        for i in np.flatnonzero(~is_open.any(axis=1)):
            rest = np.flatnonzero(~self._seen[which[i]])
            if len(rest):
                slate[i, -1], is_open[i, -1] = rng.choice(rest), True
        return slate, is_open

    def _look(self, which: Integers, slate: Integers, is_open: Bools) -> NDArray[np.float32]:
        """Return what is seen of slates."""
        rows = self._rows[self._firsts[self._space[which]][:, None] + np.maximum(slate, 0)]
        # All searches need no copies of what they share.
        searches = EVERY if len(which) == self.num_envs else which
        return observe(self.shape, self.histories, rows, is_open, which=searches)

    def _near(self, which: Integers, places: Integers, count: int) -> Integers:
        """Return `count` random neighbours of each config that were not tried; -1 where there are fewer."""
        around = self._neighbours[self._firsts[self._space[which]] + np.maximum(places, 0)].astype(np.int64)
        around[places < 0] = -1
        closed = (around < 0) | self._seen[which[:, None], np.maximum(around, 0)]
        keys = self.np_random.random(around.shape, dtype=np.float32) + closed
        if around.shape[1] > count:
            chosen = (
                np.argpartition(keys, count - 1, axis=1)[:, :count] if count else np.empty((len(keys), 0), np.int64)
            )
        else:
            chosen = np.broadcast_to(np.arange(around.shape[1]), around.shape)
        found = np.where(np.take_along_axis(closed, chosen, 1), -1, np.take_along_axis(around, chosen, 1))
        return np.pad(found, ((0, 0), (0, count - found.shape[1])), constant_values=-1)
