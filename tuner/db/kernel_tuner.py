"""Reads and writes recorded tuning spaces: Kernel Tuner's cache files, `.json` or `.json.gz`.

Format: https://kerneltuner.github.io/kernel_tuner/stable/cache_files.html
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.errors import SpaceError, StoreError, TunerError
from tuner.search_spaces import Parameter, SearchSpace
from tuner.statistics import median
from tuner.types import Config, Device, Measurement, Status, Task, Trial, Workload

__all__ = ["RecordedSpace", "read_cache_file", "write_cache_file"]

_SECONDS_PER_MILLISECOND = 1e-3
# A file that is still being written lacks its end; Kernel Tuner appends this when it reads one.
_MISSING_END = "}\n}"

_FAILURES: Mapping[str, Status] = {
    "CompilationFailedConfig": Status.COMPILE,
    "RuntimeFailedConfig": Status.RUNTIME,
    "InvalidConfig": Status.CONSTRAINTS,
    "CorrectnessFailedConfig": Status.CORRECTNESS,
    "TimeoutFailedConfig": Status.TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class RecordedSpace:
    """A space that was brute-forced: every config with its measurement.

    Attributes:
        name: `kernel_device`, from the file's name.
        kernel: The kernel's name.
        device: The device's name; the file's, where it does not tell.
        space: The recorded configs, and no others.
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
    try:
        parameters = [
            Parameter(name, tuple(values[name]), ordered=all(_is_number(value) for value in values[name]))
            for name in names
        ]
        space = SearchSpace.from_configs(parameters, list(measurements))
    except SpaceError as error:
        raise StoreError(f"{path}: {error}") from error
    name = path.name.removesuffix(".gz").removesuffix(".json")
    task = _task(data, name)
    return RecordedSpace(
        name=name,
        kernel=task.tunable,
        device=task.device.name,
        space=space,
        measurements=measurements,
        task=task,
    )


def write_cache_file(path: Path, *, kernel: str, device: str, space: SearchSpace, trials: Iterable[Trial]) -> None:
    """Write `trials` as a cache file, compressed where the name ends in `.gz`.

    Args:
        path: Where to.
        kernel: The kernel's name.
        device: The device's name.
        space: The space that the trials' configs belong to.
        trials: What was measured; their `seconds` are written, with the median as the time.

    Raises:
        StoreError: the file cannot be written.
    """
    data = {
        "device_name": device,
        "kernel_name": kernel,
        "problem_size": [],
        "tune_params_keys": list(space.names),
        "tune_params": {parameter.name: list(parameter.values) for parameter in space.parameters},
        "objective": "time",
        "cache": {",".join(str(value) for value in trial.config.values()): _entry(trial) for trial in trials},
    }
    raw = json.dumps(data, indent=0).encode()
    try:
        path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def _entry(trial: Trial) -> dict[str, Any]:
    measurement = trial.measurement
    entry: dict[str, Any] = {
        **trial.config,
        "compile_time": measurement.build_seconds / _SECONDS_PER_MILLISECOND,
        "benchmark_time": measurement.measure_seconds / _SECONDS_PER_MILLISECOND,
    }
    if measurement.status is not Status.CORRECT:
        return {**entry, "time": next(name for name, status in _FAILURES.items() if status is measurement.status)}
    times = [seconds / _SECONDS_PER_MILLISECOND for seconds in measurement.samples["seconds"]]
    return {**entry, "time": median(times), "times": times}


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


def _task(data: Mapping[str, Any], name: str) -> Task:
    sizes = data.get("problem_size")
    sizes = sizes if isinstance(sizes, list) else [sizes]
    workload = Workload({f"size_{i}": size for i, size in enumerate(sizes) if _is_number(size)})
    device = Device(kind="", name=str(data.get("device_name") or name), arch="", count=1, memory_bytes=0)
    return Task(str(data.get("kernel_name") or name), "", workload, device)


def _measurement(entry: Mapping[str, Any]) -> Measurement:
    time = entry["time"]
    build_seconds = _SECONDS_PER_MILLISECOND * float(entry.get("compile_time") or 0)
    measure_seconds = _SECONDS_PER_MILLISECOND * float(entry.get("benchmark_time") or 0)
    if isinstance(time, str):
        status = _FAILURES.get(time, Status.RUNTIME)
        return Measurement(status, build_seconds=build_seconds, measure_seconds=measure_seconds, error=time)
    samples = {"seconds": (_SECONDS_PER_MILLISECOND * float(time),)}
    return Measurement(Status.CORRECT, samples, build_seconds, measure_seconds)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
