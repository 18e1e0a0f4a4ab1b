"""One question to a store, for commands: loads the kernel, and reads its winners, each time."""

from __future__ import annotations

from tuner.db import Store
from tuner.lookup.choice import Choice, Proof
from tuner.lookup.loaded import TunableGuard
from tuner.lookup.policy import Policy
from tuner.lookup.snapshot import snapshot_of
from tuner.lookup.table import Table
from tuner.tunable import load
from tuner.types import Task

__all__ = ["best"]


def best(store: Store, task: Task, policy: Policy = Policy()) -> Choice:
    """Return the config to use for a task, as a `Lookup` over the store would, and never measure anything.

    Raises:
        TunableError: the kernel cannot be loaded.
        StoreError: the store cannot be read.
    """
    proofs = map(Proof.of, store.winners(tunable=task.tunable))
    # The task's device has the versions of the kernel's tools in its environment.
    guard = TunableGuard(load(task.tunable), task.device)
    table = Table(snapshot_of(proofs), task.device, {task.tunable: guard}, policy)
    return table.find(task.tunable, task.workload)
