"""Builders and device workers on this machine; no Ray needed."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tuner.devices import available_cores
from tuner.errors import TunerError
from tuner.runners.cache import default_cache_folder
from tuner.runners.gang import Gang
from tuner.runners.pipeline import Pipeline
from tuner.runners.station import Builder, Built, DeviceWorker, Timeouts
from tuner.types import Config, Measurement, Sampling, Task

__all__ = ["LocalRunner", "default_builders"]

_ONLY = ""
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
        gpus: How many GPUs of one model measure, the first that this process may use: each trial goes to one that is
            free. With 0, one device measures, whatever its kind.
    """

    def __init__(
        self,
        *,
        builders: int | None = None,
        cache: Path | None = None,
        timeouts: Timeouts = Timeouts(),
        gpus: int = 0,
    ) -> None:
        count = builders or default_builders()
        cores = available_cores()
        super().__init__(count, max(1, gpus))
        folder = cache or default_cache_folder()
        builders_ = [Builder(folder, timeouts, cores, number=number) for number in range(count)]
        # Where there is a builder for each core already, one more would only be in their way.
        borrowers = [Builder(folder, timeouts, cores, borrows=True)] if count < len(cores) else []
        self._bench = _Bench(builders_, borrowers)
        self._stations = [*builders_, *borrowers]
        # One device needs no name: its worker sees what this process sees.
        names = _visible_gpus(gpus) if gpus > 1 else [_ONLY]
        self._gang = Gang(names)
        self._make_worker = functools.partial(DeviceWorker, folder, timeouts, cores)
        self._workers: dict[tuple[str, ...], DeviceWorker] = {}
        self._workers_lock = threading.Lock()
        self._build_threads = ThreadPoolExecutor(len(self._stations), "tuner-build")
        self._device_threads = ThreadPoolExecutor(len(names), "tuner-device")

    def close(self) -> None:
        """Stop all workers at once."""
        self._build_threads.shutdown(wait=False, cancel_futures=True)
        self._device_threads.shutdown(wait=False, cancel_futures=True)
        for builder in self._stations:
            builder.close()
        self._gang.close()
        with self._workers_lock:
            workers = list(self._workers.values())
        for worker in workers:
            worker.close()
        self._build_threads.shutdown(wait=True)
        self._device_threads.shutdown(wait=True)

    def _start_build(self, task: Task, config: Config) -> Future[Built]:
        return self._build_threads.submit(self._build, task, config)

    def _build(self, task: Task, config: Config) -> Built:
        with self._bench.taken() as builder:
            return builder.build(task, config)

    def _start_measurement(
        self, task: Task, configs: Sequence[Config], built: Sequence[Built], sampling: Sampling, *, fresh: bool
    ) -> Future[list[Measurement]]:
        self._bench.count_measurement(1)
        future = self._device_threads.submit(self._measure_on_one, task, configs, built, sampling, fresh)
        future.add_done_callback(lambda _: self._bench.count_measurement(-1))
        return future

    def _measure_on_one(
        self, task: Task, configs: Sequence[Config], built: Sequence[Built], sampling: Sampling, fresh: bool
    ) -> list[Measurement]:
        # A CPU is one device, whose cores are counted by the task; GPUs are lent one by one.
        count = max(1, sampling.devices)
        with self._gang.taken(count) as lent:
            return self._worker_on(lent).measure(task, configs, built, sampling, fresh=fresh)

    def _worker_on(self, lent: tuple[str, ...]) -> DeviceWorker:
        """Return the worker of these devices; what other workers left running on one of them ends first."""
        with self._workers_lock:
            for names, worker in self._workers.items():
                if names != lent and set(names) & set(lent):
                    worker.stop()
            if lent not in self._workers:
                self._workers[lent] = self._make_worker(gpu=None if lent == (_ONLY,) else ",".join(lent))
            return self._workers[lent]


def _visible_gpus(count: int) -> list[str]:
    """Return the names by which CUDA knows the first GPUs that this process may use.

    Raises:
        TunerError: it may use fewer.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number in range(count)]
    names = [name for name in visible.split(",") if name]
    if len(names) < count:
        raise TunerError(f"{count} GPUs are asked for, and CUDA_VISIBLE_DEVICES={visible} shows {len(names)}")
    return names[:count]


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
