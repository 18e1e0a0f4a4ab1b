"""Training during a campaign, without a trial: in landscapes that the campaign's own model finds likely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.agents.network import ScoringNetwork
from tuner.agents.pool import Row, index_vectors
from tuner.agents.slate_search import STOP, Slate, SlateSearch

__all__ = ["Dream", "Imagination"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Dream:
    """How much is imagined, and how much is learned of it.

    Attributes:
        first: Trials before the first time: a model of fewer knows too little.
        every: Trials from one time to the next.
        landscapes: Landscapes at a time.
        horizon: The most steps into the future.
        random: Untried configs of a landscape beside the neighbours of the best.
        passes: Steps along the gradient at a time.
        rate: The length of each, where the gradient is that of one standard deviation.
        loyalty: The share of what was learned at earlier times that is kept.
        patience: What later gains count beside those of the step itself.
    """

    first: int = 12
    every: int = 8
    landscapes: int = 4
    horizon: int = 8
    random: int = 150
    passes: int = 10
    rate: float = 0.1
    loyalty: float = 0.7
    patience: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """One step of an imagined search.

    Attributes:
        features: Of the slate's configs that may be chosen, (configs, features).
        scores: What the network alone gives them.
        gains: What each would have gained.
        taken: Which was chosen.
    """

    features: Floats
    scores: Floats
    gains: Floats
    taken: int


class Imagination:
    """Goes on training the linear part of a policy between trials.

    A Gaussian process that was fitted to the trials so far is drawn from: each draw is a landscape over the best
    configs' neighbours and random ones, which agrees with what was measured. The policy searches through some of
    them, for as many steps as its budget leaves, or a few. Every config's worth is known there, so that the gradient
    of the gain of the next step is exact over all actions; gains of later steps enter by what was chosen, less what
    the other landscapes gave at that time (REINFORCE with a baseline: Williams, 1992). Learning a policy in a model of
    the world: Sutton, Dyna, SIGART Bulletin 2 (1991).

    Args:
        network: What scores slates; it stays as it is.
        temperature: At which its scores are drawn by.
        rng: Where chance comes from.
        dream: How much of it.
    """

    def __init__(
        self,
        network: ScoringNetwork,
        temperature: float,
        rng: np.random.Generator,
        dream: Dream = Dream(),
    ) -> None:
        self._network = network
        self._temperature = temperature
        self._rng = rng
        self._dream = dream

    def due(self, trials: int) -> bool:
        """Return whether it is time, after so many trials."""
        return trials >= self._dream.first and (trials - self._dream.first) % self._dream.every == 0

    def learn(self, search: SlateSearch, change: Floats, left: int) -> Floats:
        """Return a better `change` of the weights of the configs' features, (features,).

        Args:
            search: What was tried; a slate was drawn of it. It stays as it is.
            change: That of before.
            left: Trials that the budget leaves.
        """
        dream = self._dream
        if not math.isfinite(search.history.best[0]):
            return change
        asked = list(dict.fromkeys([*search.untried.near(search.leaders), *search.untried.random(dream.random)]))
        horizon = min(left, dream.horizon, len(asked) - 1)
        if horizon < 1:
            return change
        drawn, chance = search.imagine(asked, dream.landscapes)
        fails = self._rng.random(drawn.shape) > chance
        ground = _Ground(asked, search.told[0])
        episodes = [
            self._episode(search, ground, np.where(one_fails, np.inf, logs), change, horizon)
            for logs, one_fails in zip(drawn, fails, strict=True)
        ]
        return self._improved(episodes, change)

    def _episode(
        self, search: SlateSearch, ground: _Ground, logs: Floats, change: Floats, horizon: int
    ) -> list[_State]:
        trials = int(search.history.trials[0])
        imagined = search.fork(_ImaginedPool(ground, self._rng), trials + horizon)
        worth = dict(zip(ground.rows, logs.tolist(), strict=True))
        optimum = min(float(search.history.best[0]), float(logs.min()))
        states = []
        for step in range(horizon):
            slate = imagined.draw()
            if not slate.is_open.any():
                break
            state = self._state(imagined, slate, worth, optimum, change, 1 - step / horizon)
            states.append(state)
            row = [row for row in slate.rows if row is not None][state.taken]
            if row == STOP:
                break
            imagined.tell(row, worth[row])
        return states

    def _state(
        self,
        imagined: SlateSearch,
        slate: Slate,
        worth: dict[Row, float],
        optimum: float,
        change: Floats,
        weight: float,
    ) -> _State:
        """Return a step: what each config would add to the mean of optimum / best over what is left."""
        shape = imagined.shape
        is_open = slate.is_open
        features = slate.observation[shape.search_features :].reshape(shape.width, -1)[is_open].astype(np.float64)
        scores = self._network.scores(slate.observation[None])[0][is_open].astype(np.float64)
        # To stop gains nothing.
        logs = np.array([math.inf if row == STOP else worth[row] for row in slate.rows if row is not None])
        before = float(imagined.history.best[0])
        gains = weight * (np.exp(optimum - np.minimum(logs, before)) - math.exp(optimum - before))
        noise = self._temperature * self._rng.gumbel(size=len(scores))
        return _State(features, scores, gains, int((scores + features @ change + noise).argmax()))

    def _improved(self, episodes: list[list[_State]], change: Floats) -> Floats:
        dream = self._dream
        longest = max(map(len, episodes))
        returns = np.zeros((len(episodes), longest + 1))
        for episode, own in zip(episodes, returns, strict=True):
            for step, state in reversed(list(enumerate(episode))):
                own[step] = own[step + 1] + state.gains[state.taken]
        later = dream.patience * (returns - returns.mean(axis=0))[:, 1:] * len(episodes) / max(len(episodes) - 1, 1)
        states = [state for episode in episodes for state in episode]
        spread = math.sqrt(np.mean([np.square(state.gains).mean() for state in states])) + 1e-9
        better = dream.loyalty * change
        for _ in range(dream.passes):
            gradient = np.zeros_like(better)
            for episode, own in zip(episodes, later, strict=True):
                for state, after in zip(episode, own.tolist(), strict=False):
                    logits = (state.scores + state.features @ better) / self._temperature
                    chances = np.exp(logits - logits.max())
                    chances /= chances.sum()
                    worth = state.gains - chances @ state.gains
                    gradient += (chances * worth) @ state.features
                    # The next gains were drawn by the old weights: they count only as far as these still choose so.
                    gradient += after * chances[state.taken] * (state.features[state.taken] - chances @ state.features)
            better = better + dream.rate * gradient / (spread * len(states))
        return better


class _Ground:
    """The untried configs of imagined landscapes, and which of them are neighbours of each other or of tried ones."""

    def __init__(self, rows: Sequence[Row], told: Sequence[Row]) -> None:
        self.rows = rows
        self.places = {row: place for place, row in enumerate([*rows, *told])}
        every = index_vectors([*rows, *told])
        same = np.zeros((len(every), len(rows)), dtype=np.int16)
        for axis in range(every.shape[1]):
            same += every[:, axis, None] == every[None, : len(rows), axis]
        self.near = same == every.shape[1] - 1


class _ImaginedPool:
    """The configs of an imagined landscape that were not taken."""

    def __init__(self, ground: _Ground, rng: np.random.Generator) -> None:
        self._ground = ground
        self._rng = rng
        self._left = np.ones(len(ground.rows), dtype=np.bool_)

    def take(self, row: Row) -> None:
        """Do not hand out `row` any more."""
        self._left[self._ground.places[row]] = False

    def random(self, count: int) -> list[Row]:
        """Return up to `count` rows that were not taken."""
        places = self._rng.permutation(np.flatnonzero(self._left))[:count]
        return [self._ground.rows[place] for place in places.tolist()]

    def near(self, rows: list[Row]) -> list[Row]:
        """Return the neighbours of `rows` that were not taken."""
        if not rows:
            return []
        around = self._ground.near[[self._ground.places[row] for row in rows]].any(axis=0)
        return [self._ground.rows[place] for place in np.flatnonzero(around & self._left).tolist()]
