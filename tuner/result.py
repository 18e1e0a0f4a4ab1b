"""What a campaign tells: its progress while it runs, and its result for each task."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from tuner.comparison import Comparison
from tuner.finals import Verdict
from tuner.nearby import NEARBY
from tuner.objective import Objective
from tuner.plan import Budget
from tuner.runners import Activity
from tuner.schedule import LOOK_AHEAD, Curve, Prospect, Stop, Turn
from tuner.statistics import median
from tuner.text import config_text
from tuner.types import Config, Status, Task, Trial, Winner

__all__ = ["Progress", "Result", "Stage"]


class Stage(StrEnum):
    """What a campaign does with a task."""

    SEARCH = "search"
    FINALS = "finals"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a campaign is, for people who watch.

    Attributes:
        task: The task that is being searched.
        stage: What is being done with it.
        trials: Finished trials of this task.
        budget: When the search ends.
        seconds: Time since the campaign's search began.
        best: Best score so far; relative to the default where measurements are paired. Infinite at first.
        failures: Failed trials by status.
        activity: What the runner has been doing since the campaign began.
        resumed: How many of the campaign's trials an earlier run of it measured.
        tasks: Number of the campaign's tasks.
        all_trials: Finished trials of all tasks.
        turn: Why this task had its turn; None in the finals.
    """

    task: Task
    stage: Stage
    trials: int
    budget: Budget
    seconds: float
    best: float
    failures: Mapping[Status, int]
    activity: Activity
    resumed: int = 0
    tasks: int = 1
    all_trials: int = 0
    turn: Turn | None = None

    @property
    def budget_trials(self) -> int:
        """Trials that the campaign may take in all."""
        return self.budget.trials * self.tasks

    @property
    def seconds_left(self) -> float | None:
        """An estimate of the longest that the search still takes; None before the first trial."""
        done = self.all_trials - self.resumed
        by_trials = self.seconds / done * (self.budget_trials - self.all_trials) if done else None
        if self.budget.seconds is None:
            return by_trials
        by_time = max(0.0, self.budget.seconds * self.tasks - self.seconds)
        return by_time if by_trials is None else min(by_trials, by_time)


@dataclass(frozen=True, slots=True)
class Result:
    """How a campaign ended for one task.

    Attributes:
        task: The task.
        trials: Number of its trials.
        statuses: Trials by status.
        default_seconds: Median time of the default config, in the final where there was one; None where no times were
            measured.
        best_seconds: Median time of the config that played the final, or the search's estimate without one.
        metric: What was optimised.
        default_value: That of the default, in its own unit: `default_seconds` where that is the metric.
        best_value: That of the config that played the final, or the search's estimate without one.
        speedup: How many times better than the default, as the final measured it in pairs; None without a final.
        speedup_interval: Its confidence interval; None without a final, or after too few pairs to have one.
        promoted: Whether the interval cleared the threshold.
        config: What to use: the winner if promoted, otherwise the default; the best so far if interrupted.
        interrupted: Whether it was stopped before the final.
        device_seconds: Time that measuring took.
        build_seconds: Time that building took, summed over builders.
        saved_device_seconds: What the trials that were pruned before the device would have taken of it, had they been
            measured as long as the others.
        wall_seconds: Wall time; that of a search beside others is shared out by whose trials came.
        use: How often the task is called in production, relative to the campaign's others.
        starts: How many of its trials were the best configs of nearby workloads.
        gain: Share of the default's time that the search's best saves, as the search alone saw it.
        expected_gain: Share of its time that ten more trials are expected to save.
        stopped: Why its search ended; None where an earlier version of tuner did not say.
        rejected: Configs that the search held for the best and the finals put out, each with the reason.
        beside: With several objectives, how the config that played the final compares with the default in each.
        winner: The stored winner; a candidate where its config was quarantined meanwhile. None if the default is kept.
    """

    task: Task
    trials: int
    statuses: Mapping[str, int]
    config: Config
    default_seconds: float | None = None
    best_seconds: float | None = None
    metric: str = "seconds"
    default_value: float | None = None
    best_value: float | None = None
    speedup: float | None = None
    speedup_interval: tuple[float, float] | None = None
    promoted: bool = False
    interrupted: bool = False
    device_seconds: float = 0.0
    build_seconds: float = 0.0
    saved_device_seconds: float = 0.0
    wall_seconds: float = 0.0
    use: float = 1.0
    starts: int = 0
    gain: float = 0.0
    expected_gain: float = 0.0
    stopped: Stop | None = None
    rejected: tuple[str, ...] = ()
    beside: tuple[Comparison, ...] = ()
    winner: Winner | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.metric == "seconds":
            object.__setattr__(self, "default_value", self.default_seconds)
            object.__setattr__(self, "best_value", self.best_seconds)

    @classmethod
    def of(
        cls,
        task: Task,
        default: Config,
        trials: Sequence[Trial],
        verdict: Verdict | None,
        objective: Objective,
        *,
        use: float = 1.0,
    ) -> Result:
        """Return what a task's trials and finals say; without finals, the search's best so far."""
        curve = Curve(objective)
        for trial in trials:
            curve.add(trial)
        result = cls(
            task=task,
            trials=len(trials),
            statuses=Counter(str(trial.measurement.status) for trial in trials),
            config=default,
            interrupted=verdict is None,
            saved_device_seconds=_saved(trials),
            use=use,
            starts=sum(NEARBY in trial.measurement.resources for trial in trials),
            gain=curve.gain,
            expected_gain=Prospect(curve, len(trials)).expected(LOOK_AHEAD),
            rejected=tuple(f"{config_text(config)}: {why}" for config, why in verdict.rejected.items())
            if verdict
            else (),
            beside=verdict.beside if verdict else (),
            metric=objective.metric,
        )
        if verdict and verdict.evidence and verdict.config:
            evidence = verdict.evidence
            return replace(
                result,
                default_seconds=evidence.default_seconds or None,
                best_seconds=evidence.config_seconds or None,
                metric=evidence.metric,
                default_value=evidence.default_value,
                best_value=evidence.config_value,
                speedup=evidence.speedup,
                speedup_interval=evidence.interval if math.isfinite(evidence.interval[1]) else None,
                promoted=verdict.promoted,
                config=verdict.config if verdict.promoted else default,
            )
        return _estimate(result, default, trials, objective)

    @property
    def default_fails(self) -> bool:
        """Whether there was nothing to measure against, so that nothing was tuned."""
        return self.stopped is Stop.DEFAULT

    def refused(self, default: Config, why: str) -> Result:
        """Return this result of a config that was proven and that the store did not promote."""
        rejected = (*self.rejected, f"{config_text(self.config)}: {why}")
        return replace(self, promoted=False, config=default, rejected=rejected)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the task is given by its name and workload."""
        data = {name: getattr(self, name) for name in _RESULT_FIELDS}
        interval = self.speedup_interval
        return {
            **data,
            "statuses": dict(self.statuses),
            "speedup_interval": list(interval) if interval else None,
            "config": dict(self.config),
            "rejected": list(self.rejected),
            "beside": [one.to_json() for one in self.beside],
        }

    @classmethod
    def from_json(cls, task: Task, data: Mapping[str, Any]) -> Result:
        """Read back what `to_json` wrote."""
        interval = data["speedup_interval"]
        return cls(
            task=task,
            **{
                **{name: data[name] for name in _RESULT_FIELDS if name in data},
                "speedup_interval": tuple(interval) if interval else None,
                "config": Config(data["config"]),
                "stopped": Stop(data["stopped"]) if data.get("stopped") else None,
                "rejected": tuple(data.get("rejected", ())),
                "beside": tuple(map(Comparison.from_json, data.get("beside", ()))),
            },
        )


def _saved(trials: Sequence[Trial]) -> float:
    """Return how many trials were pruned, times what measuring one takes."""
    pruned = sum(trial.measurement.status is Status.CONSTRAINTS for trial in trials)
    seconds = [one.measurement.measure_seconds for one in trials if one.measurement.status is Status.CORRECT]
    return pruned * median(seconds) if pruned and seconds else 0.0


def _estimate(result: Result, default: Config, trials: Sequence[Trial], objective: Objective) -> Result:
    """Return `result` with what the search alone says: values, but no speed-up, which only a final measures."""
    scores = {trial.number: objective.score(trial) for trial in trials}
    correct = [trial for trial in trials if math.isfinite(scores[trial.number])]
    if not correct:
        return result
    best = min(correct, key=lambda trial: scores[trial.number])
    first = next((trial for trial in correct if trial.config == default), None)
    return replace(
        result,
        default_seconds=_seconds(first) if first else None,
        best_seconds=_seconds(best),
        default_value=objective.value(first.measurement) if first else None,
        best_value=objective.value(best.measurement),
        config=best.config if result.interrupted else default,
    )


def _seconds(trial: Trial) -> float | None:
    """Return the median time of a call, where there are times."""
    seconds = trial.measurement.samples.get("seconds")
    return median(seconds) if seconds else None


_RESULT_FIELDS = (
    "trials",
    "statuses",
    "default_seconds",
    "best_seconds",
    "metric",
    "default_value",
    "best_value",
    "speedup",
    "speedup_interval",
    "promoted",
    "config",
    "interrupted",
    "device_seconds",
    "build_seconds",
    "saved_device_seconds",
    "wall_seconds",
    "use",
    "starts",
    "gain",
    "expected_gain",
    "stopped",
    "rejected",
)
