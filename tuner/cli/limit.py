"""Limits as words: `rel_error<1e-2`, `code_bytes<100000`, `p99:seconds<0.01`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner.errors import TunerError
from tuner.objective import Limit, Statistic
from tuner.tunable import load
from tuner.types import Task, Workload

__all__ = ["Limits", "parse_limits"]

_WORD = re.compile(r"\s*(?:(?P<statistic>\w+)\s*:)?\s*(?P<metric>[A-Za-z_]\w*)\s*<=?\s*(?P<upper>\S+)\s*")
_ERROR = "rel_error"


@dataclass(frozen=True, slots=True)
class Limits:
    """What must not be exceeded.

    Attributes:
        objective: Limits that a trial's score obeys.
        rel_error: How far outputs may be off; it belongs to the workload, since it decides what is right, and which
            winner may be served. None leaves that to the operator.
    """

    objective: tuple[Limit, ...] = ()
    rel_error: float | None = None

    def applied(self, task: Task) -> Task:
        """Return `task` with the error that is allowed in its workload.

        Raises:
            TunerError: its workload says another one.
            WorkloadError: it is not one that the tunable takes.
        """
        if self.rel_error is None:
            return task
        if task.workload.get(_ERROR, self.rel_error) != self.rel_error:
            raise TunerError(f"rel_error is {task.workload[_ERROR]} in the workload and {self.rel_error} as a limit")
        fields = Workload({**task.workload, _ERROR: self.rel_error})
        return replace(task, workload=load(task.tunable).workload(fields))


def parse_limits(words: Sequence[str]) -> Limits:
    """Return the limits that `words` say, each `METRIC<NUMBER` or `STATISTIC:METRIC<NUMBER`.

    Raises:
        TunerError: a word is not such a limit, or a limit is given twice.

    Example:
        >>> parse_limits(["rel_error<1e-2", "p99:seconds<0.01"]).objective
        (Limit(metric='seconds', upper=0.01, statistic=<Statistic.P99: 'p99'>),)
    """
    limits: list[Limit] = []
    for word in words:
        limit = _parse(word)
        if any((one.metric, one.statistic) == (limit.metric, limit.statistic) for one in limits):
            raise TunerError(f"limit {word!r}: {limit.metric} is limited twice")
        limits.append(limit)
    errors = [limit.upper for limit in limits if limit.metric == _ERROR]
    return Limits(tuple(limit for limit in limits if limit.metric != _ERROR), errors[0] if errors else None)


def _parse(word: str) -> Limit:
    found = _WORD.fullmatch(word)
    if not found:
        raise TunerError(f"limit {word!r} is not METRIC<NUMBER, such as 'rel_error<1e-2' or 'p99:seconds<0.01'")
    statistic = found["statistic"] or Statistic.MEDIAN.value
    if statistic not in list(Statistic):
        raise TunerError(f"limit {word!r}: {statistic!r} is no statistic; choose one of {', '.join(Statistic)}")
    try:
        upper = float(found["upper"])
    except ValueError:
        upper = math.nan
    if not math.isfinite(upper):
        raise TunerError(f"limit {word!r}: {found['upper']!r} is not a finite number")
    if found["metric"] == _ERROR and (found["statistic"] or not 0 < upper < 1):
        raise TunerError(f"limit {word!r}: rel_error is one number of a check; write rel_error<NUMBER, between 0 and 1")
    return Limit(found["metric"], upper, Statistic(statistic))
