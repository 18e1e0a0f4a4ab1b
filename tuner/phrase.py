"""Objectives and limits as people write them, read without evaluating anything.

    maximize goodput where ttft_p99<0.5, tpot_p99<50ms
    minimize seconds
    maximize output_tokens_per_second where kl_logits<1e-2 and top1_agreement>0.99

An objective is a direction, a metric, and limits after `where`, with commas or `and` between them. A metric is a short
name or a name of `tuner.metric`, or any that the tunable measures; a statistic may follow (`ttft_p99`), or stand before
a colon (`p99:ttft`). A number may carry a unit: `us`, `ms`, `s`, `KiB`, `MiB`, `GiB`, `%`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tuner.errors import TunerError
from tuner.metric import METRICS, metric_named
from tuner.objective import Direction, Limit, Objective, Statistic

__all__ = [
    "limit_text",
    "metric_text",
    "objective_text",
    "parse_limit",
    "parse_objective",
    "parse_objectives",
    "purpose_text",
    "refuse_repeated",
]

_DIRECTIONS = {
    "minimize": Direction.MINIMIZE,
    "minimise": Direction.MINIMIZE,
    "min": Direction.MINIMIZE,
    "maximize": Direction.MAXIMIZE,
    "maximise": Direction.MAXIMIZE,
    "max": Direction.MAXIMIZE,
}
_UNITS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "%": 1e-2}
_STATISTICS = {**{statistic.value: statistic for statistic in Statistic}, "p50": Statistic.MEDIAN}

_OBJECTIVE = re.compile(r"\s*(?P<direction>[A-Za-z]+)\s+(?P<metric>\S+)(?:\s+where\s+(?P<limits>.*\S))?\s*", re.DOTALL)
_BETWEEN = re.compile(r"\s*,\s*|\s+and\s+")
_WORD = re.compile(r"(?:(?P<statistic>\w+)\s*:\s*)?(?P<metric>[A-Za-z_]\w*)")
_LIMIT = re.compile(rf"\s*{_WORD.pattern}\s*(?P<sign><=?|>=?)\s*(?P<bound>\S+)\s*")
_NUMBER = re.compile(r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?P<unit>[A-Za-z%]*)")


def parse_objective(text: str) -> Objective:
    """Return the objective that `text` says.

    Raises:
        TunerError: it is none; the message says which part is wrong, and what may stand there.

    Example:
        >>> objective = parse_objective("maximize goodput where ttft_p99<0.5, tpot_p99<50ms")
        >>> objective.metric, objective.direction.value
        ('goodput_per_second', 'maximize')
        >>> objective.limits[1]
        Limit(metric='tpot_seconds', upper=0.05, statistic=<Statistic.P99: 'p99'>, lower=None)
    """
    found = _OBJECTIVE.fullmatch(text)
    direction = _DIRECTIONS.get(found["direction"]) if found else None
    if not found or direction is None:
        raise TunerError(
            f"objective {text!r} is not DIRECTION METRIC [where LIMIT, ...], such as "
            "'minimize seconds' or 'maximize goodput where ttft_p99<0.5'"
        )
    metric, statistic = _metric(found["metric"], f"objective {text!r}")
    limits: list[Limit] = []
    for word in _BETWEEN.split(found["limits"] or ""):
        if word:
            limits.append(parse_limit(word))
        elif found["limits"]:
            raise TunerError(f"objective {text!r} has an empty limit; write METRIC<NUMBER between the commas")
    refuse_repeated(limits)
    return Objective(metric, direction, tuple(limits), statistic)


def parse_objectives(texts: Sequence[str], price_per_hour: float | None = None) -> Objective:
    """Return what several phrases say together: the first, with the others beside it.

    Args:
        texts: Phrases; without one, the time of a call is minimised.
        price_per_hour: What one device costs an hour.

    Raises:
        TunerError: one is no objective, two are of one metric, or they limit one metric differently.

    Example:
        >>> several = parse_objectives(["maximize goodput", "minimize peak_memory"])
        >>> [one.metric for one in several.every]
        ['goodput_per_second', 'peak_memory_bytes']
    """
    first, *others = [parse_objective(text) for text in texts] or [Objective()]
    together = replace(first, beside=tuple(others), price_per_hour=price_per_hour)
    refuse_repeated(together.every[0].limits)
    return together


def parse_limit(text: str) -> Limit:
    """Return the limit that `text` says, `METRIC<NUMBER` or `METRIC>NUMBER`; the bound itself is still good.

    Raises:
        TunerError: it is none.

    Example:
        >>> parse_limit("p99:seconds<10ms")
        Limit(metric='seconds', upper=0.01, statistic=<Statistic.P99: 'p99'>, lower=None)
    """
    found = _LIMIT.fullmatch(text)
    if not found:
        raise TunerError(f"limit {text!r} is not METRIC<NUMBER, such as 'rel_error<1e-2' or 'ttft_p99<0.5'")
    word = found["metric"] if found["statistic"] is None else f"{found['statistic']}:{found['metric']}"
    metric, statistic = _metric(word, f"limit {text!r}")
    bound = _number(found["bound"], f"limit {text!r}")
    return Limit(metric, None, statistic, bound) if found["sign"][0] == ">" else Limit(metric, bound, statistic)


def limit_text(limit: Limit) -> str:
    """Return a limit as `parse_limit` reads it; one with two bounds is two, with a comma.

    Example:
        >>> limit_text(Limit("ttft_seconds", 0.5, Statistic.P99))
        'ttft_seconds_p99<0.5'
    """
    name = metric_text(limit.metric, limit.statistic)
    bounds = (("<", limit.upper), (">", limit.lower))
    return ", ".join(f"{name}{sign}{_bound_text(bound)}" for sign, bound in bounds if bound is not None)


def objective_text(objective: Objective) -> str:
    """Return an objective as `parse_objective` reads it, without those beside it.

    Example:
        >>> objective_text(parse_objective("max goodput where ttft_p99<500ms"))
        'maximize goodput_per_second where ttft_seconds_p99<0.5'
    """
    text = f"{objective.direction} {metric_text(objective.metric, objective.statistic)}"
    limits = ", ".join(map(limit_text, objective.limits))
    return f"{text} where {limits}" if limits else text


def purpose_text(data: Mapping[str, Any] | None) -> str:
    """Return in words what a winner was proven for, from its evidence's `objective`.

    Example:
        >>> purpose_text({}), purpose_text(parse_objective("max goodput").to_json())
        ('minimize seconds', 'maximize goodput_per_second')
    """
    return objective_text(Objective.from_json(data) if data else Objective())


def refuse_repeated(limits: Sequence[Limit]) -> None:
    """Refuse two limits of one kind on the same number.

    Raises:
        TunerError: there are two.
    """
    seen: set[tuple[str, Statistic, bool]] = set()
    for limit in limits:
        kind = (limit.metric, limit.statistic, limit.upper is None)
        if kind in seen:
            raise TunerError(f"limit {limit_text(limit)!r}: {limit.metric} is limited twice")
        seen.add(kind)


def _bound_text(bound: float) -> str:
    """Return the shortest number that is read back as `bound`."""
    short = f"{bound:g}"
    return short if float(short) == bound else repr(bound)


def metric_text(metric: str, statistic: Statistic) -> str:
    """Return a metric with its statistic, as limits and objectives name it.

    Example:
        >>> metric_text("ttft_seconds", Statistic.P99), metric_text("seconds", Statistic.MEDIAN)
        ('ttft_seconds_p99', 'seconds')
    """
    return metric if statistic is Statistic.MEDIAN else f"{metric}_{statistic}"


def _metric(word: str, where: str) -> tuple[str, Statistic]:
    """Return the metric and the statistic that `word` says."""
    found = _WORD.fullmatch(word)
    if not found:
        raise TunerError(f"{where}: {word!r} is no metric; write a name such as ttft_p99, goodput or seconds")
    name, before = found["metric"], found["statistic"]
    if before is not None and before not in _STATISTICS:
        raise TunerError(f"{where}: {before!r} is no statistic; choose one of {', '.join(Statistic)}")
    if before is not None:
        return metric_named(name), _STATISTICS[before]
    head, _, tail = name.rpartition("_")
    if head and tail in _STATISTICS and name not in METRICS:
        return metric_named(head), _STATISTICS[tail]
    if head and re.fullmatch(r"p\d+", tail):
        raise TunerError(f"{where}: {tail!r} is no statistic; choose one of {', '.join(Statistic)}")
    return metric_named(name), Statistic.MEDIAN


def _number(text: str, where: str) -> float:
    found = _NUMBER.fullmatch(text)
    if found and found["unit"] not in _UNITS:
        raise TunerError(f"{where}: {found['unit']!r} is no unit; choose one of {', '.join(filter(None, _UNITS))}")
    value = float(found["number"]) * _UNITS[found["unit"]] if found else math.nan
    if not math.isfinite(value):
        raise TunerError(f"{where}: {text!r} is not a finite number")
    return value
