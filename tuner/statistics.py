"""Every statistic that tuner prints, computed from raw samples in this one place.

Times are compared as logarithms of ratios of samples that were taken side by side, and their centre is a median: what
slows the machine slows both sides of a pair, and a single interrupted call moves no median. Whoever looks at samples
while they come, and stops when they please, uses `median_interval` and `is_above`, which hold at every look.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "Interval",
    "Ratio",
    "fewest_groups",
    "fewest_samples",
    "group_medians",
    "grouped_interval",
    "is_above",
    "log_ratios",
    "mean",
    "mean_interval",
    "median",
    "median_error",
    "median_interval",
    "paired_interval",
    "paired_ratio",
    "percentile",
    "sign_test",
    "spread",
]

# Standard deviation of a normal distribution over its median absolute deviation.
_SPREAD = 1.4826
# Standard error of the median of normal samples over that of their mean: the square root of pi / 2.
_MEDIAN_TO_MEAN = 1.2533
# `median_interval` spreads its bets over how far a median may be off as Beta(3, 3): narrowest for 15 to 150 pairs.
_BETS = 3.0
# Of the stake of `is_above`, the part that is bet on every sample being above: a clear loser is known after five pairs.
_ALL_ABOVE = 0.7


def median(samples: Sequence[float]) -> float:
    """Return the median of `samples`, in their own unit.

    Raises:
        ValueError: there are none.
    """
    if not len(samples):
        raise ValueError("a median needs at least one sample")
    return float(np.median(np.asarray(samples, dtype=np.float64)))


def mean(samples: Sequence[float]) -> float:
    """Return the arithmetic mean of `samples`, in their own unit.

    Raises:
        ValueError: there are none.
    """
    if not len(samples):
        raise ValueError("a mean needs at least one sample")
    return float(np.mean(np.asarray(samples, dtype=np.float64)))


def spread(samples: Sequence[float]) -> float:
    """Return about the standard deviation of `samples`, from their median absolute deviation: an outlier adds nothing.

    Raises:
        ValueError: there are none.

    Example:
        >>> spread([1.0, 2.0, 3.0, 4.0, 1000.0])
        1.4826
    """
    middle = median(samples)
    return _SPREAD * median(np.abs(np.asarray(samples, dtype=np.float64) - middle).tolist())


def median_error(samples: Sequence[float]) -> float:
    """Return about the standard error of the median of `samples`, from their `spread`.

    Rough below ten samples, and zero for one.
    """
    return _MEDIAN_TO_MEAN * spread(samples) / math.sqrt(len(samples))


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the `percent`-th percentile (0 to 100) of `samples`, linearly interpolated."""
    return float(np.percentile(np.asarray(samples, dtype=np.float64), percent))


def log_ratios(numerator: Sequence[float], denominator: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return log(numerator / denominator) pair by pair.

    Raises:
        ValueError: the two differ in length, are empty, or hold a time that is not positive.
    """
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim != 1 or not top.size:
        raise ValueError(f"pairs need two sequences of one length, not {top.shape} and {bottom.shape}")
    if not (np.all(top > 0) and np.all(bottom > 0)):
        raise ValueError("ratios need positive samples")
    logs: npt.NDArray[np.float64] = np.log(top / bottom)
    return logs


@dataclass(frozen=True, slots=True)
class Ratio:
    """A paired ratio with its bootstrap interval.

    Attributes:
        value: Exponential of the median of the per-pair log-ratios.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


def paired_ratio(
    numerator: Sequence[float],
    denominator: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Ratio:
    """Return how many times larger `numerator` is than `denominator`, from interleaved pairs.

    The estimate is the median of the per-pair log-ratios: what slows the machine for a while slows both sides of a
    pair and cancels, and a single interrupted call does not move a median. The interval is the percentile bootstrap of
    that median (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13), resampling pairs.

    Args:
        numerator: Samples, one a round.
        denominator: Samples of the same rounds.
        confidence: Level of the interval, between 0 and 1.
        resamples: Bootstrap resamples.
        seed: Seed of the resampling; the same samples and seed give the same interval.

    Raises:
        ValueError: see `log_ratios`; or `confidence` is not between 0 and 1.

    Example:
        >>> paired_ratio([2.0, 2.2, 1.8], [1.0, 1.1, 0.9]).value
        2.0
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} is not between 0 and 1")
    logs = log_ratios(numerator, denominator)
    rng = np.random.default_rng(seed)
    medians = np.median(logs[rng.integers(0, logs.size, size=(resamples, logs.size))], axis=1)
    tail = 50 * (1 - confidence)
    low, high = np.exp(np.percentile(medians, [tail, 100 - tail]))
    return Ratio(float(np.exp(np.median(logs))), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval, in the unit of its samples; infinite on a side of which too little is known.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the distance between the ends."""
        return (self.high - self.low) / 2


def mean_interval(
    groups: Sequence[Sequence[float]], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the percentile bootstrap interval of the mean of the groups' means.

    Groups are resampled, and then the samples within each: it says what other groups, such as other kernels, would have
    given, not only other samples of these. Of one group only its samples are resampled. See Davison and Hinkley,
    Bootstrap methods and their application, 1997, section 3.8.

    Args:
        groups: Samples, group by group; all of one number.
        confidence: Level of the interval, between 0 and 1.
        resamples: Bootstrap resamples.
        seed: Seed of the resampling; the same samples and seed give the same interval.

    Raises:
        ValueError: there are no samples, the groups differ in number, or `confidence` is not between 0 and 1.

    Example:
        >>> mean_interval([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
        Interval(low=1.0, high=3.0)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} is not between 0 and 1")
    if not groups or len({len(group) for group in groups}) > 1 or not len(groups[0]):
        raise ValueError(f"groups of {[len(group) for group in groups]} samples are not of one number, at least one")
    table = np.asarray(groups, dtype=np.float64)
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, table.shape[0], size=(resamples, table.shape[0], 1))
    drawn = rng.integers(0, table.shape[1], size=(resamples, *table.shape))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(table[chosen, drawn].mean(axis=(1, 2)), [tail, 100 - tail])
    return Interval(float(low), float(high))


def median_interval(samples: Sequence[float], error: float) -> Interval:
    """Return where the median of what `samples` come from lies, true at every look at growing samples at once.

    The chance that any of the intervals, after 1, 2, 3, ... samples, misses the median is at most `error`, whatever the
    distribution, if the samples are independent: one may stop when the interval pleases. It inverts a sign test by
    betting: the wealth of a gambler who bets on samples being above m, fairly priced for the median m, ever exceeds
    1 / error with a chance of at most `error` (Ville's inequality); bets are spread over all odds by a beta
    distribution. See
    Robbins, Statistical methods related to the law of the iterated logarithm, 1970; Howard and Ramdas, Sequential
    estimation of quantiles with applications to A/B testing and best-arm identification, 2022.

    Args:
        samples: In any order; the median's interval is between two of them.
        error: Between 0 and 1.

    Raises:
        ValueError: `error` is not between 0 and 1.

    Example:
        >>> median_interval([float(i) for i in range(101)], error=0.05)
        Interval(low=35.0, high=65.0)
        >>> median_interval([1.0, 2.0], error=0.05)
        Interval(low=-inf, high=inf)
    """
    if not 0 < error < 1:
        raise ValueError(f"error={error} is not between 0 and 1")
    count = len(samples)
    enough = _enough_above(count, error)
    if enough is None:
        return Interval(-math.inf, math.inf)
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    return Interval(float(ordered[count - enough]), float(ordered[enough - 1]))


def group_medians(samples: Sequence[float], groups: Sequence[float]) -> list[float]:
    """Return the median of the samples of each group, in the order of the groups.

    Raises:
        ValueError: the two differ in length.

    Example:
        >>> group_medians([1.0, 3.0, 10.0, 12.0, 14.0], [0, 0, 1, 1, 1])
        [2.0, 12.0]
    """
    members: dict[float, list[float]] = {}
    for sample, group in zip(samples, groups, strict=True):
        members.setdefault(group, []).append(sample)
    return [median(members[group]) for group in sorted(members)]


def grouped_interval(samples: Sequence[float], groups: Sequence[float], error: float) -> Interval:
    """Return an interval that the median over all groups that there could be misses with probability `error`.

    Samples of one group share what no number of them averages out: where a program lies in memory makes it faster or
    slower for as long as it lies there (Mytkowicz et al., Producing wrong data without doing anything obviously wrong,
    ASPLOS 2009; Kalibera and Jones, Rigorous benchmarking in reasonable time, ISMM 2013). So each group counts once, by
    its median, and the interval lies between two of these medians, which needs no assumption on their distribution
    (David and Nagaraja, Order Statistics, 2003, section 7.1). How many groups there are must not depend on the samples.

    Args:
        samples: In any order.
        groups: The group of each sample.
        error: Between 0 and 1.

    Raises:
        ValueError: `error` is not between 0 and 1, or the two differ in length.

    Example:
        >>> grouped_interval([float(i) for i in range(20)], [i // 2 for i in range(20)], error=0.05)
        Interval(low=2.5, high=16.5)
    """
    if not 0 < error < 1:
        raise ValueError(f"error={error} is not between 0 and 1")
    medians = sorted(group_medians(samples, groups))
    outside = _outside(len(medians), error)
    if outside is None:
        return Interval(-math.inf, math.inf)
    return Interval(medians[outside], medians[len(medians) - 1 - outside])


def paired_interval(logs: Sequence[float], loads: Sequence[float] | None, error: float) -> Interval:
    """Return the interval of the median of paired log-ratios.

    By `grouped_interval` where `loads` says in which load each was taken. Else by `median_interval`, since sampling may
    then have stopped whenever it pleased.
    """
    return median_interval(logs, error) if loads is None else grouped_interval(logs, loads, error)


def fewest_groups(error: float) -> int:
    """Return how many groups `grouped_interval` needs to have ends.

    Example:
        >>> fewest_groups(0.05), fewest_groups(0.01)
        (6, 8)
    """
    return next(count for count in itertools.count(1) if _outside(count, error) is not None)


@functools.lru_cache(maxsize=4096)
def _outside(count: int, error: float) -> int | None:
    """Return how many of `count` ordered values lie outside the interval on each side; None where it has no ends."""
    tail, outside = 0.0, None
    for below in range(count // 2):
        tail += math.comb(count, below) / 2.0**count
        if 2 * tail > error:
            break
        outside = below
    return outside


def fewest_samples(error: float) -> int:
    """Return after how many samples `median_interval` has ends at all.

    Example:
        >>> fewest_samples(0.05), fewest_samples(0.01)
        (10, 13)
    """
    return next(count for count in itertools.count(1) if _enough_above(count, error) is not None)


@functools.lru_cache(maxsize=4096)
def _enough_above(count: int, error: float) -> int | None:
    """Return how many of `count` samples above m make it certain enough that the median is above m."""
    for above in range(count // 2 + 1, count + 1):
        if _log_wealth(above, count - above) >= -math.log(error):
            return above
    return None


def _log_wealth(above: int, below: int) -> float:
    """Return the logarithm of a fair gambler's wealth who began with 1 and bet on both sides, spread by Beta(a, a)."""
    a = _BETS
    bets = math.lgamma(a + above) + math.lgamma(a + below) - math.lgamma(2 * a + above + below)
    return (above + below) * math.log(2) + bets - (2 * math.lgamma(a) - math.lgamma(2 * a))


def is_above(samples: Sequence[float], bound: float, error: float) -> bool:
    """Return whether the median of what `samples` come from is clearly above `bound`, true at every look at once.

    Where it is not above, the chance to ever say that it is, at any look at growing samples, is at most `error`. A part
    of the stake is bet on every sample being above, which ends a clear case after five samples at 0.05; the rest as
    `median_interval` bets.

    Example:
        >>> is_above([0.2, 0.3, 0.25, 0.2, 0.3], 0.1, error=0.05)
        True
        >>> is_above([0.2, 0.3, 0.25, 0.2, 0.05], 0.1, error=0.05)
        False
    """
    above = sum(1 for sample in samples if sample > bound)
    below = sum(1 for sample in samples if sample < bound)
    wealth = 0.0 if below else _ALL_ABOVE * 2.0**above
    if above > below:
        wealth += (1 - _ALL_ABOVE) * math.exp(_log_wealth(above, below))
    return wealth >= 1 / error


def sign_test(samples: Sequence[float], bound: float = 0.0) -> float:
    """Return the two-sided p-value of a sign test that the median is `bound`, which holds whenever one stops.

    Samples equal to `bound` do not count (Dixon and Mood, The statistical sign test, 1946). It is 1 over the wealth of
    the gambler of `median_interval`, and so larger than the p-value for a number of samples that was fixed before.

    Example:
        >>> round(sign_test([1.0] * 20), 6)
        0.000219
        >>> sign_test([1.0, -1.0])
        1.0
    """
    above = sum(1 for sample in samples if sample > bound)
    below = sum(1 for sample in samples if sample < bound)
    return min(1.0, math.exp(-_log_wealth(above, below)))
