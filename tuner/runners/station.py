"""Where work is done: a builder and a device worker, each with a process of its own. Both runners use them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tuner.errors import TunableError
from tuner.runners.core import CoreTurn, split_cores
from tuner.runners.process import WorkerDiedError, WorkerProcess, WorkerTimeoutError
from tuner.tunable import Patient, load
from tuner.types import Config, Measurement, Sampling, Status, Task

__all__ = ["Builder", "Built", "DeviceWorker", "Timeouts"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """After how many seconds a worker is killed.

    A compile's wall time is several times its CPU time on a busy machine, so the limits are generous.
    """

    build_seconds: float = 120.0
    measure_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Built:
    """What a build gave: the artifact's key in the cache, or how it failed.

    Attributes:
        key: The artifact's key; None where nothing needs building, or where it failed.
        seconds: Wall time.
        failure: The measurement of a config that could not be built.
    """

    key: str | None
    seconds: float
    failure: Measurement | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        failure = self.failure.to_json() if self.failure else None
        return {"key": self.key, "seconds": self.seconds, "failure": failure}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Built:
        """Read back what `to_json` wrote."""
        failure = data["failure"]
        return cls(data["key"], data["seconds"], Measurement.from_json(failure) if failure else None)


class Builder:
    """Builds one config after another, on those of `cores` that the task's device leaves, or in turns with it.

    Args:
        cache: The folder of artifacts.
        timeouts: When the process is killed.
        cores: All cores of the machine that may be used; empty to leave that to the system.
        borrows: Whether it builds on the timing cores instead, in turns with what is timed.
        number: Its number among the builders: where all cores build, for a GPU, each keeps to one, and waits for nobody
            else's.
    """

    def __init__(
        self, cache: Path, timeouts: Timeouts, cores: Sequence[int] = (), *, borrows: bool = False, number: int = 0
    ) -> None:
        self._process = WorkerProcess(cache)
        self._timeout = timeouts.build_seconds
        self._cores = tuple(cores)
        self._borrows = borrows
        self._number = number
        self._turn = CoreTurn()

    def build(self, task: Task, config: Config) -> Built:
        """Build `config`, or say how that failed."""
        building, timing = split_cores(self._cores, task.device)
        if self._borrows:
            building = timing
        elif task.device.kind != "cpu" and building:
            building = (building[self._number % len(building)],)
        with self._turn.taken(building, shared=True):
            self._process.pin(building)
            return self._build(task, config)

    def _build(self, task: Task, config: Config) -> Built:
        started = time.perf_counter()
        reply = _ask(
            self._process,
            {"do": "build", "task": task.to_json(), "config": dict(config)},
            self._timeout,
            died=Status.COMPILE,
        )
        seconds = time.perf_counter() - started
        if "failure" in reply:
            return Built(None, seconds, replace(Measurement.from_json(reply["failure"]), build_seconds=seconds))
        return Built(reply["key"], seconds)

    def close(self) -> None:
        """Kill the process."""
        self._turn.close()
        self._process.close()


class DeviceWorker:
    """Measures on the task's device, which it has to itself: on the last of `cores`, as many as the device has.

    Args:
        cache: The folder of artifacts.
        timeouts: When the process is killed.
        cores: All cores of the machine that may be used; empty to leave that to the system.
        gpu: The only GPUs that the process sees, as CUDA names them, with commas between; None for all there are.
    """

    def __init__(self, cache: Path, timeouts: Timeouts, cores: Sequence[int] = (), *, gpu: str | None = None) -> None:
        self._process = WorkerProcess(cache, {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
        self._timeout = timeouts.measure_seconds
        self._cores = tuple(cores)
        self._turn = CoreTurn()

    def measure(
        self, task: Task, configs: Sequence[Config], built: Sequence[Built], sampling: Sampling, *, fresh: bool = False
    ) -> list[Measurement]:
        """Measure `configs` interleaved.

        Args:
            task: What they belong to.
            configs: The first is the reference of the others.
            built: Their builds, none of which failed.
            sampling: Seed and rounds.
            fresh: In a process that has measured nothing before.
        """
        if fresh:
            self._process.stop()
        _, timing = split_cores(self._cores, task.device)
        with self._turn.taken(timing):
            self._process.pin(timing)
            return self._measure(task, configs, built, sampling)

    def _measure(
        self, task: Task, configs: Sequence[Config], built: Sequence[Built], sampling: Sampling
    ) -> list[Measurement]:
        started = time.perf_counter()
        reply = _ask(
            self._process,
            {
                "do": "measure",
                "task": task.to_json(),
                "configs": [dict(config) for config in configs],
                "keys": [one.key for one in built],
                "sampling": asdict(sampling),
            },
            # A comparison of many configs is given the time of as many trials, and what its rounds may take.
            self._limit(task) * max(1, len(configs) - 1) + sampling.seconds,
            died=Status.RUNTIME,
        )
        seconds = time.perf_counter() - started
        if reply.get("poisoned"):
            self._process.stop()
        if "failure" in reply:
            measurements = [Measurement.from_json(reply["failure"])] * len(configs)
        else:
            measurements = [Measurement.from_json(data) for data in reply["measurements"]]
        return [
            replace(measurement, build_seconds=one.seconds, measure_seconds=seconds)
            for measurement, one in zip(measurements, built, strict=True)
        ]

    def stop(self) -> None:
        """End the process and what it left running; the next measurement starts another."""
        self._process.stop()

    def _limit(self, task: Task) -> float:
        """Return after how many seconds the measurement of one config is given up."""
        tunable = load(task.tunable)
        return tunable.longest_seconds if isinstance(tunable, Patient) else self._timeout

    def close(self) -> None:
        """Kill the process."""
        self._turn.close()
        self._process.close()


def _ask(process: WorkerProcess, request: Mapping[str, Any], timeout: float, *, died: Status) -> dict[str, Any]:
    """Return the worker's reply; a worker that hung or died is a failed measurement in its place.

    Raises:
        TunableError: the worker cannot load the tunable, so that no config can be evaluated.
    """
    try:
        reply = process.ask(request, timeout)
    except WorkerTimeoutError as error:
        return {"failure": Measurement(Status.TIMEOUT, error=str(error)).to_json()}
    except WorkerDiedError as error:
        return {"failure": Measurement(died, error=str(error)).to_json()}
    if "broken" in reply:
        raise TunableError(reply["broken"])
    return reply
