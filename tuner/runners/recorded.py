"""The wrapper that numbers, records and de-duplicates; campaigns and environments share it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from types import MappingProxyType

from tuner.runners.base import Runner
from tuner.runners.futures import then
from tuner.types import Config, Measurement, Sampling, Scalar, Task, Trial, digest

__all__ = ["SCREENING", "Recorder"]

SCREENING = Sampling(seed=0, rounds=60, precision=0.02, error=0.05)
"""How a trial is measured: to 2 %, which takes 10 pairs on a quiet machine, or in 60 pairs. The finals decide."""


class Recorder:
    """Evaluates the configs of one task, each at most once, and passes every trial on to be kept.

    A config that is being measured, or was measured before, is not measured again: its trial is returned.

    Args:
        runner: What evaluates.
        task: Whose configs.
        campaign: Identifier that its trials carry.
        seed: Decides the random inputs of each trial, together with its number.
        trials: What the campaign has measured already.
        record: Called once for each new trial, before anyone sees it; what it raises reaches who waits for the trial.
        screening: How each trial is measured; its seed is replaced.
    """

    def __init__(
        self,
        runner: Runner,
        task: Task,
        *,
        campaign: str,
        seed: int,
        trials: Sequence[Trial] = (),
        record: Callable[[Trial], None] = lambda _: None,
        screening: Sampling = SCREENING,
    ) -> None:
        self._runner = runner
        self._task = task
        self._campaign = campaign
        self._seed = seed
        self._record = record
        self._screening = screening
        self._lock = threading.Lock()
        self._known: dict[Config, Future[Trial]] = {}
        for trial in trials:
            self._known[trial.config] = Future()
            self._known[trial.config].set_result(trial)
        self._next = max((trial.number for trial in trials), default=-1) + 1

    def submit(
        self,
        config: Config,
        notes: Mapping[str, Scalar] = MappingProxyType({}),
        *,
        incumbent: float | None = None,
    ) -> Future[Trial]:
        """Return the future trial of `config`.

        Args:
            config: What to evaluate.
            notes: They join what its measurement says of resources.
            incumbent: Time of the best config so far over the default's: one that is clearly slower costs few samples.
        """
        with self._lock:
            if known := self._known.get(config):
                return known
            number = self._next
            self._next += 1
            inputs_seed = int(digest([self._seed, self._task.key, number]), 16)
            sampling = replace(self._screening, seed=inputs_seed, incumbent=incumbent)
            measurement = self._runner.submit(self._task, config, sampling)
            trial = then(measurement, lambda result: self._keep(config, _noted(result, notes), number))
            self._known[config] = trial
            return trial

    def _keep(self, config: Config, measurement: Measurement, number: int) -> Trial:
        trial = Trial(config, measurement, self._campaign, number)
        self._record(trial)
        return trial


def _noted(measurement: Measurement, notes: Mapping[str, Scalar]) -> Measurement:
    return replace(measurement, resources={**measurement.resources, **notes}) if notes else measurement
