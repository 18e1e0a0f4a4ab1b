"""Reads and writes recorded tuning spaces: Kernel Tuner's cache files, `.json` or `.json.gz`.

A file of ours holds more than Kernel Tuner reads: the task, and of each entry its number, the default's times of the
same rounds, and how it failed.

Format: https://kerneltuner.github.io/kernel_tuner/stable/cache_files.html
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.errors import SpaceError, StoreError, TunerError
from tuner.file import replacing
from tuner.search_spaces import Parameter, SearchSpace
from tuner.statistics import log_ratios, median
from tuner.types import Config, Device, Measurement, Status, Task, Trial, Workload

__all__ = ["RecordedSpace", "default_seconds", "read_cache_file", "read_recording", "trial_seconds", "write_cache_file"]

_SECONDS_PER_MILLISECOND = 1e-3
_MOST_ERROR_CHARACTERS = 1000
# What an entry holds beside its parameters.
_RESERVED = frozenset(
    {"time", "times", "reference_times", "compile_time", "benchmark_time", "verification_time"}
    | {"number", "status", "error", "__error__"}
)
# A file that is still being written lacks its end; Kernel Tuner appends this when it reads one.
_MISSING_END = "}\n}"

_FAILURES: Mapping[str, Status] = {
    "CompilationFailedConfig": Status.COMPILE,
    "RuntimeFailedConfig": Status.RUNTIME,
    "InvalidConfig": Status.CONSTRAINTS,
    # Earlier versions of tuner wrote these, which Kernel Tuner does not know.
    "CorrectnessFailedConfig": Status.CORRECTNESS,
    "TimeoutFailedConfig": Status.TIMEOUT,
}
# What Kernel Tuner calls a failure; what ran but was wrong or too slow is one at run time to it.
_ERRORS: Mapping[Status, str] = {
    Status.COMPILE: "CompilationFailedConfig",
    Status.RUNTIME: "RuntimeFailedConfig",
    Status.CONSTRAINTS: "InvalidConfig",
    Status.CORRECTNESS: "RuntimeFailedConfig",
    Status.TIMEOUT: "RuntimeFailedConfig",
}


@dataclass(frozen=True, slots=True)
class RecordedSpace:
    """A space that was brute-forced: every config with its measurement.

    Attributes:
        name: `kernel_device`, from the file's name.
        kernel: The kernel's name.
        device: The device's name; the file's, where it does not tell.
        space: The recorded configs, and no others; its default is the kernel's own, where the file tells it.
        measurements: What was recorded; `seconds` has one sample, the recorded time.
        task: What was measured, as far as the file tells: of a file that others wrote, the kernel's and the device's
            name, and the problem's size as the workload's `size_0`, `size_1`, ...
    """

    name: str
    kernel: str
    device: str
    space: SearchSpace
    measurements: Mapping[Config, Measurement]
    task: Task

    @property
    def optimum_seconds(self) -> float:
        """The fastest recorded time."""
        return min(m.samples["seconds"][0] for m in self.measurements.values() if m.status is Status.CORRECT)


def read_cache_file(path: Path) -> RecordedSpace:
    """Return the space that was recorded in `path`.

    Raises:
        StoreError: the file cannot be read or is not a cache file; the message names the field.
    """
    data = _read_json(path)
    names: list[str] = _field(data, "tune_params_keys", list, path)
    values: dict[str, list[Any]] = _field(data, "tune_params", dict, path)
    cache: dict[str, dict[str, Any]] = _field(data, "cache", dict, path)
    if not cache:
        raise StoreError(f"{path}: 'cache' is empty; nothing was recorded")
    if missing := [name for name in names if not values.get(name)]:
        raise StoreError(f"{path}: 'tune_params' has no values of {missing[0]!r}")
    measurements: dict[Config, Measurement] = {}
    for key, entry in cache.items():
        try:
            measurements[Config({name: entry[name] for name in names})] = _measurement(entry)
        except (KeyError, TypeError, ValueError, TunerError) as error:
            raise StoreError(f"{path}: entry {key!r} of 'cache' is not a recorded config: {error!r}") from error
    if all(measurement.status is not Status.CORRECT for measurement in measurements.values()):
        raise StoreError(f"{path}: every recorded config failed; there is no optimum")
    # A recording of ours begins with the default; others do not tell it.
    default = next(iter(measurements)) if "task" in data else {}
    try:
        parameters = [
            Parameter(
                name, tuple(values[name]), default.get(name), ordered=all(_is_number(value) for value in values[name])
            )
            for name in names
        ]
        space = SearchSpace.from_configs(parameters, list(measurements))
    except SpaceError as error:
        raise StoreError(f"{path}: {error}") from error
    task = _task(data, path)
    return RecordedSpace(
        name=_name(path),
        kernel=task.tunable,
        device=task.device.name,
        space=space,
        measurements=measurements,
        task=task,
    )


def read_recording(path: Path) -> tuple[Task, list[Trial]]:
    """Return what `write_cache_file` wrote, with the raw samples, so that a recording can go on.

    Raises:
        StoreError: the file cannot be read, or others wrote it.
    """
    data = _read_json(path)
    if "task" not in data:
        raise StoreError(f"{path} was not recorded by tuner, which cannot go on with it; choose another file")
    names: list[str] = _field(data, "tune_params_keys", list, path)
    cache: dict[str, dict[str, Any]] = _field(data, "cache", dict, path)
    trials = []
    for key, entry in cache.items():
        try:
            config = Config({name: entry[name] for name in names})
            trials.append(Trial(config, _measurement(entry, raw=True), number=int(entry["number"])))
        except (KeyError, TypeError, ValueError, TunerError) as error:
            raise StoreError(f"{path}: entry {key!r} of 'cache' is not a recorded config: {error!r}") from error
    return _task(data, path), trials


def write_cache_file(path: Path, task: Task, space: SearchSpace, trials: Iterable[Trial]) -> None:
    """Write `trials` as a cache file, compressed where the name ends in `.gz`; it appears whole or not at all.

    A trial's time is the median of its `seconds`. Where it was measured beside the default, it is the paired ratio to
    the default times the default's median over all trials: what slowed the machine for a while slowed both.

    Args:
        path: Where to.
        task: What was measured.
        space: The space that the trials' configs belong to.
        trials: What was measured of it.

    Raises:
        StoreError: the file cannot be written, or a parameter is called like what an entry holds.
    """
    if taken := _RESERVED.intersection(space.names):
        raise StoreError(f"a cache file cannot hold a parameter called {min(taken)!r}; give it another name")
    trials = list(trials)
    beside = default_seconds(trials)
    data = {
        "device_name": task.device.name,
        "kernel_name": task.tunable,
        "problem_size": [size for size in task.workload.values() if _is_number(size)],
        "tune_params_keys": list(space.names),
        "tune_params": {parameter.name: list(parameter.values) for parameter in space.parameters},
        "objective": "time",
        "task": task.to_json(),
        "cache": {
            ",".join(str(trial.config[name]) for name in space.names): _entry(trial, space.names, beside)
            for trial in trials
        },
    }
    raw = json.dumps(data, indent=0, allow_nan=False).encode()
    try:
        with replacing(path) as file:
            file.write(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def default_seconds(trials: Iterable[Trial]) -> float | None:
    """Return the default's median time over all trials that were measured beside it; None if none was."""
    references = [
        median(reference)
        for trial in trials
        if (reference := trial.measurement.samples.get("reference_seconds")) and trial.measurement.samples["seconds"]
    ]
    return median(references) if references else None


def trial_seconds(measurement: Measurement, default_seconds: float | None) -> float:
    """Return the one time of a correct measurement: the median, or where it can be, that of the paired ratios.

    Args:
        measurement: What was measured.
        default_seconds: The default's time, by which a ratio becomes a time again.
    """
    samples, reference = measurement.samples["seconds"], measurement.samples.get("reference_seconds")
    if not reference or default_seconds is None:
        return median(samples)
    return default_seconds * math.exp(median(log_ratios(samples, reference).tolist()))


def _entry(trial: Trial, names: Sequence[str], beside: float | None) -> dict[str, Any]:
    measurement = trial.measurement
    entry: dict[str, Any] = {
        **{name: trial.config[name] for name in names},
        "number": trial.number,
        "compile_time": _short(measurement.build_seconds / _SECONDS_PER_MILLISECOND),
        "benchmark_time": _short(measurement.measure_seconds / _SECONDS_PER_MILLISECOND),
        # Checking is part of measuring here; a simulation with a limit on time wants it told.
        "verification_time": 0.0,
    }
    if measurement.status is not Status.CORRECT:
        return {
            **entry,
            "time": _ERRORS[measurement.status],
            "status": measurement.status.value,
            "error": measurement.error[:_MOST_ERROR_CHARACTERS],
        }
    if reference := measurement.samples.get("reference_seconds"):
        entry["reference_times"] = _milliseconds(reference)
    seconds = trial_seconds(measurement, beside)
    times = _milliseconds(measurement.samples["seconds"])
    return {**entry, "time": _short(seconds / _SECONDS_PER_MILLISECOND), "times": times}


def _milliseconds(samples: Sequence[float]) -> list[float]:
    return [_short(seconds / _SECONDS_PER_MILLISECOND) for seconds in samples]


def _short(number: float) -> float:
    """Return `number` without digits that no clock tells."""
    return float(f"{number:.6g}")


def _seconds(times: Sequence[float]) -> tuple[float, ...]:
    return tuple(_SECONDS_PER_MILLISECOND * float(time) for time in times)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        try:
            data = json.loads(text.rstrip().rstrip(",") + _MISSING_END)
        except json.JSONDecodeError:
            raise StoreError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise StoreError(f"{path} is not a cache file: it holds a {type(data).__name__}, not an object")
    return data


def _field(data: Mapping[str, Any], name: str, kind: type, path: Path) -> Any:
    value = data.get(name)
    if not isinstance(value, kind):
        raise StoreError(f"{path} is not a cache file: its field {name!r} is missing or not a {kind.__name__}")
    return value


def _task(data: Mapping[str, Any], path: Path) -> Task:
    """Return what was measured: the file says it, or as far as it can be told."""
    if task := data.get("task"):
        try:
            return Task.from_json(task)
        except (KeyError, TypeError, AttributeError, TunerError) as error:
            raise StoreError(f"{path}: its field 'task' is not a task: {error!r}") from error
    name = _name(path)
    sizes = data.get("problem_size")
    sizes = sizes if isinstance(sizes, list) else [sizes]
    workload = Workload({f"size_{i}": size for i, size in enumerate(sizes) if _is_number(size)})
    device = Device(kind="", name=str(data.get("device_name") or name), arch="", count=1, memory_bytes=0)
    return Task(str(data.get("kernel_name") or name), "", workload, device)


def _name(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".json")


def _measurement(entry: Mapping[str, Any], *, raw: bool = False) -> Measurement:
    """Return what an entry holds: the time, or with `raw` the samples that it comes from."""
    time = entry["time"]
    build_seconds = _SECONDS_PER_MILLISECOND * float(entry.get("compile_time") or 0)
    measure_seconds = _SECONDS_PER_MILLISECOND * float(entry.get("benchmark_time") or 0)
    if isinstance(time, str):
        status = Status(entry["status"]) if "status" in entry else _FAILURES.get(time, Status.RUNTIME)
        error = str(entry.get("error", time))
        return Measurement(status, build_seconds=build_seconds, measure_seconds=measure_seconds, error=error)
    samples = {"seconds": _seconds([time])}
    if raw:
        samples = {"seconds": _seconds(entry["times"])}
        if reference := entry.get("reference_times"):
            samples["reference_seconds"] = _seconds(reference)
    return Measurement(Status.CORRECT, samples, build_seconds, measure_seconds)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
