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

__all__ = ["Recorder"]

# Screening: fifteen pairs resolve differences of about 3 %, and the finals decide.
SCREENING_ROUNDS = 15


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
        rounds: Interleaved rounds of each trial.
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
        rounds: int = SCREENING_ROUNDS,
    ) -> None:
        self._runner = runner
        self._task = task
        self._campaign = campaign
        self._seed = seed
        self._record = record
        self._rounds = rounds
        self._lock = threading.Lock()
        self._known: dict[Config, Future[Trial]] = {}
        for trial in trials:
            self._known[trial.config] = Future()
            self._known[trial.config].set_result(trial)
        self._next = max((trial.number for trial in trials), default=-1) + 1

    def submit(self, config: Config, notes: Mapping[str, Scalar] = MappingProxyType({})) -> Future[Trial]:
        """Return the future trial of `config`; `notes` join what its measurement says of resources."""
        with self._lock:
            if known := self._known.get(config):
                return known
            number = self._next
            self._next += 1
            inputs_seed = int(digest([self._seed, self._task.key, number]), 16)
            measurement = self._runner.submit(self._task, config, Sampling(inputs_seed, self._rounds))
            trial = then(measurement, lambda result: self._keep(config, _noted(result, notes), number))
            self._known[config] = trial
            return trial

    def _keep(self, config: Config, measurement: Measurement, number: int) -> Trial:
        trial = Trial(config, measurement, self._campaign, number)
        self._record(trial)
        return trial


def _noted(measurement: Measurement, notes: Mapping[str, Scalar]) -> Measurement:
    return replace(measurement, resources={**measurement.resources, **notes}) if notes else measurement
