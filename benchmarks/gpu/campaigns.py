"""Short campaigns on shapes of models, and the winners beside torch, interleaved in one process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import triton

from benchmarks.gpu.rival import TorchLauncher, rivals_of
from benchmarks.gpu.step import Run, kernel_of, median_text, table
from tuner.campaign import Campaign
from tuner.db import MemoryStore
from tuner.errors import TunerError
from tuner.gpus import GPUS, Gpu, known_gpu
from tuner.kernels.gpu.bench import GpuLauncher
from tuner.kernels.gpu.check import cases
from tuner.kernels.gpu.driver import Driver
from tuner.kernels.gpu.memory import Memory, torch_of
from tuner.kernels.gpu.nvml import GpuConditions
from tuner.kernels.gpu.tensor import bytes_of
from tuner.kernels.timing import Sample, interleave
from tuner.plan import Budget, Plan
from tuner.result import Result
from tuner.runners import Runner
from tuner.statistics import median, paired_ratio
from tuner.tunable import load
from tuner.types import Build, Sampling, Task, Trial, Workload

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


def campaigns(run: Run) -> dict[str, Any]:
    """Return for each task what was won, how it compares with torch, and what it cost."""
    results: list[dict[str, Any]] = []
    runner = run.runner()
    try:
        for kernel, name, trials in TASKS[run.tasks]:
            if run.left < 45:
                print("out of time", flush=True)
                break
            try:
                results.append(_campaign(run, runner, kernel, name, 8 if run.quick else trials))
            except TunerError as error:
                print(f"  {kernel} {name}: {error}", flush=True)
                results.append({"kernel": kernel, "workload": name, "error": str(error)})
            run.keep("campaigns", {"tasks": results})
    finally:
        runner.close()
    done = [one for one in results if "error" not in one]
    table(
        ["kernel", "workload", "default us", "tuned us", "speed-up", "promoted", "trials", "s", "idle", "of peak"],
        [
            [
                one["kernel"],
                one["workload"],
                median_text(one["default_seconds"]),
                median_text(one["tuned_seconds"]),
                f"{one['speedup']:.3f}" if one["speedup"] else "-",
                one["promoted"],
                one["trials"],
                f"{one['wall_seconds']:.0f}",
                f"{one['idle_share']:.0%}",
                f"{one['peak_share']:.0%} {one['bound']}",
            ]
            for one in done
        ],
    )
    table(
        ["kernel", "workload", "rival", "rival us", "rival / tuned", "interval"],
        [
            [
                one["kernel"],
                one["workload"],
                name,
                median_text(r["seconds"]),
                f"{r['ratio']:.3f}",
                f"{r['low']:.3f}-{r['high']:.3f}",
            ]
            for one in done
            for name, r in one["rivals"].items()
        ],
    )
    return {"tasks": results}


def _peak(model: Gpu, workload: Workload) -> float:
    """Return the peak of what the workload is computed in."""
    return model.peak_flops[str(workload.get("dtype", "fp32"))]


def _campaign(run: Run, runner: Runner, kernel: str, name: str, trials: int) -> dict[str, Any]:
    task = run.task(kernel, load(kernel).workloads[name])
    store = MemoryStore()
    agent = "auto" if find_spec("scipy") and find_spec("threadpoolctl") else "random"
    plan = Plan(agent=agent, budget=Budget(trials, max(5.0, min(40.0, run.left / 3))), seed=run.seed)
    started, before = time.monotonic(), runner.activity.device_seconds
    campaign = Campaign([task], plan, runner=runner, store=store)
    [result] = campaign.run()
    device_seconds = runner.activity.device_seconds - before
    wall = time.monotonic() - started
    measured = store.trials(campaign.id, task)
    best = result.config if result.config is not None else load(kernel).default(task.workload, task.device)
    compared = _compared(run, task, best)
    found = {
        "kernel": kernel,
        "workload": name,
        "fields": dict(task.workload),
        "agent": agent,
        "trials": len(measured),
        "statuses": _statuses(measured),
        "wall_seconds": wall,
        "configs_per_minute": 60 * len(measured) / wall,
        "idle_share": max(0.0, 1 - device_seconds / wall),
        **_outcome(result),
        **compared,
    }
    print(f"  {kernel} {name}: {found['speedup']} over the default, {found['rivals']}", flush=True)
    return found


def _outcome(result: Result) -> dict[str, Any]:
    data = result.to_json()
    return {
        "promoted": result.promoted,
        "speedup": result.speedup,
        "interval": data.get("speedup_interval"),
        "config": dict(result.config) if result.config is not None else None,
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
    driver, place = Driver(), torch.device("cuda", 0)
    flush = torch.empty(1, dtype=torch.uint8, device=place)
    ours = [GpuLauncher(driver, kernel.job(build, workload, device), place, flush) for build in builds]
    inputs, outputs = kernel.operator.inputs(workload), kernel.operator.outputs(workload)
    count = min(400, 1 + int(2 * device.feature("l2_bytes") / bytes_of(inputs, outputs)) + 1)
    case = next(cases(kernel.operator, workload, run.seed, place))
    copies = [Memory(inputs, outputs, place, guarded=False) for _ in range(count)]
    for copy in copies:
        copy.fill(case.inputs)
    torch.cuda.synchronize()
    names, launchers = ["tuned", "default"], list(ours)
    for name, call in rivals_of(task.tunable, workload).items():
        try:
            call(copies[0].tensors)
            rival = TorchLauncher(call, flush)
            rival.time(copies, count)
        except Exception as error:
            print(f"    {name} is not there: {type(error).__name__}: {str(error)[:200]}", flush=True)
            continue
        names.append(name)
        launchers.append(rival)  # type: ignore[arg-type]
    conditions = GpuConditions()
    rounds = 10 if run.quick else _ROUNDS
    timings = interleave(
        launchers, copies, Sampling(run.seed, rounds, seconds=12.0), sample=Sample(500e-6, count), conditions=conditions
    )
    tuned = timings[0].samples["seconds"]
    rivals = {}
    for name, timing in zip(names[2:], timings[2:], strict=True):
        ratio = paired_ratio(timing.samples["seconds"], timing.samples["reference_seconds"], seed=run.seed)
        rivals[name] = {
            "seconds": median(timing.samples["seconds"]),
            "ratio": ratio.value,
            "low": ratio.low,
            "high": ratio.high,
            "samples": timing.samples,
        }
    seconds = median(tuned)
    model = known_gpu(device) or GPUS["h100"]
    work = kernel.work(workload)
    compute = work.flops / _peak(model, workload) / seconds
    moving = work.bytes / model.peak_bytes_per_second / seconds
    return {
        "tuned_seconds": seconds,
        "default_seconds": median(timings[1].samples["seconds"]),
        "joules": ours[0].joules(copies, seconds, conditions),
        "rivals": rivals,
        "flops_share": compute,
        "bandwidth_share": moving,
        "peak_share": max(compute, moving),
        "bound": "compute" if compute > moving else "memory",
        "conditions": conditions.seen(),
        "copies": count,
    }
