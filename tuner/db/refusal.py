"""What every store says when it refuses a call, so that all of them say the same."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.errors import StoreError
from tuner.types import State, Task, Trial, Winner

__all__ = [
    "ambiguous_campaign",
    "not_promoted",
    "nothing_before",
    "number_taken",
    "quarantined",
    "require_candidate",
    "require_different",
    "require_numbered",
    "require_reason",
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


def require_numbered(task: Task, trials: Sequence[Trial]) -> None:
    """Raise `StoreError` if two of the trials of a task have one number."""
    seen: set[int] = set()
    for trial in trials:
        if trial.number in seen:
            raise StoreError(f"two trials of task {task.key} have the number {trial.number}; number trials once each")
        seen.add(trial.number)


def number_taken(campaign: str, task: Task, number: int) -> StoreError:
    """Return the error for a trial whose number its campaign and task already has."""
    return StoreError(f"campaign {campaign} already has trial {number} of task {task.key}; number trials once each")


def wrong_task(task: Task, winner: Task) -> StoreError:
    """Return the error for a winner that was found on another task than the one that is finished."""
    return StoreError(f"the winner was found on task {winner.key}, not on the finished task {task.key}")


def unknown_winner(winner: int) -> StoreError:
    """Return the error for a winner that the store does not hold."""
    return StoreError(f"the store has no winner {winner}; choose one that it lists")


def require_reason(why: str) -> None:
    """Raise `StoreError` if there is no reason for what takes a winner away from those who use it."""
    if not why.strip():
        raise StoreError("no reason is given; say why, for those who read the winner's history")


def require_candidate(winner: Winner) -> None:
    """Raise `StoreError` if a winner that no campaign found is more than a candidate."""
    if winner.state is not State.CANDIDATE or winner.campaign:
        raise StoreError(
            f"a winner that is {winner.state} and of campaign {winner.campaign!r} cannot be added: "
            "add a candidate of no campaign, and promote it then"
        )


def quarantined(winner: int, by: int, why: str) -> StoreError:
    """Return the error for promoting what is quarantined."""
    who = "it is" if winner == by else f"its config is that of winner {by}, which is"
    return StoreError(
        f"winner {winner} is not promoted: {who} quarantined ({why}); "
        "promote it despite the quarantine, if that is over"
    )


def not_promoted(winner: int, state: State, promoted: int | None) -> StoreError:
    """Return the error for rolling back what is not served."""
    instead = f"winner {promoted} is promoted for its task" if promoted else "none is promoted for its task"
    return StoreError(f"winner {winner} cannot be rolled back: it is {state}, not promoted, and {instead}")


def nothing_before(winner: int) -> StoreError:
    """Return the error for rolling back the first."""
    return StoreError(
        f"winner {winner} cannot be rolled back: none was promoted before it that is not quarantined; "
        "quarantine it, and the kernel's default is served"
    )
