"""What a campaign optimises: a metric under limits, or several beside each other, from a trial's raw samples."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tuner.errors import TunerError
from tuner.metric import readable, samples_of
from tuner.statistics import log_ratios, mean, median, percentile
from tuner.types import Measurement, Status, Trial

__all__ = ["Direction", "Limit", "Objective", "Statistic"]

# Below what any clock resolves; keeps the logarithm of a score finite.
_SMALLEST_SCORE = 1e-12


class Direction(StrEnum):
    """Which way is better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


class Statistic(StrEnum):
    """How a metric's samples become one number."""

    MEDIAN = "median"
    MEAN = "mean"
    P90 = "p90"
    P95 = "p95"
    P99 = "p99"
    MIN = "min"
    MAX = "max"

    def of(self, samples: Sequence[float]) -> float:
        """Return this statistic of `samples`, in their own unit.

        Example:
            >>> Statistic.P90.of([0.0, 10.0])
            9.0
        """
        match self:
            case Statistic.MEDIAN:
                return median(samples)
            case Statistic.MEAN:
                return mean(samples)
            case Statistic.P90 | Statistic.P95 | Statistic.P99:
                return percentile(samples, float(self.value[1:]))
            case Statistic.MIN:
                return min(samples)
            case Statistic.MAX:
                return max(samples)


@dataclass(frozen=True, slots=True)
class Limit:
    """A metric has to stay within bounds: an SLO on a latency, or a bound on an error.

    It is judged on all samples of a measurement together, whichever window they are from: a percentile needs many.

    Attributes:
        metric: Name of a sampled metric or of a numeric resource.
        upper: The largest value that is still good; None without such a bound.
        statistic: What is compared with the bounds.
        lower: The smallest value that is still good; None without such a bound.
    """

    metric: str
    upper: float | None = None
    statistic: Statistic = Statistic.MEDIAN
    lower: float | None = None

    def __post_init__(self) -> None:
        if self.upper is None and self.lower is None:
            raise TunerError(f"a limit on {self.metric!r} needs an upper or a lower bound")

    def reads(self, measurement: Measurement, price_per_hour: float | None = None) -> bool:
        """Return whether `measurement` carries the metric."""
        return self.metric in readable(measurement, price_per_hour)

    def holds(self, measurement: Measurement, price_per_hour: float | None = None) -> bool:
        """Return whether `measurement` keeps the limit; a metric that is missing or NaN does not."""
        value = _value(measurement, self.metric, self.statistic, price_per_hour)
        if value is None:
            return False
        # Written so that NaN keeps no limit.
        return (self.upper is None or value <= self.upper) and (self.lower is None or value >= self.lower)


@dataclass(frozen=True, slots=True)
class Objective:
    """Turns a trial into one number, lower is better, infinite when the trial is unusable.

    Where a trial carries `reference_<metric>` samples of the same rounds, the score is the paired ratio to that
    reference (median of the per-pair log-ratios), which cancels what slows the whole machine. Without them it is the
    statistic of the metric itself. A metric to be maximised enters as its reciprocal, so that scores are positive and
    their logarithms are what agents learn.

    Attributes:
        metric: What is optimised.
        direction: Which way is better.
        limits: What a usable trial keeps.
        statistic: How samples become one number, where there are more than one for each pair.
        price_per_hour: What one device costs an hour, for `cost_per_million_tokens`.
        beside: Other objectives of equal standing: what is searched for is then a front. Their limits count too.

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
    statistic: Statistic = Statistic.MEDIAN
    price_per_hour: float | None = None
    beside: tuple[Objective, ...] = ()

    def __post_init__(self) -> None:
        if self.price_per_hour is not None and not 0 < self.price_per_hour < math.inf:
            raise TunerError(f"price_per_hour={self.price_per_hour} is not a positive number")
        if any(other.beside for other in self.beside):
            raise TunerError("an objective beside another has none beside itself")
        names = [(one.metric, one.statistic) for one in (self, *self.beside)]
        if twice := next((name for name, _ in names if sum(other[0] == name for other in names) > 1), None):
            raise TunerError(f"{twice!r} is optimised twice; objectives of a front are of different metrics")

    @property
    def every(self) -> tuple[Objective, ...]:
        """Each objective alone, the first first, all under the limits of all."""
        limits = tuple(dict.fromkeys(limit for one in (self, *self.beside) for limit in one.limits))
        return tuple(
            replace(one, limits=limits, beside=(), price_per_hour=self.price_per_hour) for one in (self, *self.beside)
        )

    def check(self, measurement: Measurement) -> None:
        """Refuse what a measurement of the default does not carry: no trial would ever have it, or keep it.

        Raises:
            TunerError: it lacks a limit's metric, or an objective's; the message says which there are.
        """
        known = readable(measurement, self.price_per_hour)
        for one in self.every:
            for limit in one.limits:
                if limit.metric not in known:
                    raise TunerError(
                        f"a limit on {limit.metric!r} can never be kept, for it is not measured"
                        f"{_near(limit.metric, known)}; limit one of: {', '.join(known)}"
                    )
            if one.metric not in known:
                raise TunerError(_unmeasured(one.metric, measurement, self.price_per_hour))

    def usable(self, measurement: Measurement) -> bool:
        """Return whether `measurement` is correct and keeps every limit."""
        if measurement.status is not Status.CORRECT:
            return False
        limits = self.limits if not self.beside else self.every[0].limits
        return all(limit.holds(measurement, self.price_per_hour) for limit in limits)

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
        if not self.usable(measurement):
            return math.inf
        value = self.value(measurement)
        if value is None:
            raise TunerError(_unmeasured(self.metric, measurement, self.price_per_hour))
        if not math.isfinite(value) or (self.direction is Direction.MAXIMIZE and value <= 0):
            # Whatever it is compared with, it is of no use.
            return math.inf
        if logs := self.gains(measurement):
            return math.exp(-median(logs))
        return value if self.direction is Direction.MINIMIZE else 1 / value

    def value(self, measurement: Measurement, *, reference: bool = False) -> float | None:
        """Return the metric of `measurement`, or of its reference, in its own unit; None where it is not known."""
        value = _value(measurement, self.metric, self.statistic, self.price_per_hour, reference=reference)
        if value is None and reference and (theirs := self.pairs(measurement)[1]):
            # Single requests of the reference are not kept, but what each window says of them is.
            return median(theirs)
        return value

    def is_paired(self, measurement: Measurement) -> bool:
        """Return whether `measurement` was taken beside a reference."""
        return bool(self.pairs(measurement)[0])

    def pairs(self, measurement: Measurement) -> tuple[list[float], list[float]]:
        """Return the metric and the reference's, pair by pair; nothing where there is no reference.

        Samples of rounds are pairs as they are. Where samples belong to requests, `<metric>_<statistic>` has one for
        each window of traffic, and `reference_<metric>_<statistic>` the reference's: those are the pairs. Where neither
        is so, all samples are one pair.
        """
        price = self.price_per_hour
        windows = f"{self.metric}_{self.statistic}"
        ours, theirs = measurement.samples.get(windows), measurement.samples.get(f"reference_{windows}")
        if ours and theirs and len(ours) == len(theirs):
            return list(ours), list(theirs)
        own = samples_of(measurement, self.metric, price_per_hour=price)
        reference = samples_of(measurement, self.metric, reference=True, price_per_hour=price)
        if not own or not reference:
            return [], []
        if len(own) == len(reference) and self.statistic is Statistic.MEDIAN:
            return list(own), list(reference)
        return [self.statistic.of(own)], [self.statistic.of(reference)]

    def gains(self, measurement: Measurement) -> list[float]:
        """Return for each pair the logarithm of how many times better than the reference it is; above 0 is better.

        A window of a rate in which nothing came of it counts half of the smallest that is above 0, on either side, and
        an infinite sample twice the largest finite one: no single window decides alone.
        """
        own, reference = self.pairs(measurement)
        if not own:
            return []
        if not all(0 < one < math.inf for one in (*own, *reference)):
            finite = [one for one in (*own, *reference) if 0 < one < math.inf]
            if not finite:
                return []
            low, high = min(finite) / 2, max(finite) * 2
            own = [min(max(one, low), high) for one in own]
            reference = [min(max(one, low), high) for one in reference]
        if self.direction is Direction.MINIMIZE:
            own, reference = reference, own
        logs: list[float] = log_ratios(own, reference).tolist()
        return logs

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        return {
            "metric": self.metric,
            "direction": self.direction.value,
            "limits": [
                {"metric": one.metric, "upper": one.upper, "statistic": one.statistic.value, "lower": one.lower}
                for one in self.limits
            ],
            "statistic": self.statistic.value,
            "price_per_hour": self.price_per_hour,
            "beside": [other.to_json() for other in self.beside],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Objective:
        """Read back what `to_json` wrote, in this version or an older one."""
        return cls(
            metric=data["metric"],
            direction=Direction(data["direction"]),
            limits=tuple(Limit(**{**one, "statistic": Statistic(one["statistic"])}) for one in data["limits"]),
            # Absent from what was stored before there were percentiles, prices and fronts.
            statistic=Statistic(data.get("statistic", Statistic.MEDIAN)),
            price_per_hour=data.get("price_per_hour"),
            beside=tuple(cls.from_json(other) for other in data.get("beside", ())),
        )


def _value(
    measurement: Measurement,
    metric: str,
    statistic: Statistic,
    price_per_hour: float | None,
    *,
    reference: bool = False,
) -> float | None:
    """Return the statistic of a metric's samples, or the resource of that name; None where there is neither."""
    samples = samples_of(measurement, metric, reference=reference, price_per_hour=price_per_hour)
    if samples:
        return statistic.of(samples)
    resource = measurement.resources.get(f"reference_{metric}" if reference else metric)
    return resource if isinstance(resource, int | float) and not isinstance(resource, bool) else None


def _unmeasured(metric: str, measurement: Measurement, price_per_hour: float | None) -> str:
    known = readable(measurement, price_per_hour)
    priceless = metric == "cost_per_million_tokens" and price_per_hour is None
    hint = "; give a price of an hour" if priceless else _near(metric, known)
    return f"a correct trial has no samples of {metric!r}{hint}; it has: {', '.join(known) or 'none'}"


def _near(metric: str, known: Sequence[str]) -> str:
    """Return a question about a name that looks like a mistyped one."""
    near = difflib.get_close_matches(metric, known, n=1, cutoff=0.8)
    return f" (did you mean {near[0]!r}?)" if near else ""
