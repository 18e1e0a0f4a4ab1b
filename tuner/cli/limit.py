"""Limits on the command line and in specifications: what belongs to the objective, and what to the workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner.errors import TunerError
from tuner.objective import Limit, Objective, Statistic
from tuner.phrase import limit_text, parse_limit, refuse_repeated
from tuner.tunable import load
from tuner.types import Task, Workload

__all__ = ["Limits", "parse_limits", "request_limits", "split_error"]

_ERROR = "rel_error"
_OF_REQUESTS = ("ttft_seconds", "tpot_seconds", "e2e_seconds")


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
    """Return the limits that `words` say; see `tuner.phrase.parse_limit`.

    Raises:
        TunerError: a word is not such a limit, or a limit is given twice.

    Example:
        >>> parse_limits(["rel_error<1e-2", "p99:seconds<0.01"]).objective
        (Limit(metric='seconds', upper=0.01, statistic=<Statistic.P99: 'p99'>, lower=None),)
    """
    return _split([parse_limit(word) for word in words])


def split_error(objective: Objective, more: Limits = Limits()) -> tuple[Objective, Limits]:
    """Return `objective` with the limits of `more` added, less the error that is allowed, and that with the limits.

    Raises:
        TunerError: a limit is given twice.
    """
    own = _split([limit for one in (objective, *objective.beside) for limit in one.limits])
    if own.rel_error is not None and more.rel_error is not None:
        raise TunerError("rel_error is limited twice")
    limits = (*own.objective, *more.objective)
    refuse_repeated(limits)
    rel_error = own.rel_error if more.rel_error is None else more.rel_error
    beside = tuple(replace(other, limits=()) for other in objective.beside)
    return replace(objective, limits=limits, beside=beside), Limits(limits, rel_error)


def request_limits(objective: Objective) -> dict[str, float]:
    """Return the limits on single requests as fields of an engine's workload: they decide which count as good.

    Goodput counts requests that keep them, so that they have to be known where it is measured.

    Example:
        >>> from tuner.phrase import parse_objective
        >>> request_limits(parse_objective("maximize goodput where ttft_p99<0.5, error_rate<0.1"))
        {'ttft_limit_seconds': 0.5}
    """
    if all(one.metric != "goodput_per_second" for one in objective.every):
        return {}
    fields: dict[str, float] = {}
    for limit in objective.every[0].limits:
        if limit.metric in _OF_REQUESTS and limit.upper is not None:
            name = f"{limit.metric.removesuffix('_seconds')}_limit_seconds"
            fields[name] = min(limit.upper, fields.get(name, limit.upper))
    return fields


def _split(limits: Sequence[Limit]) -> Limits:
    """Return `limits` with the error that is allowed apart."""
    refuse_repeated(limits)
    errors = [limit for limit in limits if limit.metric == _ERROR]
    for limit in errors:
        if limit.statistic is not Statistic.MEDIAN or limit.upper is None or not 0 < limit.upper < 1:
            raise TunerError(
                f"limit {limit_text(limit)!r}: rel_error is one number of a check; write rel_error<NUMBER, "
                "between 0 and 1"
            )
    kept = tuple(limit for limit in limits if limit.metric != _ERROR)
    return Limits(kept, errors[0].upper if errors else None)
