"""How a config compares with the default in one of several objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.objective import Direction, Objective
from tuner.statistics import group_medians, median, paired_interval
from tuner.types import Measurement

__all__ = ["Comparison", "comparisons"]

# What differs by less is as good: a figure that is known once, such as memory, is not the same to the byte each time.
_AS_GOOD = 0.99


@dataclass(frozen=True, slots=True)
class Comparison:
    """One objective of a config beside the default.

    Attributes:
        metric: What was compared.
        direction: Which way is better.
        gain: How many times better than the default; above 1 is better.
        interval: Of `gain`, from the final's pairs; None where there are none, and the figures are single ones.

    Example:
        >>> Comparison("joules", Direction.MINIMIZE, 0.97, (0.9, 1.1)).is_worse
        True
        >>> Comparison("joules", Direction.MINIMIZE, 1.2, (0.9, 1.4)).is_worse
        False
    """

    metric: str
    direction: Direction
    gain: float
    interval: tuple[float, float] | None = None

    @property
    def is_worse(self) -> bool:
        """Whether it is worse than the default, as far as was measured."""
        return self.gain < _AS_GOOD or (self.interval is not None and self.interval[1] < 1)

    @property
    def text(self) -> str:
        """The comparison in words."""
        if self.interval is None:
            return f"{self.direction} {self.metric}: {self.gain:.3f}x, of single figures"
        return f"{self.direction} {self.metric}: {self.gain:.3f}x [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        interval = list(self.interval) if self.interval else None
        return {"metric": self.metric, "direction": self.direction.value, "gain": self.gain, "interval": interval}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Comparison:
        """Read back what `to_json` wrote."""
        interval = tuple(data["interval"]) if data["interval"] else None
        return cls(data["metric"], Direction(data["direction"]), data["gain"], interval)


def comparisons(
    every: Sequence[Objective], final: Measurement, default: Measurement, *, confidence: float
) -> list[Comparison]:
    """Return how a config does in each objective; one that neither has a pair nor two figures is left out.

    Args:
        every: The objectives.
        final: The config's measurement, in pairs with the default where a metric has one figure for each window.
        default: A measurement of the default, for what is one figure for a measurement.
        confidence: Level of each interval.

    Example:
        >>> from tuner.types import Status
        >>> samples = {"seconds": (1.0,) * 9, "reference_seconds": (2.0,) * 9}
        >>> found = Measurement(Status.CORRECT, samples, resources={"peak_memory_bytes": 20})
        >>> before = Measurement(Status.CORRECT, resources={"peak_memory_bytes": 10})
        >>> every = [Objective(), Objective("peak_memory_bytes")]
        >>> [one.gain for one in comparisons(every, found, before, confidence=0.9)]
        [2.0, 0.5]
    """
    found = []
    for one in every:
        logs = one.gains(final)
        if len(logs) > 1:
            loads = final.samples.get("load")
            if loads and len(loads) != len(logs):
                loads = None
            interval = paired_interval(logs, loads, 1 - confidence)
            gain = math.exp(median(group_medians(logs, loads) if loads else logs))
            ends = (math.exp(interval.low), math.exp(interval.high))
            found.append(Comparison(one.metric, one.direction, gain, ends if math.isfinite(ends[1]) else None))
            continue
        ours, theirs = one.value(final), one.value(final, reference=True)
        theirs = one.value(default) if theirs is None else theirs
        if ours and theirs and min(ours, theirs) > 0:
            gain = theirs / ours if one.direction is Direction.MINIMIZE else ours / theirs
            found.append(Comparison(one.metric, one.direction, gain))
    return found
