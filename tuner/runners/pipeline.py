"""What local and Ray runners share: builds feed the devices, each build is made once, nothing waits for a batch."""

from __future__ import annotations

import functools
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

from tuner.runners.base import Activity
from tuner.runners.futures import chain, gather, then
from tuner.runners.placement import placement_of, with_devices
from tuner.runners.station import Built
from tuner.tunable import load
from tuner.types import Config, Measurement, Sampling, Status, Task

__all__ = ["Pipeline"]

# Configs that may wait for the device while it measures, so that it never waits for a build.
_PREFETCH = 3


class Pipeline(ABC):
    """A runner that builds on several builders and measures on one device or more, as a chain of futures.

    Subclasses say how one build and one measurement are started.

    Args:
        builders: How many builds run at once.
        devices: How many devices measure.
    """

    def __init__(self, builders: int, devices: int = 1) -> None:
        self._builders = builders
        self._devices = devices
        self._builds: dict[tuple[str, Config], Future[Built]] = {}
        self._lock = threading.Lock()
        self._activity = Activity()

    @property
    def builders(self) -> int:
        """How many builds run at once."""
        return self._builders

    @property
    def capacity(self) -> int:
        """One config for each builder, and a few that wait for each device."""
        return self._builders + _PREFETCH * self._devices

    @property
    def activity(self) -> Activity:
        """What it has been doing so far."""
        return self._activity

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        """Build and measure `config`, paired with the task's default config."""
        default = load(task.tunable).default(task.workload, task.device)
        both = self._evaluate(task, (default, config), sampling, fresh=False)
        return then(both, lambda measurements: measurements[1])

    def build(self, task: Task, config: Config) -> Future[Built]:
        """Build `config`, for its own sake: nothing is measured."""
        return self._build_once(task, config)

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        """Measure `configs` interleaved with each other; the first is the reference of the others."""
        return self._evaluate(task, tuple(configs), sampling, fresh=fresh)

    @abstractmethod
    def close(self) -> None:
        """Stop all workers at once."""

    @abstractmethod
    def _start_build(self, task: Task, config: Config) -> Future[Built]:
        """Queue one build."""

    @abstractmethod
    def _start_measurement(
        self, task: Task, configs: Sequence[Config], built: Sequence[Built], sampling: Sampling, *, fresh: bool
    ) -> Future[list[Measurement]]:
        """Queue one measurement on as many devices as `sampling` says."""

    def _evaluate(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool
    ) -> Future[list[Measurement]]:
        measure = functools.partial(self._measure, task, configs, sampling, fresh=fresh)
        return chain(gather([self._build_once(task, config) for config in configs]), measure)

    def _build_once(self, task: Task, config: Config) -> Future[Built]:
        with self._lock:
            if known := self._builds.get((task.key, config)):
                return known
            self._activity = replace(self._activity, builds_waiting=self._activity.builds_waiting + 1)
            future = self._start_build(task, config)
            self._builds[task.key, config] = future
        future.add_done_callback(functools.partial(self._count_build, (task.key, config)))
        return future

    def _count_build(self, key: tuple[str, Config], future: Future[Built]) -> None:
        built = None if future.cancelled() or future.exception() else future.result()
        seconds = built.seconds if built else 0.0
        with self._lock:
            if built is None or built.failure:
                # What failed may have failed for a passing reason, such as a full disk.
                self._builds.pop(key, None)
            self._activity = replace(
                self._activity,
                builds_waiting=self._activity.builds_waiting - 1,
                build_seconds=self._activity.build_seconds + seconds,
            )

    def _measure(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, built: Sequence[Built], *, fresh: bool
    ) -> Future[list[Measurement]]:
        failures = [one.failure for one in built if one.failure]
        if failures:
            unmeasured = Measurement(
                failures[0].status, error=f"compared with a config that failed: {failures[0].error}"
            )
            done: Future[list[Measurement]] = Future()
            done.set_result([one.failure or unmeasured for one in built])
            return done
        placement = placement_of(task, configs, self._most_devices(task))
        if placement.refusal:
            refused = Measurement(Status.CONSTRAINTS, error=placement.refusal)
            nobody: Future[list[Measurement]] = Future()
            nobody.set_result([refused] * len(configs))
            return nobody
        lent = replace(sampling, devices=placement.devices if self._counts_devices(task) else 0)
        measured = then(self._start_measurement(task, configs, built, lent, fresh=fresh), self._count_measurement)
        return then(measured, functools.partial(with_devices, task, configs))

    def _counts_devices(self, task: Task) -> bool:
        """Return whether devices are lent one by one; the cores of a CPU are shared by all that runs at once."""
        return task.device.kind != "cpu"

    def _most_devices(self, task: Task) -> int:
        """Return how many devices of a kind the largest machine has, for servers that need several at once."""
        return self._devices if self._counts_devices(task) else task.device.count

    def _count_measurement(self, measurements: list[Measurement]) -> list[Measurement]:
        with self._lock:
            seconds = self._activity.device_seconds + measurements[0].measure_seconds
            self._activity = replace(self._activity, device_seconds=seconds)
        return measurements
