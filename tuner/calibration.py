"""What a machine can resolve: a config is compared with itself, again and again, and every difference is an error."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tuner.errors import TunerError
from tuner.runners import Runner
from tuner.statistics import log_ratios, median, paired_interval, percentile
from tuner.tunable import load
from tuner.types import Sampling, Scalar, Status, Task, digest

__all__ = ["Calibration", "Resolution", "calibrate"]

# Pairs of a screening, a semifinal, a final, and what is around them.
_PAIRS = (15, 30, 60, 100, 150)
_ROUNDS = max(_PAIRS)
# As in a final.
_LOADS = 30
_ERROR = 0.01
# What its share of runs is read from needs some runs.
_FEWEST_RUNS = 3


@dataclass(frozen=True, slots=True)
class Resolution:
    """What so many pairs can tell apart.

    Attributes:
        pairs: Interleaved samples of both sides.
        seconds: Median time that they take, without building and checking.
        error: What 95 % of comparisons of a config with itself stayed below: |ratio - 1|.
        resolves: The difference that is found in about 95 of 100 comparisons: half the width of a 99 % interval, and
            the error on top. None where so few pairs, or loads, give no interval.
    """

    pairs: int
    seconds: float
    error: float
    resolves: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """What comparing a config with itself gave.

    Attributes:
        task: What was compared.
        resolutions: By number of pairs.
        runs: Comparisons, each in a process of its own, so that each has another place in memory.
        false_differences: In how many of the runs a 99 % interval of all pairs excludes equality, in either direction.
        conditions: Those of the last run: load, clock and its reason, frequency.
    """

    task: Task
    resolutions: tuple[Resolution, ...]
    runs: int
    false_differences: int
    conditions: dict[str, Scalar]

    def seconds_for(self, difference: float) -> float | None:
        """Return how long it takes to resolve a `difference` (0.01 is 1 %); None if that is beyond what was tried."""
        enough = [one.seconds for one in self.resolutions if one.resolves is not None and one.resolves <= difference]
        return min(enough, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the task is given by its name and workload."""
        return {
            "kernel": self.task.tunable,
            "workload": dict(self.task.workload),
            "resolutions": [asdict(resolution) for resolution in self.resolutions],
            "runs": self.runs,
            "false_differences": self.false_differences,
            "conditions": self.conditions,
        }


def calibrate(
    runner: Runner, task: Task, *, seconds: float, seed: int = 0, watch: Callable[[float], None] = lambda _: None
) -> Calibration:
    """Return what can be resolved on this machine when `task` is measured, from comparing its default with itself.

    Args:
        runner: What measures.
        task: What to measure.
        seconds: For how long; at least three runs are made.
        seed: Seed of the inputs.
        watch: Called after each run with the share that is done.

    Raises:
        TunerError: the default config fails.

    Example:
        >>> from tuner.campaign import task_of
        >>> from tuner.runners import LocalRunner
        >>> runner = LocalRunner()
        >>> found = calibrate(runner, task_of("tuner.testing.toys:PARABOLA", {"N": 3}), seconds=0.1)
        >>> runner.close()
        >>> found.false_differences, found.resolutions[-1].error
        (0, 0.0)
    """
    started = time.monotonic()
    runs: list[_Run] = []
    times: list[float] = []
    conditions: dict[str, Scalar] = {}
    while len(runs) < _FEWEST_RUNS or time.monotonic() - started < seconds:
        samples, conditions = _measure(runner, task, int(digest([seed, task.key, "calibrate", len(runs)]), 16))
        logs = log_ratios(samples["seconds"], samples["reference_seconds"])
        runs.append(_Run(logs.tolist(), samples.get("load")))
        # By the wall, whatever decides: people wait for that.
        sides = [samples.get(f"{side}wall_seconds", samples[f"{side}seconds"]) for side in ("", "reference_")]
        times.append(sum(median(side) for side in sides))
        watch(min(1.0, max((time.monotonic() - started) / seconds, 0.0)))
    return Calibration(
        task=task,
        resolutions=tuple(_resolution(pairs, runs, times) for pairs in _measured(runs)),
        runs=len(runs),
        false_differences=sum(run.differs for run in runs),
        conditions=conditions,
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """One comparison of the default with itself: log-ratios, and the load of each where there were several."""

    logs: Sequence[float]
    loads: Sequence[float] | None

    @property
    def differs(self) -> bool:
        """Whether the interval of all pairs excludes equality."""
        interval = paired_interval(self.logs, self.loads, _ERROR)
        return interval.low > 0 or interval.high < 0

    def windows(self, pairs: int) -> list[_Run]:
        """Return the parts of so many consecutive pairs."""
        starts = range(0, len(self.logs) - pairs + 1, pairs)
        return [
            _Run(self.logs[start : start + pairs], self.loads and self.loads[start : start + pairs]) for start in starts
        ]


def _measure(runner: Runner, task: Task, seed: int) -> tuple[dict[str, tuple[float, ...]], dict[str, Scalar]]:
    default = load(task.tunable).default(task.workload, task.device)
    sampling = Sampling(seed, _ROUNDS, seconds=30.0, loads=_LOADS)
    [_, result] = runner.compare(task, [default, default], sampling).result()
    if result.status is not Status.CORRECT:
        raise TunerError(f"the default config of {task.tunable} fails ({result.status}): {result.error}")
    told = ("load", "frequency_hz", "cache", "clock", "clock_reason", "discarded_rounds")
    return dict(result.samples), {name: result.resources[name] for name in told if name in result.resources}


def _measured(runs: Sequence[_Run]) -> list[int]:
    """Return the numbers of pairs that the runs had; those of a slow config end early."""
    most = max(len(run.logs) for run in runs)
    return [pairs for pairs in _PAIRS if pairs <= most] or [most]


def _resolution(pairs: int, runs: Sequence[_Run], times: Sequence[float]) -> Resolution:
    """Return what windows of `pairs` consecutive pairs say."""
    windows = [window for run in runs for window in run.windows(pairs)]
    error = percentile([abs(math.expm1(median(window.logs))) for window in windows], 95)
    width = median([paired_interval(window.logs, window.loads, _ERROR).half_width for window in windows])
    resolves = math.expm1(width) + error if math.isfinite(width) else None
    return Resolution(pairs, pairs * median(times), error, resolves)
