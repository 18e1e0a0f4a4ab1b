"""Short campaigns on shapes of models, and the winners beside torch, interleaved in one process."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from benchmarks.gpu.beside import side_by_side
from benchmarks.gpu.rival import rivals_of
from benchmarks.gpu.step import Run, kernel_of, median_text
from tuner.campaign import Campaign
from tuner.db import MemoryStore
from tuner.plan import Budget, Plan
from tuner.result import Progress, Result, Stage
from tuner.runners import LocalRunner
from tuner.statistics import median, paired_ratio
from tuner.tunable import load
from tuner.types import Config, Status, Task, Trial

__all__ = ["TASKS", "agent_here", "campaigns", "tuned"]

TASKS: Sequence[tuple[str, str, int]] = (
    ("triton:matmul", "llama3-8b-out-prefill-4k", 120),
    ("triton:flash_prefill", "llama3-8b-prefill-4k", 80),
    ("triton:add_rmsnorm", "llama3-8b-prefill-4k", 60),
    ("triton:matmul", "llama3-8b-down-decode-64", 100),
    ("triton:swiglu", "llama3-8b-prefill-4k", 60),
    ("triton:cross_entropy", "llama3-8b-4k", 60),
    ("triton:matmul", "llama3-8b-out-prefill-4k-fp8", 100),
    ("triton:softmax", "llama3-8b-scores-4k", 60),
    ("cuda:softmax", "llama3-8b-scores-4k", 60),
    ("cuda:add_rmsnorm", "llama3-8b-prefill-4k", 60),
    ("triton:paged_attention", "llama3-8b-decode-32-4k", 60),
    ("triton:fused_moe", "qwen3-30b-a3b-up-128", 80),
    ("triton:quantized_linear", "llama3-8b-down-decode-16-int4", 80),
    ("triton:rotary", "llama3-8b-prefill-4k", 40),
    ("cuda:sgemm", "square-4096", 80),
    ("cuda:matmul", "llama3-8b-out-prefill-4k", 80),
    ("cuda:transpose", "square-8192", 40),
    ("cuda:stencil", "cube-512", 60),
    ("triton:matmul", "llama3-8b-up-decode-64", 80),
    ("triton:matmul", "llama3-8b-qkv-decode-1", 80),
    ("triton:layernorm", "falcon-40b-prefill-2k", 40),
)
"""Kernel, named workload, trials: in the order of their weight, since a run may be cut off."""

_SEARCH_SECONDS = 40.0
# A campaign that has less is not begun.
_LEAST_SECONDS = 50.0


def campaigns(run: Run) -> dict[str, Any]:
    """Return for each task what was won, how it compares with torch, and what it cost."""
    results: list[dict[str, Any]] = []
    runner = run.runner()
    try:
        for kernel, name, trials in TASKS[run.tasks]:
            if run.left < _LEAST_SECONDS:
                print("out of time", flush=True)
                break
            started = time.monotonic()
            found: dict[str, Any] = {"kernel": kernel, "workload": name}
            results.append(found)

            def keep(more: dict[str, Any], found: dict[str, Any] = found) -> None:
                found.update(more)
                run.keep("campaigns", {"tasks": results})

            try:
                found.update(_campaign(run, runner, kernel, name, 8 if run.quick else trials, keep))
                print(_line(found), flush=True)
            except Exception as error:
                # The next task has nothing to do with this one.
                traceback.print_exc()
                found["error"] = f"{type(error).__name__}: {error}"
            keep({"all_seconds": time.monotonic() - started})
    finally:
        runner.close()
    return {"tasks": results}


def _line(one: Mapping[str, Any]) -> str:
    """Return a result in a few words."""
    rivals = ", ".join(f"{name} {r['ratio']:.3f} [{r['low']:.3f}-{r['high']:.3f}]" for name, r in one["rivals"].items())
    speedup = f"{one['speedup']:.3f}" if one["speedup"] else "-"
    return (
        f"  {one['kernel']} {one['workload']}: {median_text(one['tuned_seconds'])} us, {one['peak_share']:.0%} of peak "
        f"({one['bound']}); final {speedup}, promoted {one['promoted']}; rivals / tuned: {rivals or '-'}; "
        f"{one['trials']} trials {one['statuses']}, search {one['search_seconds']:.0f} s, "
        f"finals {one['finals_seconds']:.0f} s, idle {one['idle_share']:.0%}, rivals {one['compare_seconds']:.0f} s"
    )


def _campaign(
    run: Run, runner: LocalRunner, kernel: str, name: str, trials: int, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    task = run.task(kernel, load(kernel).workloads[name])
    found, best = tuned(run, runner, task, trials)
    found = {"kernel": kernel, "workload": name, **found}
    # What was tuned is kept even where a rival fails.
    keep(found)
    started = time.monotonic()
    compared = _compared(run, task, best)
    return {**found, **compared, "compare_seconds": time.monotonic() - started}


def tuned(run: Run, runner: LocalRunner, task: Task, trials: int) -> tuple[dict[str, Any], Config]:
    """Return what a campaign found and what it cost, and the config that it says to use."""
    store = MemoryStore()
    agent = agent_here()
    plan = Plan(agent=agent, budget=Budget(trials, max(5.0, min(_SEARCH_SECONDS, run.left / 4))), seed=run.seed)
    started, before = time.monotonic(), runner.activity.device_seconds
    searched: list[tuple[float, float]] = []

    def watch(progress: Progress) -> None:
        if progress.stage is Stage.FINALS and not searched:
            searched.append((time.monotonic(), progress.activity.device_seconds))

    campaign = Campaign([task], plan, runner=runner, store=store, watch=watch)
    [result] = campaign.run()
    ended = time.monotonic()
    search_ended, device_after = searched[0] if searched else (ended, runner.activity.device_seconds)
    search = search_ended - started
    measured = store.trials(campaign.id, task)
    found = {
        "fields": dict(task.workload),
        "agent": agent,
        "builders": runner.builders,
        "trials": len(measured),
        "statuses": _statuses(measured),
        "errors": _errors(measured),
        "wall_seconds": ended - started,
        "search_seconds": search,
        "finals_seconds": ended - search_ended,
        "configs_per_minute": 60 * len(measured) / search,
        "idle_share": max(0.0, 1 - (device_after - before) / search),
        "history": [_brief(trial) for trial in measured],
        **_outcome(result),
    }
    return found, result.config


def agent_here() -> str:
    """Return the agent that what is installed allows."""
    return "auto" if find_spec("scipy") and find_spec("threadpoolctl") else "random"


def _errors(trials: Sequence[Trial]) -> list[str]:
    """Return what was wrong with the first trials that were."""
    wrong = [t for t in trials if t.measurement.status not in (Status.CORRECT, Status.CONSTRAINTS)]
    return [f"{t.config}: {t.measurement.status.value}: {t.measurement.error}" for t in wrong[:4]]


def _brief(trial: Trial) -> dict[str, Any]:
    """Return a trial's config and, where it was right, its time and its ratio to the default's."""
    samples = trial.measurement.samples
    told: dict[str, Any] = {"config": dict(trial.config), "status": trial.measurement.status.value}
    if seconds := samples.get("seconds"):
        told |= {"seconds": median(seconds), "pairs": len(seconds)}
        if reference := samples.get("reference_seconds"):
            told["ratio"] = paired_ratio(seconds, reference).value
    return told


def _outcome(result: Result) -> dict[str, Any]:
    data = result.to_json()
    return {
        "promoted": result.promoted,
        "speedup": result.speedup,
        "interval": data.get("speedup_interval"),
        "config": dict(result.config),
        "result": data,
    }


def _statuses(trials: Sequence[Trial]) -> dict[str, int]:
    statuses = [trial.measurement.status.value for trial in trials]
    return {status: statuses.count(status) for status in sorted(set(statuses))}


def _compared(run: Run, task: Task, best: Config) -> dict[str, Any]:
    """Return the winner beside the default and beside torch."""
    default = kernel_of(task.tunable).default(task.workload, task.device)
    rivals = rivals_of(task.tunable, task.workload)
    found = side_by_side(run, task, {"tuned": best, "default": default}, rivals)
    ratios = found.pop("ratios")
    return {
        **found,
        "tuned_seconds": found.pop("seconds"),
        "default_seconds": ratios["default"]["seconds"],
        "default": ratios["default"],
        "rivals": {name: ratio for name, ratio in ratios.items() if name in rivals},
        "rivals_missing": found.pop("missing"),
    }
