"""What a store knows of tasks like the one to be tuned: the sources from which agents learn before the first trial."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from tuner.agents import Source
from tuner.db import Store
from tuner.nearby import distance
from tuner.search_spaces import SearchSpace
from tuner.types import Task, Trial

__all__ = ["prior_text", "related"]

# More sources than these cost time and say little more.
_MOST_SOURCES = 8
# A kernel of another name is related if it has at least so many of the parameters that vary, and this share of them.
_FEWEST_SHARED, _SHARE = 3, 0.5


def related(store: Store, task: Task, space: SearchSpace, *, without: str = "") -> list[Source]:
    """Return what `store` knows of related tasks, the nearest first; at most eight, each with all of its trials.

    Nearest is the task itself, in earlier campaigns; then the same kernel and workload on other devices, its other
    workloads on this device, its other workloads elsewhere, and kernels of other names that have most of its
    parameters. Versions and environments may differ: agents find out whether it helps.

    Args:
        store: Where to look.
        task: What is to be tuned.
        space: Its configs.
        without: A campaign to leave out: the one that is running.

    Raises:
        StoreError: the store cannot be read.
    """
    found: dict[str, tuple[tuple[float, float], Task, list[str]]] = {}
    for record in store.campaigns():
        if record.id == without or not record.trials:
            continue
        for other in store.tasks(record.id):
            if other.device.kind != task.device.kind:
                continue
            rank, _, campaigns = found.setdefault(other.key, (_rank(task, other), other, []))
            if math.isfinite(rank[0]):
                campaigns.append(record.id)
    varied = {parameter.name for parameter in space.parameters if len(parameter.values) > 1}
    sources: list[Source] = []
    for _, other, campaigns in sorted(found.values(), key=lambda one: one[0]):
        trials = [trial for campaign in campaigns for trial in store.trials(campaign, other)]
        if trials and (other.tunable == task.tunable or _shares(varied, trials)):
            sources.append(Source(other, tuple(trials)))
        if len(sources) == _MOST_SOURCES:
            break
    return sources


def prior_text(task: Task, sources: Sequence[Source]) -> str:
    """Return in words where a prior comes from, such as `prior from 3 devices, 612 trials`; empty without one.

    Example:
        >>> from tuner.types import Config, Device, Measurement, Status, Workload
        >>> def task_on(name: str, **fields: int) -> Task:
        ...     return Task("cpp:softmax", "1", Workload(fields), Device("cpu", name, "x86_64", 1, 0))
        >>> trial = Trial(Config(), Measurement(Status.COMPILE, error="asked to fail"))
        >>> sources = [Source(task_on("a", M=1), (trial, trial)), Source(task_on("b", M=1), (trial,))]
        >>> prior_text(task_on("c", M=1), sources)
        'prior from 2 devices, 3 trials'
        >>> prior_text(task_on("a", M=2), sources)
        'prior from 2 devices, 1 workload, 3 trials'
    """
    if not sources:
        return ""
    parts = [_count("device", {source.task.device.fingerprint for source in sources})]
    if other := {source.task.workload for source in sources} - {task.workload}:
        parts.append(_count("workload", other))
    if kernels := {source.task.tunable for source in sources} - {task.tunable}:
        parts.append(_count("other kernel", kernels))
    return f"prior from {', '.join(parts)}, {sum(len(source.trials) for source in sources)} trials"


def _rank(task: Task, other: Task) -> tuple[float, float]:
    """Return how near another task is: its tier, and how far its workload is; an infinite tier is no relation."""
    same_device = other.device.fingerprint == task.device.fingerprint
    if other.tunable != task.tunable:
        return (4.0, 0.0)
    away = distance(other.workload, task.workload)
    if away == 0:
        return (0.0 if same_device else 1.0, 0.0)
    if not math.isfinite(away):
        # Another dtype, say: as a kernel of another name.
        return (4.0, 0.0)
    return (2.0 if same_device else 3.0, away)


def _shares(varied: set[str], trials: Iterable[Trial]) -> bool:
    """Return whether the trials' configs have enough of the parameters that vary."""
    names = set(next(iter(trials)).config)
    shared = len(varied & names)
    return shared >= _FEWEST_SHARED and shared >= _SHARE * len(varied)


def _count(noun: str, things: Collection[object]) -> str:
    return f"{len(things)} {noun}{'s' if len(things) > 1 else ''}"
