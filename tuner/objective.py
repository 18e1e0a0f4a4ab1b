"""What a campaign optimises: one metric, under limits, from a trial's raw samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from tuner.errors import TunerError
from tuner.statistics import log_ratios, median, percentile
from tuner.types import Measurement, Status, Trial

__all__ = ["Direction", "Limit", "Objective", "Statistic"]

# Below what any clock resolves; keeps the logarithm of a score finite.
_SMALLEST_SCORE = 1e-12


class Direction(StrEnum):
    """Which way is better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


class Statistic(StrEnum):
    """How a limit reads a metric's samples."""

    MEDIAN = "median"
    P90 = "p90"
    P99 = "p99"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Limit:
    """A metric must not exceed `upper`: an SLO on a latency, or a bound on an error.

    Attributes:
        metric: Name of a sampled metric or of a numeric resource.
        upper: The largest value that is still good.
        statistic: What is compared with it.
    """

    metric: str
    upper: float
    statistic: Statistic = Statistic.MEDIAN

    def reads(self, measurement: Measurement) -> bool:
        """Return whether `measurement` carries the metric."""
        return self.metric in _metrics(measurement)

    def holds(self, measurement: Measurement) -> bool:
        """Return whether `measurement` keeps the limit; a metric that is missing or NaN does not."""
        samples = measurement.samples.get(self.metric)
        if samples:
            match self.statistic:
                case Statistic.MEDIAN:
                    value = median(samples)
                case Statistic.P90:
                    value = percentile(samples, 90)
                case Statistic.P99:
                    value = percentile(samples, 99)
                case Statistic.MAX:
                    value = max(samples)
            return value <= self.upper
        resource = measurement.resources.get(self.metric)
        return isinstance(resource, int | float) and resource <= self.upper


@dataclass(frozen=True, slots=True)
class Objective:
    """Turns a trial into one number, lower is better, infinite when the trial is unusable.

    Where a trial carries `reference_<metric>` samples of the same rounds, the score is the paired ratio to that
    reference (median of the per-pair log-ratios), which cancels what slows the whole machine. Without them it is the
    median of the metric itself. A metric to be maximised enters as its reciprocal, so that scores are positive and
    their logarithms are what agents learn.

    Example:
        >>> from tuner.types import Config, Measurement, Status, Trial
        >>> samples = {"seconds": (1.0, 2.0), "reference_seconds": (2.0, 4.0)}
        >>> Objective().score(Trial(Config(), Measurement(Status.CORRECT, samples)))
        0.5
        >>> Objective().score(Trial(Config(), Measurement(Status.COMPILE, error="no such macro")))
        inf
    """

    metric: str = "seconds"
    direction: Direction = Direction.MINIMIZE
    limits: tuple[Limit, ...] = ()

    def check(self, measurement: Measurement) -> None:
        """Refuse limits on what a measurement of the default does not carry: no trial would ever keep them.

        Raises:
            TunerError: it lacks a limit's metric; the message says which there are.
        """
        for limit in self.limits:
            if not limit.reads(measurement):
                raise TunerError(
                    f"a limit on {limit.metric!r} can never be kept, for it is not measured; limit one of: "
                    f"{', '.join(_metrics(measurement))}"
                )

    def log_score(self, trial: Trial) -> float:
        """Return the logarithm of the trial's score, which is what models learn: `math.inf` where it is unusable.

        Raises:
            TunerError: as `score`.
        """
        return math.log(max(self.score(trial), _SMALLEST_SCORE))

    def score(self, trial: Trial) -> float:
        """Return the trial's score: lower is better, `math.inf` if it failed or broke a limit.

        Raises:
            TunerError: a correct trial has no samples of the metric.
        """
        measurement = trial.measurement
        if measurement.status is not Status.CORRECT or not all(limit.holds(measurement) for limit in self.limits):
            return math.inf
        samples = measurement.samples.get(self.metric)
        if not samples:
            known = ", ".join(measurement.samples) or "none"
            raise TunerError(f"a correct trial has no samples of {self.metric!r}; it has: {known}")
        reference = measurement.samples.get(f"reference_{self.metric}")
        value = math.exp(median(log_ratios(samples, reference).tolist())) if reference else median(samples)
        if self.direction is Direction.MINIMIZE:
            return value
        return 1 / value if value > 0 else math.inf


def _metrics(measurement: Measurement) -> list[str]:
    """Return what a limit may read: sampled metrics and numeric resources."""
    numbers = [
        name
        for name, value in measurement.resources.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return [*(name for name, samples in measurement.samples.items() if samples), *numbers]
