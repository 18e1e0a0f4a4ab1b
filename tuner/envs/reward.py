"""What a step is worth: an object of its own, so that environments and rewards can be combined at will."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["LogSpeedup", "Outcome", "Priced", "Reward", "ShareOfOptimum", "all_rewards"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step gave, of one search or of many: every attribute is an array of one number a search.

    Attributes:
        before: Logarithm of the best score before the step; infinite where nothing had worked.
        log: Logarithm of the new score; not finite where the config failed.
        repeated: Whether the config had been tried before in this search.
        optimum: Logarithm of the best score that there is; NaN where nobody knows.
        deviation: Standard deviation of the logarithms that the search has seen.
        left: The share of the budget that is left after the step.
    """

    before: Floats
    log: Floats
    repeated: NDArray[np.bool_]
    optimum: Floats
    deviation: Floats
    left: Floats

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Whether the config failed."""
        return ~np.isfinite(self.log)

    @property
    def gain(self) -> Floats:
        """Logarithm of the speed-up over the best before; 0 where there is none, or nothing to compare with."""
        known = np.isfinite(self.before) & np.isfinite(self.log) & ~self.repeated
        return np.where(known, np.maximum(np.where(known, self.before - self.log, 0.0), 0.0), 0.0)


class Reward(Protocol):
    """Turns outcomes into rewards, one a search."""

    def __call__(self, outcome: Outcome) -> Floats:
        """Return the rewards."""


@dataclass(frozen=True, slots=True)
class LogSpeedup:
    """The logarithm of the speed-up over the best so far, less a penalty for a failure or for a repetition.

    The rewards of an episode without failures sum up to the logarithm of its whole speed-up.

    Attributes:
        failure: What a failure costs.
        repeat: What a config costs that was tried before; it is not measured again.
        relative: Whether gains are divided by the standard deviation of what the search has seen, so that spaces in
            which all configs are alike count as much as others.

    Example:
        >>> reward = LogSpeedup(failure=0.1)
        >>> one = np.zeros(3)
        >>> log = np.log(np.array([0.5, 2.0, np.nan]))
        >>> outcome = Outcome(one, log, np.zeros(3, dtype=bool), one * np.nan, one + 1, one)
        >>> reward(outcome).round(3).tolist()
        [0.693, 0.0, -0.1]
    """

    failure: float = 0.05
    repeat: float = 0.0
    relative: bool = False

    def __call__(self, outcome: Outcome) -> Floats:
        """Return the rewards."""
        gain = outcome.gain / outcome.deviation if self.relative else outcome.gain
        rewards = np.where(outcome.failed & ~outcome.repeated, -self.failure, gain)
        return np.where(outcome.repeated, -self.repeat, rewards)


@dataclass(frozen=True, slots=True)
class ShareOfOptimum:
    """The gain in optimum / best, of recorded spaces only, and the earlier in the budget the more.

    An episode's sum is the mean of optimum / best over its trials (with `early=1`), less what it began with: the area
    under the curve by which agents are judged.

    Attributes:
        early: How much the budget that is left counts: 0 for the end of the episode alone, 1 for the mean over it.
        scale: What a gain of the whole optimum is worth.
    """

    early: float = 1.0
    scale: float = 10.0

    def __call__(self, outcome: Outcome) -> Floats:
        """Return the rewards; 0 where the optimum is not known."""
        better = np.where(outcome.failed, np.inf, outcome.log)
        after = np.minimum(outcome.before, better)
        gain = np.exp(outcome.optimum - after) - np.exp(outcome.optimum - outcome.before)
        rewards = self.scale * gain * (1 - self.early + self.early * outcome.left)
        return np.nan_to_num(np.where(outcome.repeated, 0.0, rewards), nan=0.0)


@dataclass(frozen=True, slots=True)
class Priced:
    """Another reward, less a price for each trial: what teaches when to stop.

    Attributes:
        worth: What a trial is worth.
        price: What it costs, in the same unit.

    Example:
        >>> one = np.zeros(1)
        >>> outcome = Outcome(one, one - 0.5, np.array([False]), one * np.nan, one + 1, one)
        >>> Priced(LogSpeedup(), 0.1)(outcome).tolist()
        [0.4]
    """

    worth: Reward
    price: float

    def __call__(self, outcome: Outcome) -> Floats:
        """Return the rewards; what was not measured, or not again, costs nothing."""
        return self.worth(outcome) - np.where(outcome.repeated, 0.0, self.price)


def all_rewards(reward: Reward, now: Outcome, is_open: NDArray[np.bool_]) -> Floats:
    """Return the reward of each config that searches may try next, (searches, configs); 0 where it is not open.

    Args:
        reward: What a step is worth.
        now: The searches, one number each, but for `log`: the logarithms of the scores, (searches, configs).
        is_open: Which configs may be chosen.
    """

    def each(numbers: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(numbers[:, None], now.log.shape)

    before, repeated, optimum, deviation, left = map(
        each, (now.before, now.repeated, now.optimum, now.deviation, now.left)
    )
    return np.where(is_open, reward(Outcome(before, now.log, repeated, optimum, deviation, left)), 0.0)
