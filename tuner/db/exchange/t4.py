"""FAIR T4: results of a search, config by config.

The schema is version 1.0.0, as Kernel Tuner 1.5 installs and writes it: times in milliseconds unless
`metadata.timeunit` says otherwise. Files of ours hold what others leave out, too: the task, and of each result its
number and its error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.db.exchange.document import Document, read_document, write_documents
from tuner.db.exchange.finding import Content, Finding, Origin, Reading, Request, Selection, Writing
from tuner.db.exchange.t1 import read_space
from tuner.db.kernel_tuner import default_seconds, trial_seconds
from tuner.errors import ExchangeError, SpaceError, TunerError
from tuner.search_spaces import Parameter, SearchSpace
from tuner.types import Config, Measurement, Scalar, Status, Task, Trial, Workload

__all__ = ["T4Files", "best_finding", "recorded_space", "space_of_trials"]

_VERSION = "1.0.0"
_TIME = "time"
_UNITS: Mapping[str, float] = {
    **dict.fromkeys(("s", "seconds"), 1.0),
    **dict.fromkeys(("ms", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nanoseconds"), 1e-9),
}
_UNIT, _SECONDS_PER_UNIT = "milliseconds", 1e-3


class T4Files:
    """Reads and writes T4 files of results.

    Example:
        >>> T4Files().program
        'FAIR T4'
    """

    program = "FAIR T4"
    about = "results of a search: every config with its times and how it ended"
    content = Content.TRIALS

    def takes(self, tunable: str) -> bool:
        """Return True: the other choices say of which kernel it is to be."""
        return True

    def read(self, path: Path, request: Request) -> Reading:
        """Return all results, and the fastest as a finding.

        Raises:
            ExchangeError: it cannot be read or is not of this format, the task is not known, or a config is not in the
                space that was given.
        """
        document = read_document(path)
        # Kernel Tuner writes numbers as Python has them.
        data = document.json_object(infinity=True)
        results = data.get("results")
        if not isinstance(results, list) or not results:
            raise document.error("field 'results'", "is missing, empty, or not a list")
        trials = tuple(_trial(document, index, entry, _unit(document, data)) for index, entry in enumerate(results))
        task = _task(document, data, request)
        space = recorded_space(document, trials, request)
        origin = Origin.of("tuner" if "tuner" in data else "FAIR T4", document, {})
        finding, notes = best_finding(task, trials, origin)
        return Reading(finding, space, trials, task, notes, origin)

    def write(self, path: Path, selection: Selection) -> Writing:
        """Write the trials of the selected search.

        Raises:
            ExchangeError: none is selected, or the file cannot be written.
        """
        search = selection.search
        if search is None or not search.trials:
            raise ExchangeError("a T4 file holds the results of one search: say whose, with --campaign")
        beside = default_seconds(search.trials)
        data = {
            "results": [_result(trial, beside) for trial in search.trials],
            "schema_version": _VERSION,
            "metadata": {"timeunit": _UNIT},
            "tuner": {"task": search.task.to_json()},
        }
        return Writing(write_documents({path: json.dumps(data, indent=1, allow_nan=False) + "\n"}), len(search.trials))


def best_finding(task: Task, trials: Sequence[Trial], origin: Origin) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Return the fastest of `trials` as a finding, with notes; none where every config failed."""
    correct = [trial for trial in trials if trial.measurement.status is Status.CORRECT]
    if not correct:
        return (), ("every config failed: there is no best one",)
    beside = default_seconds(correct)
    seconds, number = min((trial_seconds(trial.measurement, beside), place) for place, trial in enumerate(correct))
    finding = Finding(
        task.tunable,
        task.workload,
        task.device,
        correct[number].config,
        origin,
        seconds=seconds,
        details={"configs_measured": len(trials)},
        version=task.version,
    )
    return (finding,), ()


def recorded_space(document: Document, trials: Sequence[Trial], request: Request) -> SearchSpace:
    """Return the space that was asked for, which has every config, or else the one of just these configs.

    Raises:
        ExchangeError: a config is not in the space, or configs have different parameters.
    """
    if request.space is not None:
        space = read_space(request.space)
        for trial in trials:
            if broken := space.violated(trial.config):
                raise document.error(f"field 'results[{trial.number}].configuration'", f"is not in the space: {broken}")
        return space
    try:
        return space_of_trials(trials)
    except ExchangeError as error:
        raise ExchangeError(f"{document.path}: {error}") from error


def space_of_trials(trials: Sequence[Trial]) -> SearchSpace:
    """Return the space of exactly the configs of `trials`, of which the first is the default.

    Raises:
        ExchangeError: configs have different parameters.
    """
    first = trials[0].config
    values: dict[str, dict[str, Scalar]] = {name: {} for name in first}
    for trial in trials:
        if set(trial.config) != set(first):
            odd = min(set(trial.config) ^ set(first))
            raise ExchangeError(f"result {trial.number} and the first do not both have the parameter {odd!r}")
        for name, value in trial.config.items():
            values[name].setdefault(json.dumps(value), value)
    try:
        parameters = [Parameter(name, _sorted(list(values[name].values())), first[name]) for name in first]
        return SearchSpace.from_configs(parameters, [trial.config for trial in trials])
    except SpaceError as error:
        raise ExchangeError(str(error)) from error


def _sorted(values: list[Scalar]) -> list[Scalar]:
    """Return numbers in their order, so that neighbours are alike; anything else as it came."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return sorted(values, key=float)
    return values


def _unit(document: Document, data: Mapping[str, Any]) -> float:
    metadata = data.get("metadata", {})
    unit = metadata.get("timeunit", _UNIT) if isinstance(metadata, dict) else None
    if not isinstance(unit, str) or unit not in _UNITS:
        raise document.error("field 'metadata.timeunit'", f"is {unit!r}; known are {', '.join(_UNITS)}")
    return _UNITS[unit]


def _task(document: Document, data: Mapping[str, Any], request: Request) -> Task:
    own = data.get("tuner")
    if own is not None:
        try:
            return Task.from_json(own["task"])
        except (KeyError, TypeError, AttributeError, TunerError) as error:
            raise document.error("field 'tuner.task'", f"is not a task: {error!r}") from error
    kernel = request.need_kernel(document, "kernel_tuner:convolution")
    return Task(kernel, "", Workload(request.fields), request.need_device(document))


def _trial(document: Document, index: int, entry: Any, unit: float) -> Trial:
    where = f"results[{index}]"
    if not isinstance(entry, dict):
        raise document.error(f"field {where!r}", "is not an object")
    values, times = entry.get("configuration"), entry.get("times")
    for name, value in (("configuration", values), ("times", times)):
        if not isinstance(value, dict):
            raise document.error(f"field '{where}.{name}'", "is missing or not an object")
    assert isinstance(values, dict)
    assert isinstance(times, dict)
    try:
        config = Config(values)
        status = Status(str(entry.get("invalidity")))
    except TunerError as error:
        raise document.error(f"field '{where}.configuration'", f"is no config: {error}") from error
    except ValueError as error:
        what = f"is {entry.get('invalidity')!r}; it is one of {', '.join(Status)}"
        raise document.error(f"field '{where}.invalidity'", what) from error
    own = entry.get("tuner", {})
    build = _duration(document, where, times, ("compilation_time", "compilation"), unit)
    measure = _duration(document, where, times, ("benchmark",), unit)
    error_text = str(own.get("error", "")) if isinstance(own, dict) else ""
    if status is not Status.CORRECT:
        return Trial(config, Measurement(status, {}, build, measure, error=error_text or status.value), number=index)
    samples = _samples(document, where, entry, times, unit)
    return Trial(config, Measurement(status, samples, build, measure), number=index)


def _duration(document: Document, where: str, times: Mapping[str, Any], names: Sequence[str], unit: float) -> float:
    for name in names:
        value = times.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise document.error(f"field '{where}.times.{name}'", f"is {value!r}, and needs a number of 0 or more")
        return unit * float(value)
    return 0.0


def _samples(
    document: Document, where: str, entry: Mapping[str, Any], times: Mapping[str, Any], unit: float
) -> dict[str, tuple[float, ...]]:
    """Return the times of single calls; where a file has none, the one time that was measured."""
    measured = {
        str(one.get("name")): one for one in entry.get("measurements") or () if isinstance(one, dict) and "name" in one
    }
    runtimes = times.get("runtimes") or []
    if not isinstance(runtimes, list):
        raise document.error(f"field '{where}.times.runtimes'", "is not a list")
    if not runtimes:
        objectives = [name for name in entry.get("objectives") or () if isinstance(name, str)]
        named = next((name for name in (_TIME, *objectives) if name in measured), None)
        factor = _UNITS.get(str(measured[named].get("unit"))) if named else None
        if named is None or factor is None:
            raise document.error(
                f"field '{where}.measurements'", f"has no {_TIME!r} with a unit, and there are no runtimes"
            )
        value = document.positive(f"field '{where}.measurements' of {named!r}", measured[named].get("value"))
        return {"seconds": (factor * value,)}
    checked = [document.positive(f"field '{where}.times.runtimes[{i}]'", time) for i, time in enumerate(runtimes)]
    samples = {"seconds": tuple(unit * time for time in checked)}
    reference = measured.get("reference_times", {}).get("value")
    if isinstance(reference, list) and len(reference) == len(runtimes):
        field = f"field '{where}.measurements' of 'reference_times'"
        samples["reference_seconds"] = tuple(unit * document.positive(field, time) for time in reference)
    return samples


def _result(trial: Trial, beside: float | None) -> dict[str, Any]:
    measurement = trial.measurement
    correct = measurement.status is Status.CORRECT
    samples = _milliseconds(measurement.samples["seconds"]) if correct else []
    measurements: list[dict[str, Any]] = []
    if correct:
        time = trial_seconds(measurement, beside) / _SECONDS_PER_UNIT
        measurements = [{"name": _TIME, "value": time, "unit": "ms"}]
        if reference := measurement.samples.get("reference_seconds"):
            measurements.append({"name": "reference_times", "value": _milliseconds(reference), "unit": "ms"})
    return {
        "configuration": dict(trial.config),
        "times": {
            # The schema's name and Kernel Tuner's.
            "compilation_time": measurement.build_seconds / _SECONDS_PER_UNIT,
            "compilation": measurement.build_seconds / _SECONDS_PER_UNIT,
            "benchmark": measurement.measure_seconds / _SECONDS_PER_UNIT,
            "framework": 0.0,
            "search_algorithm": 0.0,
            "validation": 0.0,
            "runtimes": samples,
        },
        "invalidity": measurement.status.value,
        "correctness": 1 if correct else 0,
        "measurements": measurements,
        "objectives": [_TIME],
        "tuner": {"number": trial.number, "error": measurement.error},
    }


def _milliseconds(samples: Sequence[float]) -> list[float]:
    return [seconds / _SECONDS_PER_UNIT for seconds in samples]
