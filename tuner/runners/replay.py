"""A runner that answers from a record: a brute-forced space, or the trials of a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace

from tuner.runners.base import Activity
from tuner.types import Config, Measurement, Sampling, Status, Task, Trial, Workload

__all__ = ["ReplayRunner"]


class ReplayRunner:
    """Answers at once with what was measured before; what was not has the status `constraints`.

    Args:
        measurements: What was recorded, by config.
        capacity: How many submissions a campaign keeps in flight; take that of the runner which recorded, and the
            campaign makes the same proposals.

    Example:
        >>> from tuner.types import *
        >>> runner = ReplayRunner({Config(A=1): Measurement(Status.CORRECT, {"seconds": (0.5,)})})
        >>> task = Task("a:b", "", Workload(), Device("cpu", "any", "any", 1, 0))
        >>> runner.submit(task, Config(A=1), Sampling(seed=0, rounds=1)).result().samples["seconds"]
        (0.5,)
        >>> runner.submit(task, Config(A=2), Sampling(seed=0, rounds=1)).result().status
        <Status.CONSTRAINTS: 'constraints'>
    """

    def __init__(self, measurements: Mapping[Config, Measurement], *, capacity: int = 1) -> None:
        self._measurements = dict(measurements)
        self.capacity = capacity
        self._device_seconds = 0.0
        self._workload: Workload | None = None

    @classmethod
    def from_trials(cls, trials: Iterable[Trial], *, capacity: int = 1) -> ReplayRunner:
        """Return a runner that answers from a store's trials."""
        return cls({trial.config: trial.measurement for trial in trials}, capacity=capacity)

    @property
    def activity(self) -> Activity:
        """The device seconds that the answered measurements took when they were recorded."""
        return Activity(device_seconds=self._device_seconds)

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        """Return the recorded measurement; the seed plays no part."""
        future: Future[Measurement] = Future()
        future.set_result(self._recorded(task, config))
        return future

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        """Return the recorded measurements.

        One that was recorded without its reference is paired with the first config's samples in their order.
        """
        measurements = [self._recorded(task, config) for config in configs]
        reference = measurements[0].samples.get("seconds", ())
        for i, measurement in enumerate(measurements[1:], start=1):
            if "reference_seconds" in measurement.samples:
                continue
            own = measurement.samples.get("seconds", ())
            pairs = min(len(own), len(reference))
            if pairs:
                samples = {"seconds": own[:pairs], "reference_seconds": reference[:pairs]}
                measurements[i] = replace(measurement, samples=samples)
        future: Future[list[Measurement]] = Future()
        future.set_result(measurements)
        return future

    def close(self) -> None:
        """Nothing runs."""

    def _recorded(self, task: Task, config: Config) -> Measurement:
        # The record is that of the workload that is asked for first; edge shapes are not in it.
        self._workload = self._workload or task.workload
        measurement = self._measurements.get(config) if task.workload == self._workload else None
        if measurement is None:
            return Measurement(Status.CONSTRAINTS, error="not in the record")
        self._device_seconds += measurement.measure_seconds
        return measurement
