"""Results that another program measured, all of them, as a finished campaign: what others can learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner.db import Store
from tuner.db.exchange import Origin, Reading
from tuner.plan import Budget, Plan
from tuner.types import Task, Trial

__all__ = ["IMPORTED", "Intake", "take_in"]

IMPORTED = "imported"
"""What stands in place of an agent's name: nobody here proposed these configs."""


@dataclass(frozen=True, slots=True)
class Intake:
    """What became of a file's results.

    Attributes:
        campaign: The campaign that holds them.
        is_new: Whether it was added; if not, the store had these results already.
    """

    campaign: str
    is_new: bool


def take_in(store: Store, reading: Reading) -> Intake | None:
    """Keep all results of a file as a finished campaign, in one transaction; None where the file has none.

    The campaign's spec says under `origin` whose they are. Related campaigns of `auto` start from them, as from the
    store's own, and `tuner report` shows them; nothing of them is a winner. Results that the store has, imported or
    measured here, are not kept twice.

    Raises:
        StoreError: the store cannot be read or written.

    Example:
        >>> from tuner.db import MemoryStore
        >>> take_in(MemoryStore(), Reading()) is None
        True
    """
    if reading.task is None or reading.origin is None or not reading.trials:
        return None
    trials = [replace(trial, number=number, campaign="") for number, trial in enumerate(reading.trials)]
    known = _holder(store, reading.task, trials)
    if known is not None:
        return Intake(known, is_new=False)
    plan = Plan(agent=IMPORTED, budget=Budget(len(trials)), prior=False)
    spec = {**plan.to_json(), "origin": _origin_json(reading.origin)}
    return Intake(store.add_finished_campaign(spec, reading.task, trials), is_new=True)


def _holder(store: Store, task: Task, trials: Sequence[Trial]) -> str | None:
    """Return the campaign that holds the same results of the same task, None if none does."""
    wanted = _results(trials)
    for record in store.campaigns():
        if record.trials >= len(trials) and any(one.key == task.key for one in store.tasks(record.id)):
            held = store.trials(record.id, task)
            if len(held) == len(trials) and _results(held) == wanted:
                return record.id
    return None


def _results(trials: Sequence[Trial]) -> list[tuple[str, str, float]]:
    """Return what tells results apart: of the times five digits, of the six that files have."""
    return sorted(
        (trial.config.key, trial.measurement.status.value, float(f"{sum(times):.5g}"))
        for trial in trials
        for times in [trial.measurement.samples.get("seconds", ())]
    )


def _origin_json(origin: Origin) -> dict[str, str]:
    return {"program": origin.program, "file": origin.file, "digest": origin.digest}
