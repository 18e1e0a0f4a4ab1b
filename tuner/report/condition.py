"""Under which conditions a task's trials were measured: load, frequency, clock, cache, noise, drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tuner.objective import Objective
from tuner.report.data import TaskReport
from tuner.statistics import median, percentile, spread
from tuner.text import value_text
from tuner.types import Scalar, Trial

__all__ = ["conditions", "discarded_share", "pair_noise"]


def conditions(report: TaskReport) -> list[tuple[str, str]]:
    """Return what is known of the conditions, as names with values in words; a trial of an older version says less."""
    trials = [trial for trial, _ in report.usable]
    rows = [
        ("load average", _range(_numbers(trials, "load"), "{:.2f}")),
        ("frequency", _range([hertz / 1e9 for hertz in _numbers(trials, "frequency_hz")], "{:.2f}", " GHz")),
        ("caches", _counts(trials, "cache")),
        ("graph of launches", _counts(trials, "graph")),
        ("calls in a graph", _range(_numbers(trials, "graph_calls"), "{:.0f}")),
        ("overwritten before a sample", _range([size / 2**20 for size in _flushed(trials)], "{:.0f}", " MiB")),
        ("clock", _counts(trials, "clock")),
        ("why that clock", _counts(trials, "clock_reason")),
        ("rounds of a trial", _range([float(_rounds(trial)) for trial in trials], "{:.0f}")),
        ("sampling stopped", _counts(trials, "stopped")),
        ("rounds discarded", _discarded(trials)),
        ("noise of one pair", _noise(trials, report.objective)),
        (f"the default's own {_word(report.objective)}", _drift(trials, report.objective)),
        ("largest relative error", _range(_errors(trials), "{:.1e}")),
    ]
    return [(name, text) for name, text in rows if text]


def pair_noise(trials: Sequence[Trial], objective: Objective = Objective()) -> list[float]:
    """Return each trial's noise: the spread of its log-ratios."""
    return [spread(logs) for trial in trials if (logs := objective.gains(trial.measurement))]


def discarded_share(trials: Sequence[Trial]) -> float | None:
    """Return the share of all rounds that were discarded as disturbed; None where no trial tells."""
    told = [trial for trial in trials if "discarded_rounds" in trial.measurement.resources]
    if not told:
        return None
    discarded = sum(_numbers(told, "discarded_rounds"))
    kept = sum(map(_rounds, told))
    return discarded / max(discarded + kept, 1)


def _rounds(trial: Trial) -> int:
    return len(trial.measurement.samples.get("seconds", ()))


def _word(objective: Objective) -> str:
    return "time" if objective.metric == "seconds" else objective.metric


def _values(trials: Sequence[Trial], name: str) -> list[Scalar]:
    return [value for trial in trials if (value := trial.measurement.resources.get(name)) is not None]


def _numbers(trials: Sequence[Trial], name: str) -> list[float]:
    return [float(value) for value in _values(trials, name) if isinstance(value, int | float)]


def _flushed(trials: Sequence[Trial]) -> list[float]:
    return [size for size in _numbers(trials, "flushed_bytes") if size]


def _errors(trials: Sequence[Trial]) -> list[float]:
    # Stores of version 0.1 call it `relative_error`.
    return _numbers(trials, "rel_error") or _numbers(trials, "relative_error")


def _range(values: Sequence[float], form: str, unit: str = "") -> str:
    if not values:
        return ""
    low, middle, high = (form.format(value) for value in (min(values), median(values), max(values)))
    return f"{middle}{unit}" if low == high else f"{middle}{unit} (median), {low} to {high}{unit}"


def _counts(trials: Sequence[Trial], name: str) -> str:
    counts = Counter(str(value) for value in _values(trials, name)).most_common()
    if len(counts) == 1:
        return counts[0][0]
    return ", ".join(f"{text} ({count} trials)" for text, count in counts)


def _discarded(trials: Sequence[Trial]) -> str:
    share = discarded_share(trials)
    if share is None:
        return ""
    counts = _numbers(trials, "discarded_rounds")
    return f"{sum(counts):.0f} ({share:.1%}), in {sum(count > 0 for count in counts)} of {len(counts)} trials"


def _noise(trials: Sequence[Trial], objective: Objective) -> str:
    noises = pair_noise(trials, objective)
    return f"{median(noises):.2%} (median of the trials), worst {max(noises):.2%}" if noises else ""


def _drift(trials: Sequence[Trial], objective: Objective) -> str:
    values = [
        value
        for trial in trials
        if objective.is_paired(trial.measurement)
        and (value := objective.value(trial.measurement, reference=True)) is not None
    ]
    if not values or not (middle := median(values)):
        return ""
    low, high = percentile(values, 5) / middle - 1, percentile(values, 95) / middle - 1
    return f"{value_text(objective.metric, middle)}; {low:+.1%} to {high:+.1%} in 90 % of the trials"
