"""What a campaign tells: its progress while it runs, and its result for each task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tuner.plan import Budget
from tuner.runners import Activity
from tuner.types import Config, Status, Task, Winner

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
        budget: When its search ends.
        seconds: Time since its search began.
        best: Best score so far; relative to the default where measurements are paired. Infinite at first.
        failures: Failed trials by status.
        activity: What the runner has been doing since the campaign began.
        resumed: How many of the trials an earlier run of the campaign measured.
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

    @property
    def seconds_left(self) -> float | None:
        """An estimate of the time that the search still takes; None before the first trial."""
        done = self.trials - self.resumed
        by_trials = self.seconds / done * (self.budget.trials - self.trials) if done else None
        if self.budget.seconds is None:
            return by_trials
        by_time = max(0.0, self.budget.seconds - self.seconds)
        return by_time if by_trials is None else min(by_trials, by_time)


@dataclass(frozen=True, slots=True)
class Result:
    """How a campaign ended for one task.

    Attributes:
        task: The task.
        trials: Number of its trials.
        statuses: Trials by status.
        default_seconds: Median time of the default config, in the final where there was one.
        best_seconds: Median time of the config that played the final, or the search's estimate without one.
        speedup: default / config, as the final measured it in pairs; None without a final.
        speedup_interval: Its confidence interval.
        promoted: Whether the interval cleared the threshold.
        config: What to use: the winner if promoted, otherwise the default; the best so far if interrupted.
        interrupted: Whether it was stopped before the final.
        device_seconds: Time that measuring took.
        build_seconds: Time that building took, summed over builders.
        wall_seconds: Time from start to end.
        winner: The stored winner, if promoted.
    """

    task: Task
    trials: int
    statuses: Mapping[str, int]
    config: Config
    default_seconds: float | None = None
    best_seconds: float | None = None
    speedup: float | None = None
    speedup_interval: tuple[float, float] | None = None
    promoted: bool = False
    interrupted: bool = False
    device_seconds: float = 0.0
    build_seconds: float = 0.0
    wall_seconds: float = 0.0
    winner: Winner | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the task is given by its name and workload."""
        data = {name: getattr(self, name) for name in _RESULT_FIELDS}
        interval = self.speedup_interval
        return {
            **data,
            "statuses": dict(self.statuses),
            "speedup_interval": list(interval) if interval else None,
            "config": dict(self.config),
        }

    @classmethod
    def from_json(cls, task: Task, data: Mapping[str, Any]) -> Result:
        """Read back what `to_json` wrote."""
        interval = data["speedup_interval"]
        return cls(
            task=task,
            **{
                **{name: data[name] for name in _RESULT_FIELDS},
                "speedup_interval": tuple(interval) if interval else None,
                "config": Config(data["config"]),
            },
        )


_RESULT_FIELDS = (
    "trials",
    "statuses",
    "default_seconds",
    "best_seconds",
    "speedup",
    "speedup_interval",
    "promoted",
    "config",
    "interrupted",
    "device_seconds",
    "build_seconds",
    "wall_seconds",
)
