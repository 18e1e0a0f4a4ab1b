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

__all__ = ["LocalRunner", "default_builders"]

# What is in flight is proposed without knowing of each other: more builders would make an agent guess.
_MOST_BUILDERS = 8


def default_builders() -> int:
    """Return how many builds run at once: one a core but the last, and not many more than one device keeps up with."""
    return min(max(1, len(available_cores()) - 1), _MOST_BUILDERS)


class LocalRunner(Pipeline):
    """Evaluates configs on this machine: the last cores time, as many as a task's device has, and the others build.

    Args:
        builders: How many builds run at once; one for each core but the last by default, eight at most.
        cache: Folder of built artifacts; the user's cache folder by default.
        timeouts: When a worker is killed.
    """

    def __init__(
        self, *, builders: int | None = None, cache: Path | None = None, timeouts: Timeouts = Timeouts()
    ) -> None:
        count = builders or default_builders()
        cores = available_cores()
        super().__init__(count)
        folder = cache or default_cache_folder()
        self._idle: SimpleQueue[Builder] = SimpleQueue()
        self._stations = [Builder(folder, timeouts, cores) for _ in range(count)]
        for builder in self._stations:
            self._idle.put(builder)
        self._device = DeviceWorker(folder, timeouts, cores)
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
