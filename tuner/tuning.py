"""The one call: tune a kernel for a workload, prove the winner, keep it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from tuner.campaign import Campaign, task_of
from tuner.db import Store
from tuner.db.sql import open_store
from tuner.devices import detect
from tuner.objective import Objective
from tuner.phrase import parse_objective
from tuner.plan import Budget, Plan, agent_for
from tuner.result import Progress, Result
from tuner.runners import LocalRunner, Runner
from tuner.tunable import Tunable
from tuner.types import Device, Scalar

__all__ = ["tune"]


def tune(
    kernel: str | Tunable,
    workload: Mapping[str, Scalar] | str,
    *,
    device: str | Device = "cpu",
    trials: int = 100,
    seconds: float | None = None,
    agent: str = "auto",
    objective: str | Objective = Objective(),
    seed: int = 0,
    prior: bool = True,
    runner: Runner | None = None,
    store: Store | str | None = None,
    watch: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Tune `kernel` for `workload` on a device of this machine and return how it went.

    Args:
        kernel: See `task_of`.
        workload: Its fields, or the name of one of the kernel's workloads.
        device: What to tune for: `cpu` for one core, `cpu:4` for four, `cuda`.
        trials: Configs to measure, failures included.
        seconds: Longest wall time of the search; the finals come on top.
        agent: Name of the agent, or `path/to/file.py:CLASS`.
        objective: What to optimise, also in words: `maximize goodput where ttft_p99<0.5`; see `tuner.phrase`.
        seed: Seed of the agent and of all inputs.
        prior: Whether the agent learns from what the store knows of related tasks.
        runner: What evaluates configs; by default one on this machine, for this call.
        store: What keeps the trials and the winner, or its URL or path; the user's store by default.
        watch: Called several times a second with the progress.

    Raises:
        TunerError: the request cannot be carried out; the message says why and what to do.

    Example:
        >>> from tuner.db import MemoryStore
        >>> result = tune("tuner.testing.toys:PARABOLA", "small", trials=20, agent="random", store=MemoryStore())
        >>> result.trials, result.promoted
        (16, True)
    """
    task = task_of(kernel, workload, detect(device) if isinstance(device, str) else device)
    with ExitStack() as stack:
        # The runner is closed first: what it still delivers finds the store open.
        if store is None or isinstance(store, str):
            store = open_store(store)
            stack.callback(store.close)
        if runner is None:
            runner = LocalRunner()
            stack.callback(runner.close)
        asked = parse_objective(objective) if isinstance(objective, str) else objective
        plan = Plan(agent_for(agent, asked), Budget(trials, seconds), asked, seed=seed, prior=prior)
        [result] = Campaign([task], plan, runner=runner, store=store, watch=watch).run()
        return result
