"""How a lookup is doing, as plain numbers, and for Prometheus where that is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.errors import MissingDependencyError
from tuner.lookup.choice import Source

__all__ = ["Collector", "Metrics"]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Counts since the lookup was opened in this process.

    All are exact, however many threads ask, but for `uncounted`, which is known when misses are added up.

    Attributes:
        answers: Answers by source.
        refreshes: How often another table was put in place.
        refused: How often what was read could not be used, and the table stayed.
        winners: Workloads in the table that have a winner here or on a compatible device.
        uncounted: Misses that were answered, and are in no workload's count: too many others were asked for.
    """

    answers: Mapping[Source, int]
    refreshes: int
    refused: int
    winners: int
    uncounted: int

    @property
    def hits(self) -> int:
        """Answers of exactly the workload and device that were asked for."""
        return sum(count for source, count in self.answers.items() if source.is_hit)

    @property
    def misses(self) -> int:
        """All other answers."""
        return sum(count for source, count in self.answers.items() if not source.is_hit)

    @property
    def stale(self) -> int:
        """Answers with a stale winner."""
        return sum(count for source, count in self.answers.items() if source.is_stale)


class Collector:
    """What `prometheus_client` registers: it reads a lookup's metrics when it is scraped.

    Args:
        read: Returns the metrics.

    Raises:
        MissingDependencyError: `prometheus_client` is not installed.
    """

    def __init__(self, read: Callable[[], Metrics]) -> None:
        self._read = read
        try:
            self._families: Any = importlib.import_module("prometheus_client.core")
        except ImportError as error:
            raise MissingDependencyError(
                "metrics for Prometheus need prometheus_client; pip install 'rltuner[service]'"
            ) from error

    def collect(self) -> Iterator[Any]:
        """Yield the metrics as Prometheus has them."""
        metrics = self._read()
        counter, gauge = self._families.CounterMetricFamily, self._families.GaugeMetricFamily
        answers = counter("tuner_lookup_answers", "Answers by source.", labels=["source"])
        for source, count in metrics.answers.items():
            answers.add_metric([source.value], count)
        yield answers
        yield counter("tuner_lookup_misses", "Answers of another workload or device.", value=metrics.misses)
        yield counter("tuner_lookup_stale", "Answers with a stale winner.", value=metrics.stale)
        yield counter("tuner_lookup_refreshes", "Tables put in place.", value=metrics.refreshes)
        yield counter("tuner_lookup_refused", "Readings that could not be used.", value=metrics.refused)
        yield counter("tuner_lookup_uncounted_misses", "Misses in no workload's count.", value=metrics.uncounted)
        yield gauge("tuner_lookup_winners", "Workloads in the table that have a winner.", value=metrics.winners)
