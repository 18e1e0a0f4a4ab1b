"""Short campaigns on shapes of models, and the winners beside torch, interleaved in one process."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import triton

from benchmarks.gpu.rival import TorchLauncher, rivals_of
from benchmarks.gpu.step import Run, kernel_of, median_text
from tuner.campaign import Campaign
from tuner.db import MemoryStore
from tuner.gpus import GPUS, Gpu, known_gpu
from tuner.kernels.gpu.bench import GpuLauncher
from tuner.kernels.gpu.check import cases
from tuner.kernels.gpu.driver import Driver
from tuner.kernels.gpu.memory import Memory, torch_of
from tuner.kernels.gpu.nvml import GpuConditions
from tuner.kernels.gpu.tensor import bytes_of
from tuner.kernels.timing import Sample, Timing, interleave
from tuner.plan import Budget, Plan
from tuner.result import Progress, Result, Stage
from tuner.runners import LocalRunner
from tuner.statistics import median, paired_ratio
from tuner.tunable import load
from tuner.types import Build, Sampling, Status, Task, Trial, Workload

__all__ = ["TASKS", "campaigns"]

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

_ROUNDS = 100
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


def _peak(model: Gpu, workload: Workload) -> float:
    """Return the peak of what the workload is computed in."""
    return model.peak_flops[str(workload.get("dtype", "fp32"))]


def _campaign(
    run: Run, runner: LocalRunner, kernel: str, name: str, trials: int, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    task = run.task(kernel, load(kernel).workloads[name])
    store = MemoryStore()
    agent = "auto" if find_spec("scipy") and find_spec("threadpoolctl") else "random"
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
        "kernel": kernel,
        "workload": name,
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
    # What was tuned is kept even where a rival fails.
    keep(found)
    compared = _compared(run, task, result.config)
    return {**found, **compared, "compare_seconds": time.monotonic() - ended}


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


def _compared(run: Run, task: Task, best: Any) -> dict[str, Any]:
    """Return the winner beside the default and beside torch, all interleaved over tensors that rotate."""
    torch = torch_of()
    kernel = kernel_of(task.tunable)
    workload, device = task.workload, task.device
    default = kernel.default(workload, device)
    builds = [Build(config, run.artifact(kernel, config, workload, device)) for config in (best, default)]
    # Building may have left its stand-in for the driver, which torch's compiler would meet.
    triton.runtime.driver.reset_active()
    place = torch.device("cuda", 0)
    # The first tensor makes the context that the driver joins.
    flush = torch.empty(1, dtype=torch.uint8, device=place)
    driver = Driver()
    ours = [GpuLauncher(driver, kernel.job(build, workload, device), place, flush) for build in builds]
    inputs, outputs = kernel.operator.inputs(workload), kernel.operator.outputs(workload)
    count = min(400, 1 + int(2 * device.feature("l2_bytes") / bytes_of(inputs, outputs)) + 1)
    case = next(cases(kernel.operator, workload, run.seed, place))
    copies = [Memory(inputs, outputs, place, guarded=False) for _ in range(count)]
    for copy in copies:
        copy.fill(case.inputs)
    torch.cuda.synchronize()
    names, launchers = ["tuned", "default"], list(ours)
    missing: dict[str, str] = {}
    for name, call in rivals_of(task.tunable, workload).items():
        try:
            call(copies[0].tensors)
            rival = TorchLauncher(call, flush)
            rival.time(copies, count)
        except Exception as error:
            missing[name] = f"{type(error).__name__}: {str(error)[:300]}"
            print(f"    {name} is not there: {missing[name]}", flush=True)
            continue
        names.append(name)
        launchers.append(rival)  # type: ignore[arg-type]
    conditions = GpuConditions()
    rounds = 10 if run.quick else _ROUNDS
    timings = interleave(
        launchers, copies, Sampling(run.seed, rounds, seconds=12.0), sample=Sample(500e-6, count), conditions=conditions
    )
    tuned = timings[0].samples["seconds"]
    rivals = {name: _ratio(timing, run.seed) for name, timing in zip(names[2:], timings[2:], strict=True)}
    seconds = median(tuned)
    model = known_gpu(device) or GPUS["h100"]
    work = kernel.work(workload)
    compute = work.flops / _peak(model, workload) / seconds
    moving = work.bytes / model.peak_bytes_per_second / seconds
    joules = ours[0].joules(copies, seconds, conditions)
    for launcher in ours:
        launcher.close()
    return {
        "tuned_seconds": seconds,
        "default_seconds": median(timings[1].samples["seconds"]),
        "default": _ratio(timings[1], run.seed),
        "joules": joules,
        "rivals": rivals,
        "flops_share": compute,
        "bandwidth_share": moving,
        "peak_share": max(compute, moving),
        "bound": "compute" if compute > moving else "memory",
        "conditions": conditions.seen(),
        "copies": count,
        "bytes": work.bytes,
        "flops": work.flops,
        "rivals_missing": missing,
    }


def _ratio(timing: Timing, seed: int) -> dict[str, Any]:
    """Return how many times longer something took than what was tuned, with the interval of 95 %."""
    ratio = paired_ratio(timing.samples["seconds"], timing.samples["reference_seconds"], seed=seed)
    return {
        "seconds": median(timing.samples["seconds"]),
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "samples": timing.samples,
    }
