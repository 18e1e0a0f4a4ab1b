"""`tuner.autotune` on this GPU: a kernel that is tuned at its first launch, and what a launch costs afterwards.

The kernel sums rows. One of its configs reads no more than the first block of a row: it is the fastest, and wrong. What
a launch costs on the host is compared with `triton.autotune` around the same kernel, both with a config at hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl

import tuner
from benchmarks.gpu.step import Run, table
from tuner.db import MemoryStore
from tuner.statistics import median, paired_ratio

__all__ = ["decorator"]

_ROWS, _COLUMNS = 4096, 4096
_LAUNCHES = 200
_ROUNDS = 40


@triton.jit  # type: ignore[untyped-decorator]
def _row_sums(x_ptr, out_ptr, M, N, BLOCK: tl.constexpr, WHOLE: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    if WHOLE:
        for start in range(0, N, BLOCK):
            at = start + tl.arange(0, BLOCK)
            total += tl.load(x_ptr + row * N + at, mask=at < N, other=0.0)
    else:
        total += tl.load(x_ptr + row * N + tl.arange(0, BLOCK))
    tl.store(out_ptr + row, tl.sum(total))


def decorator(run: Run) -> dict[str, Any]:
    """Return what tuning in place chose and refused, the winner beside the default, and what launches cost."""
    right = [
        triton.Config({"BLOCK": block, "WHOLE": True}, num_warps=warps)
        for block, warps in ((64, 1), (256, 4), (1024, 4), (2048, 8), (4096, 8))
    ]
    wrong = triton.Config({"BLOCK": 64, "WHOLE": False}, num_warps=1)
    x = torch.randn(_ROWS, _COLUMNS, device="cuda")
    out = torch.full((_ROWS,), -1.0, device="cuda")
    store = MemoryStore()
    tuned = tuner.autotune([*right, wrong], key=["M", "N"], store=store, mode="tune")(_row_sums)
    started = time.monotonic()
    tuned[(_ROWS,)](x, out, _ROWS, _COLUMNS)
    took = time.monotonic() - started
    error = float((out - x.sum(dim=1)).abs().max())
    [winner] = store.winners()
    statuses = {
        f"{trial.config['BLOCK']} {trial.config['WHOLE']}": trial.measurement.status.value
        for trial in store.trials(winner.campaign, winner.task)
    }
    found = {
        "config": dict(winner.config),
        "speedup": winner.evidence.speedup,
        "interval": list(winner.evidence.interval),
        "default_seconds": winner.evidence.default_seconds,
        "took_seconds": took,
        "largest_error": error,
        "statuses": statuses,
        "wrong_refused": statuses["64 False"] == "correctness",
    }
    looked_up = tuner.autotune(right, key=["M", "N"], store=store)(_row_sums)
    rival = triton.autotune(configs=right, key=["M", "N"])(_row_sums)
    cost = _launch_costs(
        lambda: looked_up[(_ROWS,)](x, out, _ROWS, _COLUMNS),
        lambda: rival[(_ROWS,)](x, out, _ROWS, _COLUMNS),
        lambda: _row_sums[(_ROWS,)](x, out, _ROWS, _COLUMNS, **dict(winner.config)),
    )
    table(["what", "value"], [[name, value] for name, value in {**found, **cost}.items()])
    return {**found, "launch": cost}


def _launch_costs(ours: Callable[[], Any], theirs: Callable[[], Any], bare: Callable[[], Any]) -> dict[str, Any]:
    """Return what a launch takes on the host, in turns: through each decorator, and of the bare kernel."""
    calls = {"tuner.autotune": ours, "triton.autotune": theirs, "bare": bare}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(_LAUNCHES):
                call()
            seconds[name].append((time.perf_counter() - start) / _LAUNCHES)
    added = {name: [one - bare for one, bare in zip(seconds[name], seconds["bare"], strict=True)] for name in seconds}
    ratio = paired_ratio(seconds["tuner.autotune"], seconds["triton.autotune"])
    return {
        **{f"{name} launch_seconds": median(times) for name, times in seconds.items()},
        "tuner.autotune added_seconds": median(added["tuner.autotune"]),
        "triton.autotune added_seconds": median(added["triton.autotune"]),
        "added_ratio": median(added["tuner.autotune"]) / median(added["triton.autotune"]),
        "launch_ratio": [ratio.value, ratio.low, ratio.high],
    }
