"""How small a difference a trial sees: a config beside itself, with tensors that rotate, stay warm, and are cold."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu.step import Run, median_text, table
from tuner.runners import Runner
from tuner.statistics import log_ratios, median
from tuner.tunable import load
from tuner.types import Config, Sampling, Status, Task

__all__ = ["noise"]

_CASES = (
    ("triton:softmax", {"M": 4096, "N": 4096}),
    ("triton:add_rmsnorm", {"M": 64, "N": 4096}),
    ("triton:matmul", {"M": 4096, "N": 4096, "K": 4096}),
    ("triton:matmul", {"M": 16, "N": 4096, "K": 4096}),
)
_ROUNDS = 60
_REPEATS = 8
# As many pairs as fit into so long.
_MANY = 1000
_SHORT_SECONDS = 0.05


def noise(run: Run) -> dict[str, Any]:
    """Return the error of A/A comparisons: the largest of several, of 60 pairs each and of what 50 ms allow."""
    runner = run.runner()
    try:
        rows = [
            _case(run, runner, reference, fields, cache)
            for reference, fields in _CASES
            for cache in ("rotated", "warm", "cold")
        ]
    finally:
        runner.close()
    table(
        [
            "kernel",
            "workload",
            "tensors",
            "us",
            "A/A error",
            "pair spread",
            "seconds for 60 pairs",
            "pairs in 50 ms",
            "A/A error",
        ],
        [
            [
                row["kernel"],
                row["workload"],
                row["cache"],
                median_text(row["seconds"]),
                f"{100 * row['error']:.2f} %",
                f"{100 * row['spread']:.2f} %",
                f"{row['wall']:.2f}",
                f"{row['short_pairs']:.0f}",
                f"{100 * row['short_error']:.2f} %",
            ]
            for row in rows
        ],
    )
    return {"cases": rows}


def _case(run: Run, runner: Runner, reference: str, fields: dict[str, Any], cache: str) -> dict[str, Any]:
    told = dict(fields) if cache == "rotated" else {**fields, "cache": cache}
    task = run.task(reference, told)
    config = load(task.tunable).default(task.workload, task.device)
    # Its build and the worker's start are not to be timed.
    _pair(runner, task, config, Sampling(run.seed, 3))
    errors, spreads, walls, seconds = [], [], [], []
    short_errors, short_pairs = [], []
    for repeat in range(2 if run.quick else _REPEATS):
        started = time.monotonic()
        logs, times = _pair(runner, task, config, Sampling(run.seed + repeat, _ROUNDS))
        walls.append(time.monotonic() - started)
        errors.append(abs(float(np.median(logs))))
        spreads.append(float(np.std(logs)))
        seconds.append(median(times))
        logs, times = _pair(runner, task, config, Sampling(run.seed + repeat, _MANY, seconds=_SHORT_SECONDS))
        short_errors.append(abs(float(np.median(logs))))
        short_pairs.append(float(len(times)))
    return {
        "kernel": reference,
        "workload": " ".join(f"{k}={v}" for k, v in fields.items()),
        "cache": cache,
        "seconds": median(seconds),
        "error": math.exp(max(errors)) - 1,
        "spread": median(spreads),
        "wall": median(walls),
        "short_error": math.exp(max(short_errors)) - 1,
        "short_pairs": median(short_pairs),
        "repeats": len(errors),
    }


def _pair(
    runner: Runner, task: Task, config: Config, sampling: Sampling
) -> tuple[npt.NDArray[np.float64], Sequence[float]]:
    """Return the logarithms of the ratios of a config to itself, and its times."""
    measured = runner.compare(task, [config, config], sampling, fresh=False).result()[1]
    if measured.status is not Status.CORRECT:
        raise RuntimeError(f"{task.tunable} {task.workload}: {measured.error}")
    samples = measured.samples
    return log_ratios(samples["seconds"], samples["reference_seconds"]), samples["seconds"]
