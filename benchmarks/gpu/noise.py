"""How small a difference a trial sees: a config beside itself, with tensors that rotate, stay warm, and are cold."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from benchmarks.gpu.step import Run, median_text, table
from tuner.runners import Runner
from tuner.statistics import log_ratios, median
from tuner.tunable import load
from tuner.types import Sampling, Status

__all__ = ["noise"]

_CASES = (
    ("triton:softmax", {"M": 4096, "N": 4096}),
    ("triton:add_rmsnorm", {"M": 64, "N": 4096}),
    ("triton:matmul", {"M": 4096, "N": 4096, "K": 4096}),
    ("triton:matmul", {"M": 16, "N": 4096, "K": 4096}),
)
_ROUNDS = 60
_REPEATS = 8


def noise(run: Run) -> dict[str, Any]:
    """Return the error of an A/A comparison, within one measurement and between measurements."""
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
        ["kernel", "workload", "tensors", "us", "A/A error", "pair spread", "seconds for 60 pairs"],
        [
            [
                row["kernel"],
                row["workload"],
                row["cache"],
                median_text(row["seconds"]),
                f"{100 * row['error']:.2f} %",
                f"{100 * row['spread']:.2f} %",
                f"{row['wall']:.2f}",
            ]
            for row in rows
        ],
    )
    return {"cases": rows}


def _case(run: Run, runner: Runner, reference: str, fields: dict[str, Any], cache: str) -> dict[str, Any]:
    told = dict(fields) if cache == "rotated" else {**fields, "cache": cache}
    task = run.task(reference, told)
    config = load(task.tunable).default(task.workload, task.device)
    errors, spreads, walls, seconds = [], [], [], []
    for repeat in range(2 if run.quick else _REPEATS):
        started = time.monotonic()
        pair = runner.compare(task, [config, config], Sampling(run.seed + repeat, _ROUNDS), fresh=False).result()[1]
        walls.append(time.monotonic() - started)
        if pair.status is not Status.CORRECT:
            raise RuntimeError(f"{reference} {told}: {pair.error}")
        logs = log_ratios(pair.samples["seconds"], pair.samples["reference_seconds"])
        errors.append(abs(float(np.median(logs))))
        spreads.append(float(np.std(logs)))
        seconds.append(median(pair.samples["seconds"]))
    return {
        "kernel": reference,
        "workload": " ".join(f"{k}={v}" for k, v in fields.items()),
        "cache": cache,
        "seconds": median(seconds),
        "error": math.exp(max(errors)) - 1,
        "spread": median(spreads),
        "wall": median(walls),
    }
