"""Random search by calculation: what it is expected to have found, and how a curve compares with it.

Source: Willemsen et al., A methodology for comparing optimization algorithms for auto-tuning, 2024. Of it come the
baseline, the score between it and the optimum, and where the budget ends; here the baseline is the exact expectation,
not the value at the expected rank, and a failed config counts like the slowest that worked: it costs an evaluation and
tells nothing better.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["Baseline"]

_CUTOFF = 0.95
"""The budget ends where random search has gone so much of the way from the median to the optimum."""

_NO_ROOM = 1e-12
"""Where random search is so near the optimum, relative to it, nobody can be better."""


class Baseline:
    """Random search without replacement on a recorded space.

    Args:
        seconds: The recorded times, infinite for failures; at least one is finite.

    Example:
        >>> baseline = Baseline([1.0, 2.0, float("inf")])
        >>> baseline.expected(2).round(3).tolist()
        [1.667, 1.333]
        >>> [round(baseline.score(curve), 3) for curve in ([1.0, 1.0], [2.0, 1.0], [float("inf"), 2.0])]
        [1.0, 0.25, -1.25]
    """

    def __init__(self, seconds: Sequence[float]) -> None:
        times = np.sort(np.asarray(seconds, dtype=np.float64))
        valid = times[np.isfinite(times)]
        if not valid.size:
            raise ValueError("every config failed; there is nothing to compare with")
        self.optimum = float(valid[0])
        self.worst = float(valid[-1])
        self._times = np.minimum(times, self.worst)
        self._valid = valid.size
        self._expectations: list[float] = []
        self._middle = float(np.median(valid))
        # log n! for n = 0, 1, ..., the number of configs.
        self._log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, times.size + 1)))])

    def expected(self, count: int) -> npt.NDArray[np.float64]:
        """Return the expected best after 1, 2, ..., `count` evaluations, in seconds; no more than there are configs."""
        count = min(count, self._times.size)
        self._expectations += [self._expected(draws) for draws in range(len(self._expectations) + 1, count + 1)]
        return np.array(self._expectations[:count])

    def expected_fractions(self, counts: Sequence[int]) -> list[float]:
        """Return the expected optimum / best found after so many evaluations each, 0 where none was found."""
        fractions = np.where(np.arange(self._times.size) < self._valid, self.optimum / self._times, 0.0)
        chances = [self._chances(min(count, self._times.size)) for count in counts]
        return [float(own @ fractions[: own.size]) for own in chances]

    def _expected(self, draws: int) -> float:
        """Return the expected best of so many draws."""
        chances = self._chances(draws)
        return float(chances @ self._times[: chances.size])

    def _chances(self, draws: int) -> npt.NDArray[np.float64]:
        """Return the probability of each rank, the fastest first, to be the best of so many draws.

        Of t draws from N configs none is among the fastest i with the probability C(N - i, t) / C(N, t).
        """
        logs, size = self._log_factorials, self._times.size
        # Of more than N - t configs at least one is drawn.
        none_of = np.arange(size - draws + 1)
        missed = logs[size - none_of] - logs[size - none_of - draws] - (logs[size] - logs[size - draws])
        chances: npt.NDArray[np.float64] = -np.diff(np.append(np.exp(missed), 0.0))
        return chances

    @cached_property
    def cutoff(self) -> int:
        """The evaluations that take random search 95 % of the way from the median to the optimum, in expectation."""
        target = self.optimum + (1 - _CUTOFF) * (self._middle - self.optimum)
        draws = range(1, self._times.size + 1)
        # The last draw of all finds the optimum, but for rounding.
        return min(bisect_left(draws, -target, key=lambda t: -self._expected(t)) + 1, self._times.size)

    def budget(self, trials: int) -> int:
        """Return the evaluations that `score` looks at of runs of `trials`: up to the cutoff."""
        return min(trials, self.cutoff)

    def score(self, curve: Sequence[float]) -> float:
        """Return the mean of (baseline - best) / (baseline - optimum) over the budget.

        It is 0 for what is no better than random search, and 1 for the optimum at once.

        Args:
            curve: The best after each evaluation, in seconds, infinite until one worked.
        """
        budget = self.budget(len(curve))
        best = np.minimum(np.asarray(curve[:budget], dtype=np.float64), self.worst)
        baseline = self.expected(budget)
        beatable = baseline - self.optimum > _NO_ROOM * self.optimum
        if not beatable.any():
            # All times are equal: whatever is found first is the optimum.
            return 1.0
        return float(np.mean((baseline - best)[beatable] / (baseline - self.optimum)[beatable]))
