"""What to tune next: winners that are stale, and what serving code asked for and did not find."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tuner.db import Store
from tuner.devices import detect
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.staleness import Change, changes, differences
from tuner.tunable import is_named, load, make_task, resolve
from tuner.types import Device, Miss, Task, Winner, Workload, canonical_json

__all__ = ["Demand", "Present", "missed", "stale", "tuned_together", "uses_of"]


@dataclass(frozen=True, slots=True)
class Demand:
    """One workload that is worth a campaign, or the reason why it gets none here.

    Attributes:
        kernel: The tunable's name or reference.
        workload: The workload.
        device: The model of hardware that it is wanted for.
        asked: How often serving code asked for it and did not find it.
        task: The task to tune now: the kernel as it is, in the environment as it is; None where there is none.
        winner: The promoted winner to start from; None where there is none.
        changes: What has changed since the winner was proven.
        obstacle: Why nothing is to be tuned here; empty if something is.
        miss: The miss that it answers; None for a stale winner.
    """

    kernel: str
    workload: Workload
    device: Device
    asked: int
    task: Task | None = None
    winner: Winner | None = None
    changes: tuple[Change, ...] = ()
    obstacle: str = ""
    miss: Miss | None = None


class Present:
    """How kernels and devices of this machine are now; each is looked at once.

    Args:
        detected: From `cpu:2` or `cuda` to the device; raises `TunerError` if it is not there.
        needs_tools: Whether a kernel whose compiler is not installed cannot be tuned; a list does without.

    Example:
        >>> here = detect("cpu")
        >>> task, obstacle = Present().task("tuner.testing.toys:PARABOLA", Workload(N=3), here)
        >>> task is not None and task.device.fingerprint == here.fingerprint, obstacle
        (True, '')
        >>> Present().task("no.such:KERNEL", Workload(N=3), here)[1]
        'no.such:KERNEL: there is no module no.such'
    """

    def __init__(self, detected: Callable[[str], Device] = detect, *, needs_tools: bool = False) -> None:
        self._needs_tools = needs_tools
        self._detected = functools.cache(functools.partial(_tried, detected))

    def task(self, kernel: str, workload: Workload, device: Device) -> tuple[Task | None, str]:
        """Return the task of a kernel as it is now, or None and what stands in the way.

        Args:
            kernel: A name or a reference.
            workload: Of a winner or a miss, from whatever time.
            device: The hardware that it is for.
        """
        found = self._detected(f"{device.kind}:{device.count}" if device.kind == "cpu" else device.kind)
        if isinstance(found, str):
            return None, found
        if found.fingerprint != device.fingerprint:
            return None, f"it is for {device.name}, and this is {found.name}"
        try:
            reference = resolve(kernel, device.kind)
            tunable = load(reference)
            return make_task(reference, tunable, tunable.workload(workload), found, needs_tools=self._needs_tools), ""
        except TunerError as error:
            return None, str(error)


def stale(store: Store, present: Present, *, kernel: str | None = None) -> list[Demand]:
    """Return the promoted winners that are stale, the most asked for first; of one kernel or of all.

    Of a workload on a model of hardware, the newest winner counts, and none if another one there is not stale. A winner
    of hardware or of a kernel that is not here is listed with that obstacle only where its kernel is known to differ.

    Raises:
        StoreError: the store cannot be read.
    """
    asked = {miss.key: miss.count for miss in store.misses()}
    places: dict[str, list[Winner]] = {}
    for winner in store.winners():
        if is_named(winner.task.tunable, kernel):
            places.setdefault(winner.task.place, []).append(winner)
    found: list[Demand] = []
    for place, winners in places.items():
        newest = winners[0].task
        task, obstacle = present.task(newest.tunable, newest.workload, newest.device)
        version, environment = (task.version, task.device.environment) if task else (_version(newest.tunable), {})
        since = [changes(winner, version, environment) for winner in winners]
        if all(since):
            count = asked.get(place, 0)
            demand = Demand(newest.tunable, newest.workload, newest.device, count, task, winners[0], since[0], obstacle)
            found.append(demand)
    return _sorted(found)


def missed(
    store: Store, present: Present, *, kernel: str | None = None, limit: int | None = None, again: bool = False
) -> list[Demand]:
    """Return what serving code asked for and did not find, the most asked for first.

    What has a winner by now that is not stale, and what a campaign kept the default for under the same conditions, is
    listed with that obstacle.

    Args:
        store: Where misses are kept.
        present: This machine.
        kernel: Only of this kernel.
        limit: At most so many.
        again: Whether what a campaign kept the default for is to be tuned once more.

    Raises:
        StoreError: the store cannot be read.
    """
    found: list[Demand] = []
    kept = {} if again else _kept_defaults(store)
    for miss in store.misses():
        if limit is not None and len(found) >= limit:
            break
        if not is_named(miss.kernel, kernel):
            continue
        task, obstacle = present.task(miss.kernel, miss.workload, miss.device)
        winner: Winner | None = None
        since: tuple[Change, ...] = ()
        if task:
            winner = next(iter(store.winners(place=task.place)), None)
            since = changes(winner, task.version, task.device.environment) if winner else ()
            if winner and not since:
                obstacle = f"winner {winner.id} has been promoted for it"
            elif campaign := _kept_by(kept.get(task.key, ()), task):
                obstacle = f"campaign {campaign} kept the default"
        demand = Demand(miss.kernel, miss.workload, miss.device, miss.count, task, winner, since, obstacle, miss=miss)
        found.append(demand)
    return _sorted(found)


def tuned_together(demands: Sequence[Demand]) -> list[tuple[Objective, list[Demand]]]:
    """Return what one campaign each can tune, in the order of `demands`: what has one objective; each task once.

    What has a winner is tuned for what that was proven for; everything else for the time of a call.

    Example:
        >>> device = Device("cpu", "a processor", "x86_64", 1, 1 << 30)
        >>> tasks = [Task("cpp:softmax", "1", Workload(M=size), device) for size in (1, 2, 1)]
        >>> demands = [Demand("cpp:softmax", task.workload, device, 1, task, None, (), "") for task in tasks]
        >>> [(objective.metric, len(together)) for objective, together in tuned_together(demands)]
        [('seconds', 2)]
    """
    groups: dict[str, tuple[Objective, dict[str, Demand]]] = {}
    for demand in demands:
        if demand.task is None:
            continue
        told = demand.winner.evidence.objective if demand.winner else {}
        objective = Objective.from_json(told) if told else Objective()
        _, together = groups.setdefault(canonical_json(objective.to_json()), (objective, {}))
        together.setdefault(demand.task.key, demand)
    return [(objective, list(together.values())) for objective, together in groups.values()]


def uses_of(demands: Sequence[Demand]) -> tuple[float, ...]:
    """Return how often each is used, relative to the others, as far as is known: what was never asked for, once."""
    return tuple(float(max(1, demand.asked)) for demand in demands)


def _tried(detected: Callable[[str], Device], name: str) -> Device | str:
    try:
        return detected(name)
    except TunerError as error:
        return str(error)


def _version(reference: str) -> str | None:
    try:
        return load(reference).version
    except TunerError:
        return None


def _kept_defaults(store: Store) -> dict[str, list[tuple[str, Task]]]:
    """Return by task key which campaigns ended with the default, each with the task as it was then."""
    kept: dict[str, list[tuple[str, Task]]] = {}
    for record in store.campaigns():
        outcomes = store.outcomes(record.id)
        for task in store.tasks(record.id) if outcomes else ():
            if outcomes.get(task.key, {"promoted": True}).get("promoted") is False:
                kept.setdefault(task.key, []).append((record.id, task))
    return kept


def _kept_by(kept: Iterable[tuple[str, Task]], task: Task) -> str:
    """Return the campaign that kept the default of `task` in the environment that there is now; empty if none did."""
    now = task.device.environment
    return next((campaign for campaign, then in kept if not differences(then.device.environment, now)), "")


def _sorted(found: Sequence[Demand]) -> list[Demand]:
    return sorted(found, key=lambda demand: -demand.asked)
