"""Edge shapes: a config that is right on its workload is built and checked on small ones beside it.

A kernel whose tiles happen to divide one shape may be wrong on the next, and a winner for one workload is where the
search for the next begins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tuner.runners import Runner
from tuner.tunable import load
from tuner.types import Config, Sampling, Status, Task, Workload

__all__ = ["Edges", "checked_edges"]

# Each needs a build; the first ones move every size once.
_MOST = 6


@dataclass(frozen=True, slots=True)
class Edges:
    """How a config did on edge shapes.

    Attributes:
        shapes: Those on which it was checked: those for which it is in the search space, up to the first failure.
        failure: How it failed on the last of them; empty if it was right on all.
    """

    shapes: tuple[Workload, ...] = ()
    failure: str = ""


def checked_edges(runner: Runner, task: Task, config: Config, seed: int) -> Edges:
    """Build and check `config` on edge shapes of the task's workload, on every distribution of inputs.

    Args:
        runner: What builds and measures.
        task: What the config belongs to.
        config: A config of the task.
        seed: Seed of the inputs.

    Example:
        >>> from tuner.campaign import task_of
        >>> from tuner.runners import LocalRunner
        >>> runner = LocalRunner()
        >>> checked_edges(runner, task_of("tuner.testing.toys:PARABOLA", {"N": 3}), Config(X=3, FAULT="none"), seed=0)
        Edges(shapes=(), failure='')
        >>> runner.close()
    """
    tunable = load(task.tunable)
    shapes = [
        workload
        for workload in tunable.edges(task.workload)
        if tunable.search_space(workload, task.device).contains(config)
    ][:_MOST]
    sampling = Sampling(seed, rounds=1, thorough=True)
    waiting = [runner.compare(replace(task, workload=w), [config], sampling, fresh=False) for w in shapes]
    checked: list[Workload] = []
    failure = ""
    # Nothing is timed: a process that has measured before will do. All are waited for, so that a runner has nothing of
    # this left to do when the finals go on.
    for workload, future in zip(shapes, waiting, strict=True):
        (measurement,) = future.result()
        # A runner that only replays has no record of other shapes.
        if failure or measurement.status is Status.CONSTRAINTS:
            continue
        checked.append(workload)
        if measurement.status is not Status.CORRECT:
            failure = f"{workload}: {measurement.status.value}: {measurement.error}"
    return Edges(tuple(checked), failure)
