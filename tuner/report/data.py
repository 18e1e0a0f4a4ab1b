"""What a report says, as frozen values: gathered from the store, before anything is drawn or written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tuner.db import CampaignRecord, CampaignState, Store
from tuner.front import front_of
from tuner.objective import Objective
from tuner.plan import Plan
from tuner.result import Result
from tuner.roofline import Bound, least_seconds
from tuner.schedule import Schedule
from tuner.types import Config, Evidence, Measurement, Scalar, Status, Task, Trial, Work

__all__ = [
    "LIMIT",
    "Failure",
    "Final",
    "Importance",
    "Outcome",
    "Parameter",
    "Report",
    "Roof",
    "Share",
    "TaskReport",
    "gather",
    "mark_of",
]

LIMIT = "limit"
"""How a report marks a trial that was correct and broke one of the objective's limits."""

_FEWEST_ALIKE = 3


class Outcome(StrEnum):
    """How far a task is, and how it ended."""

    PROMOTED = "promoted"
    DEFAULT_KEPT = "default kept"
    UNPROVEN = "nothing to prove"
    UNDECIDED = "too few pairs"
    INTERRUPTED = "interrupted"
    RUNNING = "running"
    WAITING = "not begun"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as the trials know it: its name, and every value that was tried, in order."""

    name: str
    values: tuple[Scalar, ...]

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers, so that there is a smallest and a largest."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)


@dataclass(frozen=True, slots=True)
class Share:
    """How important a parameter is.

    Attributes:
        parameter: Its name.
        value: The share of the variance of the log-times that it takes part in, interactions included.
        spread: Standard deviation of `value` over the folds.
    """

    parameter: str
    value: float
    spread: float


@dataclass(frozen=True, slots=True)
class Importance:
    """Which parameters decide the time.

    Attributes:
        shares: The parameters, the most important first.
        explained: The share of the variance that is predicted with all of them, on trials held out.
        caution: Why not to trust this; empty where there is no reason.
    """

    shares: tuple[Share, ...] = ()
    explained: float = 0.0
    caution: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """The trials that ended with one status.

    Attributes:
        mark: The status, or `LIMIT`.
        count: How many.
        first: Number of the first.
        config: Its config.
        error: Its error.
        suspects: Values of which every trial failed so, with their numbers of trials, the most first.
    """

    mark: str
    count: int
    first: int
    config: Config
    error: str
    suspects: tuple[tuple[str, Scalar, int], ...]


@dataclass(frozen=True, slots=True)
class Final:
    """The final of a task.

    Attributes:
        config: What was compared with the default.
        default: The default; None where it is not known.
        speedup: As proven.
        interval: Its confidence interval.
        default_value: The metric of the default, in its own unit.
        config_value: That of the config.
        evidence: All of it, with the pairs; None where an older version did not keep it.
        estimate: The search's own speed-up of the config.
    """

    config: Config | None
    default: Config | None
    speedup: float
    interval: tuple[float, float]
    default_value: float | None
    config_value: float | None
    evidence: Evidence | None
    estimate: float | None

    @property
    def ratios(self) -> tuple[float, ...]:
        """The speed-up in each pair, in order."""
        if self.evidence is None:
            return ()
        told = self.evidence.objective
        objective = Objective.from_json(told) if told else Objective()
        logs = objective.gains(Measurement(Status.CORRECT, self.evidence.samples, resources=self.evidence.resources))
        return tuple(math.exp(log) for log in logs)


@dataclass(frozen=True, slots=True)
class Roof:
    """What a call does beside what the device can do.

    Attributes:
        work: The flops and bytes of one call.
        flops_per_second: The device's peak.
        bytes_per_second: Its peak bandwidths by level of memory, the nearest first.
        level: The level that the call's data come from.
    """

    work: Work
    flops_per_second: float
    bytes_per_second: Mapping[str, float]
    level: str

    @property
    def attainable_seconds(self) -> float:
        """The shortest time that the peaks allow."""
        return self._least[0]

    @property
    def bound(self) -> Bound:
        """What that time is spent on."""
        return self._least[1]

    @property
    def _least(self) -> tuple[float, Bound]:
        return least_seconds(self.work, self.flops_per_second, self.bytes_per_second[self.level])


@dataclass(frozen=True, slots=True)
class TaskReport:
    """One task of a campaign.

    Attributes:
        task: The task.
        outcome: How it ended.
        trials: Its trials in the order of their numbers.
        scores: Their scores; infinite where a trial is unusable.
        paired: Whether scores are relative to the default; otherwise they are the metric, or its reciprocal.
        parameters: What was tried of each parameter.
        default: The default config; None before the first trial.
        best: The trial with the best score; None without a usable one.
        final: The final; None where there was none, or it had too few pairs to tell.
        result: What the campaign kept of its end; None before that.
        failures: What failed, the most frequent first.
        roof: The device's peaks beside the kernel's work, where both are known.
        objective: What was optimised.
        front: Of several objectives, the trials that no other beats in all of them.
    """

    task: Task
    outcome: Outcome
    trials: tuple[Trial, ...]
    scores: tuple[float, ...]
    paired: bool
    parameters: tuple[Parameter, ...]
    default: Config | None
    best: Trial | None
    final: Final | None
    result: Result | None
    failures: tuple[Failure, ...]
    roof: Roof | None = None
    objective: Objective = Objective()
    front: tuple[Trial, ...] = ()

    @property
    def timed(self) -> bool:
        """Whether it is about the time of a call, which is what most words about scores say."""
        return self.objective.metric == "seconds"

    @property
    def usable(self) -> list[tuple[Trial, float]]:
        """The trials that have a score, with it."""
        return [(t, score) for t, score in zip(self.trials, self.scores, strict=True) if math.isfinite(score)]

    @property
    def logs(self) -> list[float]:
        """The logarithms of the usable trials' scores."""
        return [math.log(score) for _, score in self.usable]

    @property
    def config(self) -> Config | None:
        """The config that a reader looks for: the one that played the final, else the best of the search."""
        if self.final and self.final.config:
            return self.final.config
        return self.best.config if self.best else None


@dataclass(frozen=True, slots=True)
class Report:
    """A campaign with its tasks."""

    campaign: CampaignRecord
    plan: Plan
    tasks: tuple[TaskReport, ...] = field(default=())

    @property
    def shared(self) -> bool:
        """Whether its tasks shared the trials, so that each had its own number of them."""
        return self.plan.schedule is Schedule.GAIN and len(self.tasks) > 1


def gather(store: Store, campaign: str, *, roofs: Mapping[str, Roof] | None = None) -> Report:
    """Return what the store knows of a campaign, finished or not.

    Args:
        store: Where it is kept.
        campaign: Its identifier, or an unambiguous beginning.
        roofs: The peaks beside the work of its tasks, by task key.

    Raises:
        StoreError: there is no such campaign, or more than one.
    """
    record = store.campaign(campaign)
    plan = Plan.from_json(record.spec)
    outcomes = store.outcomes(record.id)
    tasks = []
    for task in store.tasks(record.id):
        winner = next(
            (
                winner
                for winner in store.winners(tunable=task.tunable, state=None)
                if winner.campaign == record.id and winner.task.key == task.key
            ),
            None,
        )
        kept = outcomes.get(task.key)
        proof = (winner.config, winner.evidence) if winner else _kept_proof(kept)
        roof = (roofs or {}).get(task.key)
        tasks.append(_task(record, plan, task, store.trials(record.id, task), kept, proof, roof))
    return Report(record, plan, tuple(tasks))


def mark_of(trial: Trial, score: float) -> str:
    """Return how `trial` is marked: its status, or `LIMIT` where it was correct and may not be used all the same."""
    status = trial.measurement.status
    return LIMIT if status is Status.CORRECT and not math.isfinite(score) else status.value


def _kept_proof(outcome: Mapping[str, Any] | None) -> tuple[Config, Evidence] | None:
    """Return what played the final and lost, with its evidence; older versions did not keep it."""
    final = outcome.get("final") if outcome else None
    return (Config(final["config"]), Evidence.from_json(final["evidence"])) if final else None


def _task(
    record: CampaignRecord,
    plan: Plan,
    task: Task,
    trials: Sequence[Trial],
    kept: Mapping[str, Any] | None,
    proof: tuple[Config, Evidence] | None,
    roof: Roof | None,
) -> TaskReport:
    scores = tuple(plan.objective.score(trial) for trial in trials)
    usable = [(score, trial.number, trial) for trial, score in zip(trials, scores, strict=True) if math.isfinite(score)]
    # A campaign proposes the default first.
    default = proof[1].default if proof else (trials[0].config if trials else None)
    result = Result.from_json(task, kept) if kept else None
    by_config = {trial.config: score for score, _, trial in usable}
    final = _final(result, proof, default, by_config)
    return TaskReport(
        task=task,
        outcome=_outcome(record, result, final, trials),
        trials=tuple(trials),
        scores=scores,
        objective=plan.objective,
        front=tuple(front_of(trials, plan.objective)) if plan.objective.beside else (),
        paired=all(plan.objective.is_paired(trial.measurement) for _, _, trial in usable),
        parameters=_parameters(trials),
        default=default,
        best=min(usable)[2] if usable else None,
        final=final,
        result=result,
        failures=_failures(trials, scores),
        roof=roof,
    )


def _final(
    result: Result | None,
    proof: tuple[Config, Evidence] | None,
    default: Config | None,
    scores: Mapping[Config, float],
) -> Final | None:
    # An infinite interval is that of too few pairs: there is nothing to draw.
    if proof and math.isfinite(proof[1].interval[1]):
        config, evidence = proof
        score = scores.get(config)
        return Final(
            config=config,
            default=evidence.default,
            speedup=evidence.speedup,
            interval=evidence.interval,
            default_value=evidence.default_value,
            config_value=evidence.config_value,
            evidence=evidence,
            estimate=evidence.estimate or (1 / score if score else None),
        )
    if result is None or result.speedup is None or result.speedup_interval is None:
        return None
    return Final(
        config=result.config if result.promoted else None,
        default=default,
        speedup=result.speedup,
        interval=result.speedup_interval,
        default_value=result.default_value,
        config_value=result.best_value,
        evidence=None,
        estimate=1 / scores[result.config] if result.promoted and result.config in scores else None,
    )


def _outcome(record: CampaignRecord, result: Result | None, final: Final | None, trials: Sequence[Trial]) -> Outcome:
    if result is not None and not result.interrupted:
        if result.promoted:
            return Outcome.PROMOTED
        if final:
            return Outcome.DEFAULT_KEPT
        return Outcome.UNPROVEN if result.speedup is None else Outcome.UNDECIDED
    if record.state is CampaignState.RUNNING:
        return Outcome.RUNNING if trials else Outcome.WAITING
    return Outcome.INTERRUPTED if trials else Outcome.WAITING


def _parameters(trials: Sequence[Trial]) -> tuple[Parameter, ...]:
    """Return each parameter with the values that were tried: numbers by size, then words by the alphabet."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.config))
    return tuple(
        Parameter(
            name,
            tuple(
                sorted(
                    # Not a plain set: 1, True and 1.0 are three values.
                    {(type(v), v): v for trial in trials if (v := trial.config.get(name)) is not None}.values(),
                    key=lambda value: (isinstance(value, str), value),
                )
            ),
        )
        for name in names
    )


def _failures(trials: Sequence[Trial], scores: Sequence[float]) -> tuple[Failure, ...]:
    marks = [mark_of(trial, score) for trial, score in zip(trials, scores, strict=True)]
    tried: Counter[tuple[str, type, Scalar]] = Counter(
        (name, type(value), value) for trial in trials for name, value in trial.config.items()
    )
    failures = []
    for mark, count in Counter(marks).most_common():
        if mark == Status.CORRECT:
            continue
        failed = [trial for trial, one in zip(trials, marks, strict=True) if one == mark]
        seen: Counter[tuple[str, type, Scalar]] = Counter(
            (name, type(value), value) for trial in failed for name, value in trial.config.items()
        )
        suspects = tuple(
            (name, value, times)
            for (name, kind, value), times in seen.most_common()
            # A value that all trials share explains nothing.
            if _FEWEST_ALIKE <= times == tried[name, kind, value] < len(trials)
        )
        first = failed[0]
        failures.append(Failure(mark, count, first.number, first.config, first.measurement.error, suspects))
    return tuple(failures)
