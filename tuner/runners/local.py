"""Builders and one device worker on this machine; no Ray needed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

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

    While there is nothing to time, one more builder borrows the cores that time.

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
        builders_ = [Builder(folder, timeouts, cores, number=number) for number in range(count)]
        # Where there is a builder for each core already, one more would only be in their way.
        borrowers = [Builder(folder, timeouts, cores, borrows=True)] if count < len(cores) else []
        self._bench = _Bench(builders_, borrowers)
        self._stations = [*builders_, *borrowers]
        self._device = DeviceWorker(folder, timeouts, cores)
        self._build_threads = ThreadPoolExecutor(len(self._stations), "tuner-build")
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
        with self._bench.taken() as builder:
            return builder.build(task, config)

    def _start_measurement(
        self, task: Task, configs: Sequence[Config], built: Sequence[Built], sampling: Sampling, *, fresh: bool
    ) -> Future[list[Measurement]]:
        self._bench.count_measurement(1)
        future = self._device_thread.submit(self._device.measure, task, configs, built, sampling, fresh=fresh)
        future.add_done_callback(lambda _: self._bench.count_measurement(-1))
        return future


class _Bench:
    """Builders that wait for work; one that borrows the timing cores works only while nothing is to be timed."""

    def __init__(self, builders: Sequence[Builder], borrowers: Sequence[Builder]) -> None:
        self._builders = list(builders)
        self._borrowers = list(borrowers)
        self._measurements = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self) -> Iterator[Builder]:
        """Wait for a builder, and put it back at the end."""
        with self._changed:
            while not (waiting := self._builders or (self._borrowers if not self._measurements else [])):
                self._changed.wait()
            builder = waiting.pop()
        try:
            yield builder
        finally:
            with self._changed:
                waiting.append(builder)
                self._changed.notify_all()

    def count_measurement(self, change: int) -> None:
        """Say that one more measurement waits for the device or is made, or one less."""
        with self._changed:
            self._measurements += change
            self._changed.notify_all()
