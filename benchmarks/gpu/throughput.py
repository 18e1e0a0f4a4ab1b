"""Configs a minute: our runner beside a loop of Triton's do_bench and beside its autotuner, over the same configs.

Each compiles all of them anew. What is not counted is what each does once, however many configs there are: workers that
start, torch and Triton that are imported, a first config that is compiled and run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import triton
import triton.testing

from benchmarks.gpu.step import Run, kernel_of, table
from tuner.devices import detect_gpu
from tuner.kernels.gpu.kernel import Bound
from tuner.kernels.gpu.memory import drawn, torch_of
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.types import Config, Sampling, Status

__all__ = ["throughput"]

_FIELDS = {"M": 4096, "N": 4096, "K": 4096}
_CONFIGS = 40
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
        for config in space.sample(np.random.default_rng(run.seed + 1), 20 * wanted)
        # One launch each, so that Triton's autotuner can run them: parts of K are summed by another one.
        if config["SPLIT_K"] == 1 and not config["PERSISTENT"] and not config["DESCRIPTOR"]
    ][:wanted]
    fresh = replace(run, cache=run.cache / f"fresh-{time.time_ns()}")
    found: dict[str, Any] = {"workload": dict(workload), "configs": [dict(config) for config in configs]}
    rows: list[dict[str, Any]] = []
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "tuner": lambda: _tuner(fresh, kernel, configs),
        "do_bench loop": lambda: _by_hand(kernel, configs, _looped),
        "triton.autotune": lambda: _by_hand(kernel, configs, _autotuned),
    }
    for what, way in ways.items():
        rows.append({"what": what, **way()})
        found["ways"] = rows
        run.keep("throughput", found)
    table(
        ["what", "configs", "usable", "s", "configs a minute", "device idle", "best us"],
        [
            [
                one["what"],
                len(configs),
                one["usable"],
                f"{one['seconds']:.1f}",
                f"{one['per_minute']:.0f}",
                "-" if one["idle"] is None else f"{one['idle']:.0%}",
                f"{1e6 * min(time for time in one['times'] if time):.1f}",
            ]
            for one in rows
        ],
    )
    return found


def _told(configs: Sequence[Config], times: Sequence[float | None], seconds: float, **more: Any) -> dict[str, Any]:
    return {
        "usable": sum(one is not None for one in times),
        "seconds": seconds,
        "per_minute": 60 * len(configs) / seconds,
        "times": list(times),
        **more,
    }


def _tuner(run: Run, kernel: TritonKernel, configs: list[Config]) -> dict[str, Any]:
    runner = run.runner()
    task = run.task("triton:matmul", _FIELDS)
    space = kernel.search_space(task.workload, task.device)
    warm_up = space.sample(np.random.default_rng(run.seed + 2), 3 * runner.builders)
    try:
        begun = time.monotonic()
        for future in [runner.build(task, config) for config in warm_up if config not in configs]:
            future.result()
        runner.submit(task, kernel.default(task.workload, task.device), Sampling(run.seed, 3)).result()
        started, before = time.monotonic(), runner.activity
        waiting = [runner.submit(task, config, Sampling(run.seed, _ROUNDS, precision=0.01)) for config in configs]
        done = [future.result() for future in waiting]
        seconds = time.monotonic() - started
        after = runner.activity
    finally:
        runner.close()
    times = [float(np.median(one.samples["seconds"])) if one.status is Status.CORRECT else None for one in done]
    device_seconds = after.device_seconds - before.device_seconds
    return _told(
        configs,
        times,
        seconds,
        idle=max(0.0, 1 - device_seconds / seconds),
        device_seconds=device_seconds,
        build_seconds=after.build_seconds - before.build_seconds,
        builders=runner.builders,
        start_seconds=started - begun,
        pairs=sum(len(one.samples.get("seconds", ())) for one in done),
        statuses=[one.status.value for one in done],
        errors=[one.error for one in done if one.error][:4],
        measure_seconds=[one.measure_seconds for one in done],
    )


def _by_hand(
    kernel: TritonKernel, configs: list[Config], way: Callable[[Any, list[Bound], Any], dict[str, Any]]
) -> dict[str, Any]:
    """Return what one process takes that compiles and times one config after the other."""
    torch = torch_of()
    triton.runtime.driver.reset_active()
    device = detect_gpu()
    workload = kernel.workload(_FIELDS)
    generator = torch.Generator(device="cuda").manual_seed(0)
    tensors = drawn({**kernel.operator.inputs(workload), **kernel.operator.outputs(workload)}, generator, "cuda")

    def bound(config: Config) -> Bound:
        [one] = kernel.bound(kernel.program(config, workload, device), config, workload)
        return one

    first = bound(kernel.default(workload, device))
    function = kernel.function(first.launch.entry)
    values = {name: tensors[v] if isinstance(v, str) else v for name, v in first.values.items()}
    with tempfile.TemporaryDirectory() as folder:
        triton.knobs.cache.dir = str(Path(folder))
        function.device_caches.clear()
        _call(function, first, values)()
        torch.cuda.synchronize()
        started = time.monotonic()
        found = way(function, [bound(config) for config in configs], values)
        seconds = time.monotonic() - started
        function.device_caches.clear()
    return _told(configs, found.pop("times"), seconds, **found)


def _call(function: Any, bound: Bound, values: Mapping[str, Any]) -> Callable[[], None]:
    def call() -> None:
        function[bound.launch.grid](**values, **bound.constants, **bound.launch.options)

    return call


def _looped(function: Any, configs: list[Bound], values: Mapping[str, Any]) -> dict[str, Any]:
    torch = torch_of()
    times: list[float | None] = []
    compiling, begun = 0.0, time.monotonic()
    for bound in configs:
        call = _call(function, bound, values)
        started = time.monotonic()
        try:
            call()
            torch.cuda.synchronize()
            compiling += time.monotonic() - started
            times.append(1e-3 * triton.testing.do_bench(call, return_mode="median"))
        except Exception as error:
            print(f"    {type(error).__name__}: {str(error)[:120]}", flush=True)
            times.append(None)
    # At least so: do_bench's own pauses are not in it.
    return {"times": times, "compile_seconds": compiling, "idle": compiling / (time.monotonic() - begun)}


def _autotuned(function: Any, configs: list[Bound], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `triton.autotune` takes for the configs, in one call of the kernel."""
    grids = {_tile(bound.constants): bound.launch.grid for bound in configs}
    known = [
        triton.Config(dict(bound.constants), **{name: int(bound.launch.options[name]) for name in _OPTIONS})
        for bound in configs
    ]
    tuned = triton.autotune(configs=known, key=[])(function)
    tuned[lambda meta: grids[_tile(meta)]](**values)
    torch_of().cuda.synchronize()
    timings = [tuned.configs_timings[one] for one in known]
    medians = [one[0] if isinstance(one, Sequence) else one for one in timings]
    times = [1e-3 * one if np.isfinite(one) else None for one in medians]
    return {"times": times, "idle": None, "best": str(tuned.best_config)}


_OPTIONS = ("num_warps", "num_stages")


def _tile(constants: Mapping[str, Any]) -> tuple[int, int]:
    """Return what decides the grid."""
    return int(constants["BLOCK_M"]), int(constants["BLOCK_N"])
