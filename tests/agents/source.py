"""Sources for tests: what another device is said to have measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from tuner.agents import Source
from tuner.types import Config, Device, Measurement, Status, Task, Trial, Workload

TASK = Task("mine.py:KERNEL", "1", Workload(N=1), Device("cpu", "another", "x86_64", 1, 0))


def trial(config: Config, seconds: float, number: int = -1) -> Trial:
    """Return a trial that took `seconds`, or failed where that is infinite."""
    if math.isinf(seconds):
        return Trial(config, Measurement(Status.RUNTIME, error="asked to fail"), number=number)
    return Trial(config, Measurement(Status.CORRECT, {"seconds": (seconds,)}), number=number)


def source(configs: Iterable[Config], seconds: Callable[[Config], float]) -> Source:
    """Return a source that measured `configs`."""
    return Source(TASK, tuple(trial(config, seconds(config)) for config in configs))
