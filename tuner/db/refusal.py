"""What every store says when it refuses a call, so that all of them say the same."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.errors import StoreError
from tuner.types import Task

__all__ = [
    "ambiguous_campaign",
    "number_taken",
    "require_different",
    "unknown_campaign",
    "unknown_task",
    "unknown_winner",
    "wrong_task",
]


def unknown_campaign(campaign: str) -> StoreError:
    """Return the error for a campaign that the store does not hold."""
    return StoreError(f"the store has no campaign {campaign!r}; choose one that it lists")


def ambiguous_campaign(beginning: str, matches: Sequence[str]) -> StoreError:
    """Return the error for a beginning that several campaigns share."""
    return StoreError(f"campaign {beginning!r} is ambiguous: {', '.join(matches)}; give more digits")


def unknown_task(campaign: str, task: Task) -> StoreError:
    """Return the error for a task that is not one of the campaign's."""
    return StoreError(
        f"campaign {campaign} has no task {task.key} ({task.tunable} at version {task.version}, "
        f"{dict(task.workload)}, on {task.device.name}); its tasks are fixed when it is created"
    )


def require_different(tasks: Sequence[Task]) -> None:
    """Raise `StoreError` if a new campaign names a task twice."""
    seen: set[str] = set()
    for task in tasks:
        if task.key in seen:
            raise StoreError(
                f"task {task.key} ({task.tunable}, {dict(task.workload)}) is given twice; give each task once"
            )
        seen.add(task.key)


def number_taken(campaign: str, task: Task, number: int) -> StoreError:
    """Return the error for a trial whose number its campaign and task already has."""
    return StoreError(f"campaign {campaign} already has trial {number} of task {task.key}; number trials once each")


def wrong_task(task: Task, winner: Task) -> StoreError:
    """Return the error for a winner that was found on another task than the one that is finished."""
    return StoreError(f"the winner was found on task {winner.key}, not on the finished task {task.key}")


def unknown_winner(winner: int) -> StoreError:
    """Return the error for a winner that the store does not hold."""
    return StoreError(f"the store has no winner {winner}; choose one that it lists")
