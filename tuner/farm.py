"""The compile farm: configs are built and pruned for a device that need not be present, and kept in the cache."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tuner.runners import BuildRunner, Built
from tuner.tunable import load
from tuner.types import Config, Status, Task

__all__ = ["Farmed", "build_all", "chosen_configs"]

# Reasons that differ only in their numbers are one reason.
_NUMBER = re.compile(r"\d+")
# Builds in flight for each builder: one that runs, and one that waits.
_PER_BUILDER = 2


@dataclass(frozen=True, slots=True)
class Farmed:
    """What a farm has built.

    Attributes:
        built: By config, the key of its artifact.
        failed: By config that could not be built, how that ended.
        pruned: By config that was built and is not worth a device's time, why.
        seconds: Wall time.
        build_seconds: Time of all builders.
    """

    built: Mapping[Config, str] = field(default_factory=dict)
    failed: Mapping[Config, str] = field(default_factory=dict)
    pruned: Mapping[Config, str] = field(default_factory=dict)
    seconds: float = 0.0
    build_seconds: float = 0.0

    @property
    def builds_per_second(self) -> float:
        """Finished builds a second, failed and pruned ones included."""
        return (len(self.built) + len(self.failed) + len(self.pruned)) / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain data: what was built, with how often each reason was met."""
        return {
            "built": len(self.built),
            "failed": _reasons(self.failed),
            "pruned": _reasons(self.pruned),
            "seconds": self.seconds,
            "build_seconds": self.build_seconds,
            "builds_per_second": self.builds_per_second,
            "artifacts": [{"key": key, "config": dict(config)} for config, key in self.built.items()],
        }


def chosen_configs(task: Task, count: int, seed: int) -> list[Config]:
    """Return the task's default and random valid configs, `count` in all, or as many as there are."""
    tunable = load(task.tunable)
    default = tunable.default(task.workload, task.device)
    space = tunable.search_space(task.workload, task.device)
    random = space.sample(np.random.default_rng(seed), count)
    return list(dict.fromkeys([default, *random]))[:count]


def build_all(
    runner: BuildRunner,
    task: Task,
    configs: Sequence[Config],
    watch: Callable[[int], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Farmed:
    """Build `configs` of `task` on all builders of `runner`, and say how each ended.

    Args:
        runner: What builds.
        task: What they belong to.
        configs: In this order.
        watch: Called with the number of builds that have ended, after each.
        stop: Where it is set, nothing more is begun.

    Example:
        >>> from tuner.campaign import task_of
        >>> from tuner.runners import LocalRunner
        >>> task = task_of("tuner.testing.toys:FAULTY", {"N": 3})
        >>> runner = LocalRunner()
        >>> build_all(runner, task, [Config(X=1, FAULT="compile")]).to_json()["failed"]
        {'compile: parabola.cpp:#: error: asked to fail': 1}
        >>> runner.close()
    """
    started = time.perf_counter()
    built: dict[Config, str] = {}
    failed: dict[Config, str] = {}
    pruned: dict[Config, str] = {}
    build_seconds = 0.0
    waiting = deque(configs)
    in_flight: deque[tuple[Config, Future[Built]]] = deque()
    while waiting or in_flight:
        while waiting and len(in_flight) < _PER_BUILDER * runner.builders and not (stop and stop.is_set()):
            config = waiting.popleft()
            in_flight.append((config, runner.build(task, config)))
        if not in_flight:
            break
        config, future = in_flight.popleft()
        result = future.result()
        build_seconds += result.seconds
        if result.failure is None:
            built[config] = result.key or ""
        elif result.failure.status is Status.CONSTRAINTS:
            pruned[config] = result.failure.error
        else:
            failed[config] = f"{result.failure.status.value}: {result.failure.error}"
        watch(len(built) + len(failed) + len(pruned))
    return Farmed(built, failed, pruned, time.perf_counter() - started, build_seconds)


def _reasons(errors: Mapping[Config, str]) -> dict[str, int]:
    return dict(Counter(_NUMBER.sub("#", error) for error in errors.values()).most_common())
