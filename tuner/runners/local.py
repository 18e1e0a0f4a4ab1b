"""Builders and one device worker on this machine; no Ray needed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tuner.devices import available_cores
from tuner.runners.cache import default_cache_folder
from tuner.runners.pipeline import Pipeline
from tuner.runners.station import Builder, Built, DeviceWorker, Timeouts
from tuner.types import Config, Measurement, Sampling, Task

__all__ = ["LocalRunner", "default_builders", "split_cores"]

# What is in flight is proposed without knowing of each other: more builders would make an agent guess.
_MOST_BUILDERS = 8


def split_cores() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the cores for building and the one for timing; they are the same where there is only one."""
    cores = available_cores()
    return (cores[:-1] or cores), cores[-1:]


def default_builders() -> int:
    """Return how many builds run at once: one a building core, and not many more than one device keeps up with."""
    return min(len(split_cores()[0]), _MOST_BUILDERS)


class LocalRunner(Pipeline):
    """Evaluates configs on this machine: the last core times, the others build.

    Args:
        builders: How many builds run at once; one for each building core by default, eight at most.
        cache: Folder of built artifacts; the user's cache folder by default.
        timeouts: When a worker is killed.
    """

    def __init__(
        self, *, builders: int | None = None, cache: Path | None = None, timeouts: Timeouts = Timeouts()
    ) -> None:
        building, timing = split_cores()
        count = builders or default_builders()
        super().__init__(count)
        folder = cache or default_cache_folder()
        self._idle: SimpleQueue[Builder] = SimpleQueue()
        self._stations = [Builder(folder, timeouts, building) for _ in range(count)]
        for builder in self._stations:
            self._idle.put(builder)
        self._device = DeviceWorker(folder, timeouts, timing)
        self._build_threads = ThreadPoolExecutor(count, "tuner-build")
        self._device_thread = ThreadPoolExecutor(1, "tuner-device")

    def close(self) -> None:
        """Stop all workers at once."""
        self._build_threads.shutdown(wait=False, cancel_futures=True)
        self._device_thread.shutdown(wait=False, cancel_futures=True)
        for builder in self._stations:
            builder.close()
        self._device.close()
        self._build_threads.shutdown(wait=True)
        self._device_thread.shutdown(wait=True)

    def _start_build(self, task: Task, config: Config) -> Future[Built]:
        return self._build_threads.submit(self._build, task, config)

    def _build(self, task: Task, config: Config) -> Built:
        station = self._idle.get()
        try:
            return station.build(task, config)
        finally:
            self._idle.put(station)

    def _start_measurement(
        self, task: Task, configs: Sequence[Config], built: Sequence[Built], sampling: Sampling, *, fresh: bool
    ) -> Future[list[Measurement]]:
        return self._device_thread.submit(self._device.measure, task, configs, built, sampling, fresh=fresh)
