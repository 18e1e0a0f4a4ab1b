"""Configs a minute: our runner beside a loop of Triton's do_bench, over the same configs."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import triton
import triton.testing

from benchmarks.gpu.step import Run, kernel_of, table
from tuner.devices import detect_gpu
from tuner.kernels.gpu.memory import drawn, torch_of
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.types import Config, Sampling, Status

__all__ = ["throughput"]

_FIELDS = {"M": 4096, "N": 4096, "K": 4096}
_CONFIGS = 24
_ROUNDS = 60


def throughput(run: Run) -> dict[str, Any]:
    """Return how long each takes for the same configs, compiled anew."""
    device = detect_gpu()
    kernel = kernel_of("triton:matmul")
    assert isinstance(kernel, TritonKernel)
    workload = kernel.workload(_FIELDS)
    space = kernel.search_space(workload, device)
    wanted = 6 if run.quick else _CONFIGS
    configs = [
        config
        for config in space.sample(np.random.default_rng(run.seed + 1), 10 * wanted)
        # One launch each, so that Triton's autotuner can run them: parts of K are summed by another one.
        if config["SPLIT_K"] == 1 and not config["PERSISTENT"] and not config["DESCRIPTOR"]
    ][:wanted]
    fresh = replace(run, cache=run.cache / f"fresh-{time.time_ns()}")
    rows = [
        _tuner(fresh, kernel, configs),
        _by_hand(kernel, configs, "do_bench loop"),
    ]
    table(
        ["what", "configs", "usable", "s", "configs a minute", "device idle"],
        [
            [
                one["what"],
                one["configs"],
                one["usable"],
                f"{one['seconds']:.1f}",
                f"{one['per_minute']:.0f}",
                one["idle"],
            ]
            for one in rows
        ],
    )
    return {"workload": dict(workload), "ways": rows, "ratio": rows[0]["per_minute"] / rows[1]["per_minute"]}


def _tuner(run: Run, kernel: TritonKernel, configs: list[Config]) -> dict[str, Any]:
    runner = run.runner()
    task = run.task("triton:matmul", _FIELDS)
    warm_up = kernel.search_space(task.workload, task.device).sample(np.random.default_rng(run.seed + 2), 24)
    try:
        # Workers are started before the clock: the other way begins with torch and Triton loaded, too.
        for future in [runner.build(task, config) for config in warm_up if config not in configs]:
            future.result()
        runner.submit(task, kernel.default(task.workload, task.device), Sampling(run.seed, 3)).result()
        started, before = time.monotonic(), runner.activity.device_seconds
        waiting = [runner.submit(task, config, Sampling(run.seed, _ROUNDS, precision=0.01)) for config in configs]
        done = [future.result() for future in waiting]
        seconds = time.monotonic() - started
        busy = runner.activity.device_seconds - before
    finally:
        runner.close()
    usable = sum(one.status is Status.CORRECT for one in done)
    return {
        "what": "tuner, local runner",
        "configs": len(configs),
        "usable": usable,
        "seconds": seconds,
        "per_minute": 60 * len(configs) / seconds,
        "idle": f"{max(0.0, 1 - busy / seconds):.0%}",
        "times": [float(np.median(one.samples["seconds"])) if one.samples else None for one in done],
    }


def _by_hand(kernel: TritonKernel, configs: list[Config], what: str) -> dict[str, Any]:
    torch = torch_of()
    triton.runtime.driver.reset_active()
    device = detect_gpu()
    workload = kernel.workload(_FIELDS)
    generator = torch.Generator(device="cuda").manual_seed(0)
    tensors = drawn({**kernel.operator.inputs(workload), **kernel.operator.outputs(workload)}, generator, "cuda")
    times: list[float | None] = []
    started = time.monotonic()
    for config in configs:
        [bound] = kernel.bound(kernel.program(config, workload, device), config, workload)
        function = kernel.function(bound.launch.entry)
        values = {name: tensors[v] if isinstance(v, str) else v for name, v in bound.values.items()}

        def call(bound: Any = bound, function: Any = function, values: Any = values) -> None:
            function[bound.launch.grid](**values, **bound.constants, **bound.launch.options)

        try:
            times.append(1e-3 * triton.testing.do_bench(call, return_mode="median"))
        except Exception as error:
            print(f"    {what}: {type(error).__name__}: {str(error)[:120]}", flush=True)
            times.append(None)
    seconds = time.monotonic() - started
    return {
        "what": what,
        "configs": len(configs),
        "usable": sum(one is not None for one in times),
        "seconds": seconds,
        "per_minute": 60 * len(configs) / seconds,
        "idle": "-",
        "times": times,
    }
