"""Every statistic that tuner prints, computed from raw samples in this one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Ratio", "log_ratios", "median", "median_error", "paired_ratio", "percentile"]

# Standard deviation of a normal distribution over its median absolute deviation.
_SPREAD = 1.4826
# Standard error of the median of normal samples over that of their mean: the square root of pi / 2.
_MEDIAN_TO_MEAN = 1.2533


def median(samples: Sequence[float]) -> float:
    """Return the median of `samples`, in their own unit.

    Raises:
        ValueError: there are none.
    """
    if not len(samples):
        raise ValueError("a median needs at least one sample")
    return float(np.median(np.asarray(samples, dtype=np.float64)))


def median_error(samples: Sequence[float]) -> float:
    """Return about the standard error of the median of `samples`, from their median absolute deviation.

    An outlier does not widen it. Rough below ten samples, and zero for one.
    """
    values = np.asarray(samples, dtype=np.float64)
    deviation = float(np.median(np.abs(values - np.median(values))))
    return _MEDIAN_TO_MEAN * _SPREAD * deviation / float(np.sqrt(values.size))


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
