"""What serving code asks: which config to use. It never builds, measures or tunes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tuner.db import Store
from tuner.tunable import load
from tuner.types import Config, Task, Winner

__all__ = ["Choice", "Source", "best"]


class Source(StrEnum):
    """Where a choice comes from."""

    EXACT = "exact"
    EXACT_STALE = "exact-stale"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Choice:
    """The config to use, and why.

    Attributes:
        config: Valid for the workload on the device.
        source: Where it comes from.
        winner: The promoted winner behind it; None for the default.
    """

    config: Config
    source: Source
    winner: Winner | None


def best(store: Store, task: Task) -> Choice:
    """Return the promoted winner for exactly this workload and device, or the tunable's default.

    A winner that was proven under another version of the kernel, compiler or system is stale: it is returned, and the
    source says so, as long as it is still in the kernel's search space.
    """
    tunable = load(task.tunable)
    space = tunable.search_space(task.workload, task.device)
    stale: Winner | None = None
    for winner in store.winners(tunable=task.tunable):
        same_place = winner.task.device.fingerprint == task.device.fingerprint
        if winner.task.workload != task.workload or not same_place or not space.contains(winner.config):
            continue
        if winner.task.version == task.version and _same_environment(winner, task):
            return Choice(winner.config, Source.EXACT, winner)
        stale = stale or winner
    if stale:
        return Choice(stale.config, Source.EXACT_STALE, stale)
    return Choice(tunable.default(task.workload, task.device), Source.DEFAULT, None)


def _same_environment(winner: Winner, task: Task) -> bool:
    """Return whether nothing differs of what is known here; a serving machine may have no compiler to ask."""
    here = task.device.environment
    return all(here.get(name, version) == version for name, version in winner.evidence.environment.items())
