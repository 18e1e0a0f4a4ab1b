"""Every kernel of both toolchains on the device: edge shapes, all dtypes, the default and random configs."""

from __future__ import annotations

import time
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

_CONFIGS = 3
_SHAPES = 4
# Whatever is left, the other steps need time, too.
_LONGEST_SECONDS = 180.0
_COLUMNS = ("correct", "constraints", "compile", "correctness", "runtime")

Waiting = tuple[Workload, Config, Any]


def correctness(run: Run) -> dict[str, Any]:
    """Return for each kernel how many configs were right, wrong, pruned or failed, with what was wrong."""
    deadline = time.monotonic() + min(_LONGEST_SECONDS, run.left - 20)
    kernels = [f"{t}:{name}" for name, chains in installed().items() for t in chains if t in ("triton", "cuda")]
    results: list[dict[str, Any]] = []
    left_out: list[str] = []
    runner = run.runner()
    try:
        # All are asked for at once, so that builders never wait for the next kernel.
        waiting = {kernel: _asked(run, runner, kernel) for kernel in kernels}
        for kernel, asked in waiting.items():
            results.append(_judged(kernel, asked, deadline))
            left_out += [kernel] if results[-1]["unknown"] else []
            run.keep("correctness", {"kernels": results, "left_out": left_out})
    finally:
        runner.close()
    table(
        ["kernel", "workloads", "right", "pruned", "not built", "wrong", "crashed", "not reached"],
        [
            [one["kernel"], one["workloads"], *(one["counts"].get(key, 0) for key in _COLUMNS), one["unknown"]]
            for one in results
        ],
    )
    for one in results:
        for error in one["errors"]:
            print(f"  {one['kernel']}: {error}", flush=True)
    return {"kernels": results, "left_out": left_out}


def _asked(run: Run, runner: Runner, reference: str) -> list[Waiting]:
    """Return configs on edge shapes, with the measurements to come."""
    kernel = load(reference)
    assert isinstance(kernel, GpuKernel)
    device = detect("cuda")
    rng = np.random.default_rng(run.seed)
    waiting = []
    for workload in _workloads(kernel, rng):
        task = run.task(reference, workload)
        space = kernel.search_space(workload, device)
        count = 1 if run.quick else _CONFIGS
        configs = list(dict.fromkeys([kernel.default(workload, device), *space.sample(rng, count)]))
        waiting += [(workload, config, _measured(runner, task, config, run.seed)) for config in configs]
    return waiting


def _judged(reference: str, waiting: list[Waiting], deadline: float) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    errors = []
    for workload, config, future in waiting:
        try:
            [measurement] = future.result(timeout=max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            continue
        counts[_kind(measurement)] += 1
        if measurement.status not in (Status.CORRECT, Status.CONSTRAINTS):
            errors.append(f"{workload} {config}: {measurement.status.value}: {measurement.error}")
    print(f"  {reference}: {dict(counts)}", flush=True)
    return {
        "kernel": reference,
        "workloads": len({workload for workload, _, _ in waiting}),
        "counts": dict(counts),
        "unknown": len(waiting) - counts.total(),
        "errors": errors[:6],
    }


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
