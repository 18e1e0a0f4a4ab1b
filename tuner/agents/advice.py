"""What models of the scores say of untried configs: a Gaussian process and trees, as numbers that are free of scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tuner.agents.encoding import Encoding
from tuner.agents.forest import Forest
from tuner.agents.gaussian import GaussianProcess
from tuner.agents.informant import Informant
from tuner.agents.pool import Row, index_vectors
from tuner.agents.slate import PRIOR_FEATURES, PRIOR_SEARCH_FEATURES
from tuner.search_spaces import SearchSpace

__all__ = ["Advice", "Advisor"]

Floats = NDArray[np.float64]

_TREES, _DEPTH = 12, 7
_FAILURE_TREES, _FAILURE_DEPTH = 8, 6
# Configs better than this quantile teach the trees what to look for, and what being among them counts.
_QUANTILE, _FLOOR = 0.25, 0.2
_LEADERS = 5
_CLIP = 4.0
_LEAST = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Advice:
    """What is advised of some untried configs.

    Attributes:
        rows: The configs; those that were asked about, and neighbours of the most promising of them.
        improvement: Logarithm of the expected improvement of each, the higher the better.
        likelihood: What trees say, the higher the better.
        mean: The process's mean, the lower the better.
        bound: Mean less two deviations, the lower the better.
        restart: The mean of those that are far from all that was tried, the lower the better; infinite elsewhere.
        informed: As `improvement`, given what other tasks say; None where there are none.
        prior: What they find of each, the lower the better; None likewise.
        features: `ADVICE_FEATURES` of each, and `PRIOR_FEATURES` where others are asked.
        search: `ADVICE_SEARCH_FEATURES`, and `PRIOR_SEARCH_FEATURES` likewise.
    """

    rows: Sequence[Row]
    improvement: Floats
    likelihood: Floats
    mean: Floats
    bound: Floats
    restart: Floats
    informed: Floats | None
    prior: Floats | None
    features: NDArray[np.float32]
    search: NDArray[np.float32]


class Advisor:
    """Models the scores of one search, and goes on from its last fit.

    Source: expected improvement, Jones, Schonlau and Welch, Journal of Global Optimization 13 (1998); trees by
    likelihood-free inference, Song, Yu, Neiswanger and Ermon, ICML 2022.

    Args:
        space: Whose configs; constraints play no part.
        rng: Where chance comes from.
        asks_others: Whether advice has features of what other tasks say.
        informant: Who knows what they say; None where there are none.
    """

    def __init__(
        self,
        space: SearchSpace,
        rng: np.random.Generator,
        *,
        asks_others: bool = False,
        informant: Informant | None = None,
    ) -> None:
        self._rng = rng
        self._asks_others = asks_others
        self._informant = informant if asks_others else None
        self._encoding = Encoding(space)
        self._process = GaussianProcess(self._encoding.owners, self._encoding.groups, rng)
        self._informed = GaussianProcess(self._encoding.owners, self._encoding.groups, rng)
        self._columns: Floats = np.empty((0, len(self._encoding.owners)))
        self._works: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
        self._climbs = True

    def fork(self) -> Advisor:
        """Return an advisor that knows what this one knows, and keeps its hyperparameters from now on."""
        other = copy(self)
        other._process, other._informed = copy(self._process), copy(self._informed)
        other._climbs = False
        return other

    def imagine(self, asked: Sequence[Row], count: int) -> tuple[Floats, Floats]:
        """Return draws of the logarithms of the scores of `asked`, (count, asked), and the chance that each works.

        `advise` was called before, and what it was told counts.
        """
        inputs = self._encoding(index_vectors(asked))
        return self._process.sample(inputs, count, self._rng), self._chance(self._columns, self._works, inputs)

    def advise(
        self,
        told: Sequence[Row],
        logs: Sequence[float],
        pending: Sequence[Row],
        asked: Sequence[Row],
        near: int,
        around: Callable[[list[Row]], Sequence[Row]],
    ) -> Advice:
        """Return what is advised.

        Args:
            told: What was tried: that of the last call, and what came since.
            logs: The logarithms of its scores, infinite where it failed; one is finite at least.
            pending: What is being tried: it counts as what the process expects of it.
            asked: Untried configs.
            near: How many of them, the first ones, are neighbours of the best.
            around: Gives the untried neighbours of configs.
        """
        scores = np.array(logs)
        works = np.isfinite(scores)
        targets = _clipped(scores, works)
        columns = self._told(told)
        waiting = self._encoding(np.array(pending)) if pending else columns[:0]
        self._process.learn(columns, targets, waiting, climbs=self._climbs)
        best, spread = float(targets.min()), max(float(targets.std()), 1e-6)
        rows, inputs = list(asked), self._encoding(index_vectors(asked))
        mean, deviation = self._process.predict(inputs)
        order = np.argsort(-_log_improvement(best, mean, deviation), kind="stable")[:_LEADERS]
        known = set(rows)
        if more := [row for row in around([rows[i] for i in order]) if row not in known]:
            inputs_more = self._encoding(index_vectors(more))
            mean_more, deviation_more = self._process.predict(inputs_more)
            inputs = np.concatenate([inputs, inputs_more])
            mean, deviation = np.append(mean, mean_more), np.append(deviation, deviation_more)
            rows += more
        self._works = works
        chance = self._chance(columns, works, inputs)
        improvement = _log_improvement(best, mean, deviation) + np.log(np.maximum(chance, 1e-3))
        likelihood = self._likelihood(columns, targets, waiting, inputs) * chance
        nearness = np.zeros(len(rows))
        nearness[:near] = 1
        nearness[len(asked) :] = 0.5
        features = [
            nearness,
            (improvement - improvement.max()).clip(-6, 0) / 3,
            ((mean - best) / spread).clip(-_CLIP, _CLIP),
            (deviation / spread).clip(0, _CLIP),
            ((best - mean) / deviation).clip(-_CLIP, _CLIP),
            likelihood / max(float(likelihood.max()), _LEAST),
            _ranks(improvement),
            _ranks(likelihood),
            chance,
        ]
        first = int(improvement.argmax())
        search = [(improvement[first] - math.log(spread)) / 4, (best - mean[first]) / spread, deviation[first] / spread]
        informed = prior = None
        if self._informant is not None:
            informed, prior, more_features, more_search = self._ask_others(
                self._informant, told, targets, pending, rows, inputs, chance
            )
            features += more_features
            search += more_search
        elif self._asks_others:
            features += [np.zeros(len(rows))] * len(PRIOR_FEATURES)
            search += [0.0] * len(PRIOR_SEARCH_FEATURES)
        return Advice(
            rows,
            improvement,
            likelihood,
            mean,
            mean - 2 * deviation,
            _far(columns, inputs, mean),
            informed,
            prior,
            np.stack(features, axis=1, dtype=np.float32),
            np.array(search, dtype=np.float32).clip(-_CLIP, _CLIP),
        )

    def _ask_others(
        self,
        informant: Informant,
        told: Sequence[Row],
        targets: Floats,
        pending: Sequence[Row],
        rows: Sequence[Row],
        inputs: Floats,
        chance: Floats,
    ) -> tuple[Floats, Floats, list[Floats], list[float]]:
        """Return expected improvement given the prior, the prior, and the features of both of configs and search."""
        columns, count = self._columns, len(targets)
        said = informant(told)
        weights = informant.weights(said, targets)
        left = targets - said @ weights
        waiting = self._encoding(np.array(pending)) if pending else columns[:0]
        self._informed.learn(columns, left, waiting, climbs=self._climbs)
        prior: Floats = informant(rows) @ weights
        residual, deviation = self._informed.predict(inputs)
        mean = residual + prior
        best, spread = float(targets.min()), max(float(targets.std()), 1e-6)
        improvement = _log_improvement(best, mean, deviation) + np.log(np.maximum(chance, 1e-3))
        first = int(improvement.argmax())
        evidence = self._informed.evidence(columns, left) - self._process.evidence(columns, targets)
        features = [
            ((prior - float((said @ weights).min())) / spread).clip(-_CLIP, _CLIP),
            _ranks(-prior),
            (improvement - improvement.max()).clip(-6, 0) / 3,
            _ranks(improvement),
            ((mean - best) / spread).clip(-_CLIP, _CLIP),
            (deviation / spread).clip(0, _CLIP),
        ]
        search = [
            min(len(informant), 4) / 4,
            10 * evidence / count,
            float(improvement[first] - math.log(spread)) / 4,
            float(best - mean[first]) / spread,
        ]
        return improvement, prior, features, search

    def _told(self, told: Sequence[Row]) -> Floats:
        """Return the columns of what was told; only what is new since the last call is encoded."""
        if new := told[len(self._columns) :]:
            self._columns = np.concatenate([self._columns, self._encoding(np.array(new))])
        return self._columns

    def _chance(self, columns: Floats, works: NDArray[np.bool_], inputs: Floats) -> Floats:
        """Return the chance that each of `inputs` works."""
        if works.all():
            return np.ones(len(inputs))
        forest = Forest.fit(columns, works.astype(float), self._rng, trees=_FAILURE_TREES, deepest=_FAILURE_DEPTH)
        return forest.predict(inputs)

    def _likelihood(self, columns: Floats, targets: Floats, waiting: Floats, inputs: Floats) -> Floats:
        bar = np.quantile(targets, _QUANTILE)
        gains = np.maximum(bar - targets, 0.0)
        mean = gains[gains > 0].mean() if (gains > 0).any() else 1.0
        labels = np.where(targets <= bar, _FLOOR + gains / mean, 0.0)
        everything = np.concatenate([columns, waiting])
        labels = np.append(labels, np.zeros(len(waiting)))
        return Forest.fit(everything, labels, self._rng, trees=_TREES, deepest=_DEPTH).predict(inputs)


def _far(columns: Floats, inputs: Floats, mean: Floats) -> Floats:
    """Return the mean of the quarter of configs that is farthest from all that was tried, and infinity elsewhere."""
    squares = np.square(columns).sum(axis=1) - 2 * inputs @ columns.T
    nearest = squares.min(axis=1) + np.square(inputs).sum(axis=1)
    far: Floats = np.where(nearest >= np.quantile(nearest, 0.75), mean, np.inf)
    return far


def _clipped(scores: Floats, works: NDArray[np.bool_]) -> Floats:
    """Return the scores, those clipped where it does not matter how bad they are, and failed ones at the worst."""
    valid = scores[works]
    middle = float(np.median(valid))
    worst = min(float(valid.max()), middle + 2 * (middle - float(valid.min())))
    clipped: Floats = np.minimum(scores, worst)
    return clipped


def _log_improvement(best: float, mean: Floats, deviation: Floats) -> Floats:
    """Return the logarithm of how far below `best` values are expected; roughly, where that is next to nothing."""
    gap = (best - mean) / deviation
    log_density = -0.5 * gap * gap - 0.5 * math.log(2 * math.pi)
    plain = np.log(np.maximum(np.exp(log_density) + gap * ndtr(gap), 1e-300))
    # Far in the tail, density + gap * cdf is density / gap^2, and cancels to nothing when computed.
    tail = log_density - 2 * np.log(np.maximum(-gap, 1.0))
    logs: Floats = np.log(deviation) + np.where(gap > -6, plain, tail)
    return logs


def _ranks(worth: Floats) -> Floats:
    """Return the logarithm of each place as a share of all, / 3; the best is lowest."""
    places = np.empty(len(worth))
    places[np.argsort(-worth, kind="stable")] = np.arange(len(worth))
    ranks: Floats = np.log(np.maximum(places / len(worth), 1e-3)) / 3
    return ranks
