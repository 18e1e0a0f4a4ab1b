"""The time of tasks that are searched side by side: how long each may go on, and what each has taken."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tuner.plan import Plan
from tuner.runners import Runner
from tuner.schedule import Schedule

__all__ = ["Deadline", "Meter", "Spent"]


class Deadline:
    """Says for how long a task may still propose."""

    def __init__(self, plan: Plan, tasks: int) -> None:
        self._shared = plan.schedule is Schedule.GAIN
        self._seconds = plan.budget.seconds
        self._tasks = tasks
        self._began = time.monotonic()
        self._starts: dict[int, float] = {}

    def start(self, position: int) -> None:
        """Say that a task proposes; its own time counts from the first."""
        self._starts.setdefault(position, time.monotonic())

    def allows(self, position: int) -> bool:
        """Return whether the task's time is not over."""
        if self._seconds is None:
            return True
        now = time.monotonic()
        if self._shared:
            return now - self._began < self._seconds * self._tasks
        return now - self._starts.get(position, now) < self._seconds


@dataclass(frozen=True, slots=True)
class Spent:
    """Time that a task took: on the wall, on the device, and of all builders together."""

    wall_seconds: float = 0.0
    device_seconds: float = 0.0
    build_seconds: float = 0.0


class Meter:
    """Shares out the time that passes, and the runner's, among tasks that are searched side by side.

    What has passed since the last trial was told belongs to the task of the next that is told.
    """

    def __init__(self, runner: Runner, tasks: int) -> None:
        self._runner = runner
        self._began = time.monotonic()
        self._last = self._now()
        self._spent = [Spent()] * tasks

    @property
    def seconds(self) -> float:
        """Time since the searches began."""
        return time.monotonic() - self._began

    def charge(self, position: int) -> Spent:
        """Charge a task with what has passed since the last charge, and return all that it was charged with."""
        now, last, spent = self._now(), self._last, self._spent[position]
        self._last = now
        self._spent[position] = Spent(
            spent.wall_seconds + now.wall_seconds - last.wall_seconds,
            spent.device_seconds + now.device_seconds - last.device_seconds,
            spent.build_seconds + now.build_seconds - last.build_seconds,
        )
        return self._spent[position]

    def _now(self) -> Spent:
        activity = self._runner.activity
        return Spent(time.monotonic(), activity.device_seconds, activity.build_seconds)
