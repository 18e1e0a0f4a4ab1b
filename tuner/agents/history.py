"""What searches have seen so far, as arrays, and what it says of configs that they have not seen: free of scale.

Nothing here depends on which kernel is tuned, on how many parameters it has, or on whether its times are microseconds
or minutes, so that a policy which was trained on some spaces can be used on others. Many searches are kept at once, for
training; a campaign's agent keeps one, by the same code.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
from numpy.typing import NDArray

from tuner.search_spaces import SearchSpace

__all__ = ["CONFIG_FEATURES", "EVERY", "MOST_ELITES", "SEARCH_FEATURES", "Histories", "cards_of"]

CONFIG_FEATURES: tuple[str, ...] = (
    "value_mean",
    "value_best",
    "value_worst",
    "value_unseen",
    "value_failures",
    "best_changed",
    "best_distance",
    "elite_distance",
    "elite_mean",
    "elite_spread",
)
"""What is said of a config. Scores are logarithms, in standard deviations from the mean of the search, at most 4 off.

`value_*`: the mean score of the trials with each of the config's values, over its parameters (mean, lowest, highest);
how seldom they were seen; the largest share that failed. `best_*`: the share of parameters in which it differs from the
best config, and by how much of their range. `elite_*`: the distance to the nearest of the five best, and the mean and
the spread of their scores, the near ones weighing more.
"""

SEARCH_FEATURES: tuple[str, ...] = (
    "spent",
    "trials",
    "stagnation",
    "failures",
    "best",
    "last",
    "trend",
    "configs",
    "parameters",
)
"""What is said of a search: the share of its budget that is spent, log2(trials) / 8, the share of its trials since the
last improvement, the share that failed, the best score and the last one, the gain of the last eight trials, log2 of the
number of configs / 20, the number of parameters / 16."""

MOST_ELITES = 5
_TREND = 8
_CLIP = 4.0
# Spread of the scores below which a search is taken to have seen one score only.
_SMALLEST_DEVIATION = 1e-3
# How fast an elite's say falls with its distance, which is at most 1.
_NEAR = 0.15

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Which = slice | NDArray[np.int64]

EVERY = slice(None)
"""All searches."""


def cards_of(space: SearchSpace) -> tuple[Integers, NDArray[np.bool_]]:
    """Return the number of values of each parameter, and which parameters are ordered."""
    cards = np.array(space.shape, dtype=np.int64)
    return cards, np.array([parameter.ordered for parameter in space.parameters])


class Histories:
    """The trials of `count` searches, each of up to `parameters` parameters of up to `values` values.

    A search of fewer parameters leaves the others at index 0. Scores are told as logarithms.

    Args:
        count: How many searches.
        parameters: The most parameters that any of them has.
        values: The most values that any of their parameters has.

    Attributes:
        best: The logarithm of each search's best score; infinite before one worked.
        trials: How many trials each has told.
        elite_rows: Index vectors of the best configs, (count, 5, parameters), in no order.
        elite_logs: Their scores, (count, 5); infinite where there are fewer.
        elite_tags: The tags that they were told with.

    Example:
        >>> histories = Histories(1, 2, 4)
        >>> histories.restart([0], cards=np.array([[4, 3]]), ordered=np.array([[True, True]]), sizes=[12], budgets=[10])
        >>> histories.add([0], np.array([[1, 2]]), np.array([0.5]))
        >>> histories.add([0], np.array([[1, 1]]), np.array([0.25]))
        >>> float(histories.best[0]), int(histories.trials[0])
        (0.25, 2)
        >>> histories.describe(np.array([[[1, 1], [3, 0]]])).shape == (1, 2, len(CONFIG_FEATURES))
        True
    """

    def __init__(self, count: int, parameters: int, values: int) -> None:
        self.count = count
        shape = (count, parameters, values)
        self._seen = np.zeros(shape, dtype=np.float32)
        self._failed = np.zeros(shape, dtype=np.float32)
        self._sums = np.zeros(shape, dtype=np.float32)
        self._weights = np.zeros((count, parameters), dtype=np.float32)
        self._steps = np.zeros((count, parameters), dtype=np.float32)
        self._ordered = np.zeros((count, parameters), dtype=np.bool_)
        self._parameters = np.zeros(count, dtype=np.float32)
        self._sizes = np.zeros(count, dtype=np.float32)
        self._budget = np.ones(count, dtype=np.float32)
        self._good = np.zeros(count, dtype=np.float32)
        self._mean = np.zeros(count, dtype=np.float64)
        self._squares = np.zeros(count, dtype=np.float64)
        self._since = np.zeros(count, dtype=np.float32)
        self._last = np.zeros(count, dtype=np.float64)
        self._curve = np.full((count, _TREND), np.nan)
        self.trials = np.zeros(count, dtype=np.int64)
        self.best = np.full(count, np.inf)
        self.elite_rows = np.zeros((count, MOST_ELITES, parameters), dtype=np.int64)
        self.elite_logs = np.full((count, MOST_ELITES), np.inf)
        self.elite_tags = np.full((count, MOST_ELITES), -1, dtype=np.int64)
        self._axes = np.arange(parameters)
        # Where the statistics of a search's parameter begin, once they are flat.
        self._starts = (np.arange(count)[:, None] * parameters + self._axes) * values

    def restart(
        self,
        which: Integers | list[int],
        *,
        cards: Integers,
        ordered: NDArray[np.bool_],
        sizes: Integers | list[int],
        budgets: Integers | list[int],
    ) -> None:
        """Begin searches anew.

        Args:
            which: Their positions.
            cards: The number of values of each parameter, (which, parameters); 0 where there is no parameter.
            ordered: Which parameters are ordered.
            sizes: The number of configs of each space.
            budgets: How many trials each is to make.
        """
        varies = cards > 1
        own = np.maximum(varies.sum(axis=1), 1)
        self._weights[which] = varies / own[:, None]
        self._steps[which] = np.where(varies, 1 / np.maximum(cards - 1, 1), 0)
        self._ordered[which] = ordered
        self._parameters[which] = own / 16
        self._sizes[which] = np.log2(np.maximum(sizes, 1)) / 20
        self._budget[which] = np.maximum(budgets, 1)
        for array in (self._seen, self._failed, self._sums, self._good, self._mean, self._squares, self._since):
            array[which] = 0
        self._last[which] = 0
        self._curve[which] = np.nan
        self.trials[which] = 0
        self.best[which] = np.inf
        self.elite_rows[which] = 0
        self.elite_logs[which] = np.inf
        self.elite_tags[which] = -1

    def fork(self, budget: int) -> Histories:
        """Return a copy that goes on by itself, its searches with another budget."""
        other = deepcopy(self)
        other._budget[:] = max(budget, 1)
        return other

    def add(
        self,
        which: Integers | list[int],
        rows: NDArray[np.integer],
        logs: NDArray[np.float64],
        tags: Integers | None = None,
    ) -> None:
        """Tell one trial of each of the searches `which`, no search twice.

        Args:
            which: Their positions.
            rows: The configs' index vectors, (which, parameters).
            logs: Logarithms of the scores; not finite where the config failed.
            tags: A number to remember each config by.
        """
        which = np.asarray(which)
        works = np.isfinite(logs)
        logs = np.where(works, logs, 0.0)
        self.trials[which] += 1
        place = (which[:, None], self._axes[None, :], rows)
        self._seen[place] += works[:, None]
        self._failed[place] += ~works[:, None]
        self._sums[place] += logs[:, None]
        self._good[which] += works
        # Welford's update of mean and squares: sums of squares of large logarithms would cancel.
        off = np.where(works, logs - self._mean[which], 0.0)
        self._mean[which] += off / np.maximum(self._good[which], 1)
        self._squares[which] += off * np.where(works, logs - self._mean[which], 0.0)
        better = works & (logs < self.best[which])
        self._since[which] = np.where(better, 0, self._since[which] + 1)
        self.best[which] = np.where(better, logs, self.best[which])
        self._last[which] = np.where(works, logs, np.nan)
        self._curve[which, self.trials[which] % _TREND] = self.best[which]
        slot = self.elite_logs[which].argmax(axis=1)
        enters = works & (logs < self.elite_logs[which, slot])
        mine, slot = which[enters], slot[enters]
        self.elite_rows[mine, slot] = rows[enters]
        self.elite_logs[mine, slot] = logs[enters]
        self.elite_tags[mine, slot] = -1 if tags is None else tags[enters]

    @property
    def deviation(self) -> NDArray[np.float64]:
        """The standard deviation of the scores of each search."""
        return np.sqrt(self._squares / np.maximum(self._good, 1)).clip(_SMALLEST_DEVIATION)

    def standardised(self, logs: NDArray[np.float64], which: Which = EVERY) -> Floats:
        """Return scores, (which, ...), in standard deviations from their search's mean; failed ones are the worst."""
        shape = (-1,) + (1,) * (logs.ndim - 1)
        scores = (logs - self._mean[which].reshape(shape)) / self.deviation[which].reshape(shape)
        return np.nan_to_num(scores, nan=_CLIP, posinf=_CLIP).clip(-_CLIP, _CLIP).astype(np.float32)

    def describe(self, rows: NDArray[np.integer], which: Which = EVERY) -> Floats:
        """Return `CONFIG_FEATURES` of each config in `rows`, (which, configs, parameters)."""
        # Parameters come first: what is added up or compared over the first axis is added up in long rows.
        places = self._starts[which].T[:, :, None] + np.ascontiguousarray(np.moveaxis(rows, 2, 0))
        seen = np.take(self._seen, places)
        failed = np.take(self._failed, places)
        sums = np.take(self._sums, places)
        weights = self._weights[which].T[:, :, None]
        varies = weights > 0
        mean = self._mean[which].astype(np.float32)[:, None]
        deviation = self.deviation[which].astype(np.float32)[:, None]
        # One pseudo-trial at the mean keeps values that were seen once from being believed.
        scores = ((sums - seen * mean) / ((seen + 1) * deviation)).clip(-_CLIP, _CLIP)
        changed, away = self._distances(rows, which)
        logs = self.elite_logs[which]
        elites = np.isfinite(logs)
        best = logs.argmin(axis=1)[:, None, None]
        away = np.where(elites[:, None, :], away, 1.0).astype(np.float32)
        closeness = np.where(elites[:, None, :], np.exp(away / -_NEAR), np.float32(1e-9))
        elite_scores = np.where(elites, self.standardised(logs, which), 0)
        moments = np.stack([np.ones_like(elite_scores), elite_scores, np.square(elite_scores)], axis=2)
        total, first, second = np.moveaxis(closeness @ moments, 2, 0)
        elite_mean = first / total
        spread = np.maximum(second / total - np.square(elite_mean), 0)
        return np.stack(
            [
                (scores * weights).sum(axis=0),
                np.where(varies, scores, np.float32(_CLIP)).min(axis=0),
                np.where(varies, scores, np.float32(-_CLIP)).max(axis=0),
                (weights / np.sqrt(1 + seen + failed)).sum(axis=0),
                np.where(varies, failed / (seen + failed + 1), np.float32(0)).max(axis=0),
                np.take_along_axis(changed, best, axis=2)[:, :, 0],
                np.take_along_axis(away, best, axis=2)[:, :, 0],
                away.min(axis=2),
                elite_mean,
                np.sqrt(spread),
            ],
            axis=2,
            dtype=np.float32,
        )

    def overview(self, which: Which = EVERY) -> Floats:
        """Return `SEARCH_FEATURES` of searches, (which, features)."""
        trials, best, curve = np.maximum(self.trials[which], 1), self.best[which], self._curve[which]
        # The oldest of the last best scores that there are; where none worked, there is no trend.
        with np.errstate(invalid="ignore"):
            oldest = np.where(np.isnan(curve), -np.inf, curve).max(axis=1)
            gain = np.nan_to_num(oldest - best, nan=0.0, posinf=0.0, neginf=0.0)
        columns = [
            np.minimum(self.trials[which] / self._budget[which], 1),
            np.log2(trials) / 8,
            self._since[which] / trials,
            1 - self._good[which] / trials,
            self.standardised(best, which),
            self.standardised(self._last[which], which),
            (gain / self.deviation[which]).clip(0, _CLIP),
            self._sizes[which],
            self._parameters[which],
        ]
        return np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)

    def _distances(self, rows: NDArray[np.integer], which: Which) -> tuple[Floats, Floats]:
        """Return how far each config lies from each elite, (which, configs, elites).

        Returns:
            The share of parameters that differ; and the mean difference, that of a parameter being at most 1.
        """
        count, configs, parameters = rows.shape
        weights = self._weights[which]
        ordered = weights * self._ordered[which]
        apart = rows[:, :, None, :].astype(np.float32) - self.elite_rows[which][:, None, :, :].astype(np.float32)
        apart = np.abs(apart).reshape(count, -1, parameters)
        # Products of matrices add up over the parameters several times quicker than sums of products do.
        differs = np.minimum(apart, 1) @ np.stack([weights, weights - ordered], axis=2)
        steps = (apart @ (ordered * self._steps[which])[:, :, None])[:, :, 0]
        shape = (count, configs, MOST_ELITES)
        return differs[:, :, 0].reshape(shape), (differs[:, :, 1] + steps).reshape(shape)
