"""Configs of a kernel beside each other and beside torch, interleaved in one process over tensors that rotate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import triton

from benchmarks.gpu.rival import Call, TorchLauncher
from benchmarks.gpu.step import Run, kernel_of
from tuner.gpus import GPUS, known_gpu
from tuner.kernels.gpu.bench import GpuLauncher
from tuner.kernels.gpu.check import cases
from tuner.kernels.gpu.driver import Driver
from tuner.kernels.gpu.memory import Memory, torch_of
from tuner.kernels.gpu.nvml import GpuConditions
from tuner.kernels.gpu.tensor import bytes_of
from tuner.kernels.timing import Sample, Timing, interleave
from tuner.statistics import median, paired_ratio
from tuner.types import Build, Config, Sampling, Task

__all__ = ["side_by_side"]

_ROUNDS = 100


def side_by_side(run: Run, task: Task, configs: Mapping[str, Config], calls: Mapping[str, Call]) -> dict[str, Any]:
    """Return how the first of `configs` compares with the others and with `calls` of torch.

    Args:
        run: The run.
        task: What is computed.
        configs: By name; the first is what the others are compared with.
        calls: torch's ways, by name; one that fails is left out.

    Returns:
        `ratios` by name: how many times longer it took than the first; of the first itself its time, its shares of the
        data sheet's peaks, and its energy.
    """
    torch = torch_of()
    kernel = kernel_of(task.tunable)
    workload, device = task.workload, task.device
    builds = [Build(config, run.artifact(kernel, config, workload, device)) for config in configs.values()]
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
    launchers: dict[str, Any] = dict(zip(configs, ours, strict=True))
    missing: dict[str, str] = {}
    for name, call in calls.items():
        try:
            call(copies[0].tensors)
            rival = TorchLauncher(call, flush)
            rival.time(copies, count)
        except Exception as error:
            missing[name] = f"{type(error).__name__}: {str(error)[:300]}"
            print(f"    {name} is not there: {missing[name]}", flush=True)
            continue
        launchers[name] = rival
    conditions = GpuConditions()
    sampling = Sampling(run.seed, 10 if run.quick else _ROUNDS, seconds=12.0)
    timings = interleave(
        list(launchers.values()), copies, sampling, sample=Sample(500e-6, count), conditions=conditions
    )
    seconds = median(timings[0].samples["seconds"])
    model = known_gpu(device) or GPUS["h100"]
    work = kernel.work(workload)
    compute = work.flops / model.peak_flops[str(workload.get("dtype", "fp32"))] / seconds
    moving = work.bytes / model.peak_bytes_per_second / seconds
    joules = ours[0].joules(copies, seconds, conditions)
    for launcher in ours:
        launcher.close()
    others = list(zip(launchers, timings, strict=True))[1:]
    return {
        "seconds": seconds,
        "ratios": {name: _ratio(timing, run.seed) for name, timing in others},
        "joules": joules,
        "flops_share": compute,
        "bandwidth_share": moving,
        "peak_share": max(compute, moving),
        "bound": "compute" if compute > moving else "memory",
        "conditions": conditions.seen(),
        "copies": count,
        "bytes": work.bytes,
        "flops": work.flops,
        "missing": missing,
    }


def _ratio(timing: Timing, seed: int) -> dict[str, Any]:
    """Return how many times longer something took than the first, with the interval of 95 %."""
    ratio = paired_ratio(timing.samples["seconds"], timing.samples["reference_seconds"], seed=seed)
    return {
        "seconds": median(timing.samples["seconds"]),
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "samples": timing.samples,
    }
