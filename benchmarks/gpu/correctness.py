"""Every kernel of both toolchains on the device: edge shapes, all dtypes, the default and random configs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from benchmarks.gpu.step import Run, table
from tuner.devices import detect
from tuner.kernels.gpu import GpuKernel
from tuner.runners import Runner
from tuner.tunable import installed, load
from tuner.types import Config, Measurement, Sampling, Status, Task, Workload

__all__ = ["correctness"]

_CONFIGS = 4
_SHAPES = 4


def correctness(run: Run) -> dict[str, Any]:
    """Return for each kernel how many configs were right, wrong, pruned or failed, with what was wrong."""
    results = []
    with_gpu = {name: [t for t in chains if t in ("triton", "cuda")] for name, chains in installed().items()}
    runner = run.runner()
    try:
        for name, toolchains in with_gpu.items():
            for toolchain in toolchains:
                if run.left < 20:
                    print("out of time", flush=True)
                    break
                results.append(_kernel(run, runner, f"{toolchain}:{name}"))
    finally:
        runner.close()
    table(
        ["kernel", "workloads", "right", "pruned", "not built", "wrong", "crashed"],
        [[one["kernel"], one["workloads"], *(one["counts"].get(key, 0) for key in _COLUMNS)] for one in results],
    )
    for one in results:
        for error in one["errors"]:
            print(f"  {one['kernel']}: {error}", flush=True)
    return {"kernels": results}


_COLUMNS = ("correct", "constraints", "compile", "correctness", "runtime")


def _kernel(run: Run, runner: Runner, reference: str) -> dict[str, Any]:
    kernel = load(reference)
    assert isinstance(kernel, GpuKernel)
    device = detect("cuda")
    rng = np.random.default_rng(run.seed)
    workloads = _workloads(kernel, rng)
    waiting = []
    for workload in workloads:
        task = run.task(reference, workload)
        space = kernel.search_space(workload, device)
        count = 1 if run.quick else _CONFIGS
        configs = list(dict.fromkeys([kernel.default(workload, device), *space.sample(rng, count)]))
        waiting += [(workload, config, _measured(runner, task, config, run.seed)) for config in configs]
    counts: Counter[str] = Counter()
    errors = []
    for workload, config, future in waiting:
        [measurement] = future.result()
        counts[_kind(measurement)] += 1
        if measurement.status not in (Status.CORRECT, Status.CONSTRAINTS):
            errors.append(f"{workload} {config}: {measurement.status.value}: {measurement.error}")
    print(f"  {reference}: {dict(counts)}", flush=True)
    return {"kernel": reference, "workloads": len(workloads), "counts": dict(counts), "errors": errors[:6]}


def _kind(measurement: Measurement) -> str:
    kind = measurement.status.value
    return kind if kind in _COLUMNS else "runtime"


def _measured(runner: Runner, task: Task, config: Config, seed: int) -> Any:
    return runner.compare(task, [config], Sampling(seed, rounds=1, thorough=True), fresh=False)


def _workloads(kernel: GpuKernel, rng: np.random.Generator) -> list[Workload]:
    """Return edge shapes of the kernel's workloads, with every value of every field that has choices."""
    found: list[Workload] = []
    first = next(iter(kernel.workloads.values()))
    choices = {field.name: field.choices for field in kernel.operator.fields if field.choices}
    changes = [{name: value} for name, values in choices.items() for value in values] or [{}]
    for change in changes:
        edges = kernel.edges(kernel.workload({**first, **change}))
        found += [edges[i] for i in rng.permutation(len(edges))[:_SHAPES]]
    return list(dict.fromkeys(found))
