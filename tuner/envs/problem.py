"""What an environment searches: a task, its space, and who evaluates its configs."""

from __future__ import annotations

import binascii
from concurrent.futures import Future
from typing import Any

import numpy as np

from tuner.db.kernel_tuner import RecordedSpace
from tuner.envs.landscape import Landscape
from tuner.errors import SpaceError
from tuner.objective import Objective
from tuner.runners import Recorder, ReplayRunner, Runner
from tuner.search_spaces import SearchSpace
from tuner.tunable import load
from tuner.types import Config, Device, Scalar, Task, Trial, Workload

__all__ = ["CONTEXT_LENGTH", "Problem", "context_of"]

CONTEXT_LENGTH = 24
"""How many numbers describe a workload and a device."""


class Problem:
    """A task with its space, and the recorder through which campaigns and environments alike evaluate configs.

    Several environments may share one: a config that one of them has measured is measured for all.

    Args:
        task: What is tuned.
        space: Its configs.
        default: The config that speed-ups are relative to.
        runner: What evaluates; the caller closes it.
        objective: How a trial becomes a score.
        seed: Decides the inputs of measurements.
        optimum: The best score that there is, where it is known.

    Example:
        >>> problem = Problem.random(seed=0)
        >>> problem.evaluate(problem.default).result().config == problem.default
        True
    """

    def __init__(
        self,
        task: Task,
        space: SearchSpace,
        default: Config,
        runner: Runner,
        *,
        objective: Objective = Objective(),
        seed: int = 0,
        optimum: float | None = None,
    ) -> None:
        self.task = task
        self.space = space
        self.default = default
        self.objective = objective
        self.optimum = optimum
        self.context = context_of(task.workload, task.device)
        self._recorder = Recorder(runner, task, campaign="environment", seed=seed)

    @classmethod
    def of_task(cls, task: Task, runner: Runner, *, objective: Objective = Objective(), seed: int = 0) -> Problem:
        """Return the problem of tuning a task for real.

        Raises:
            TunableError: the task's tunable cannot be loaded.
        """
        tunable = load(task.tunable)
        space = tunable.search_space(task.workload, task.device)
        default = tunable.default(task.workload, task.device)
        return cls(task, space, default, runner, objective=objective, seed=seed)

    @classmethod
    def of_recorded(cls, recorded: RecordedSpace, *, objective: Objective = Objective()) -> Problem:
        """Return the problem of finding the best config of a recorded space, which is never measured again."""
        runner = ReplayRunner(recorded.measurements)
        optimum = min(objective.score(Trial(config, one)) for config, one in recorded.measurements.items())
        space = recorded.space
        return cls(recorded.task, space, space.default, runner, objective=objective, optimum=optimum)

    @classmethod
    def random(cls, seed: int) -> Problem:
        """Return the problem of a random space: for trying things out."""
        return cls.of_recorded(Landscape.random(np.random.default_rng(seed)).recorded())

    @property
    def size(self) -> int:
        """How many configs there are; where the space cannot tell, how many combinations of values."""
        try:
            return self.space.size
        except SpaceError:
            return self.space.product_size

    def evaluate(self, config: Config) -> Future[Trial]:
        """Return the future trial of `config`; one that was measured before is not measured again."""
        return self._recorder.submit(config)


def context_of(workload: Workload, device: Device) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a workload and a device as `CONTEXT_LENGTH` numbers between -1 and 2, the same for the same fields.

    Each field has a place that a hash of its name decides, as in feature hashing (Weinberger et al., ICML 2009): a
    number enters by its logarithm, a word by a hash of it. Two fields may share a place.
    """
    context = np.zeros(CONTEXT_LENGTH, dtype=np.float32)
    numbers: dict[str, Scalar] = {**workload, **device.features, "cores": device.count, "memory": device.memory_bytes}
    for name, value in {**numbers, "kind": device.kind, "device": device.name}.items():
        if isinstance(value, bool | str):
            place, amount = _place(f"{name}={value}"), 1.0
        else:
            place, amount = _place(name), float(np.sign(value) * np.log2(1 + abs(value)) / 40)
        context[place] += amount
    return context.clip(-1, 2)


def _place(text: str) -> int:
    # CRC-32 is the same in every process, which Python's own hash is not.
    return binascii.crc32(text.encode()) % CONTEXT_LENGTH
