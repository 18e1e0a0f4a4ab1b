"""Measure the compile farm: its speed beside Triton in one process, what is pruned, and what a trial costs besides.

    python -m benchmarks.compile_farm --json figures.json

Nothing needs a GPU: all is compiled for one that is not here. The farm's workers are started before the clock, and
Triton is imported before it in the other way, too. The device of the last table replays: what a trial takes beyond its
build and its measurement is the library's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.devices import available_cores
from tuner.errors import BuildError
from tuner.farm import build_all
from tuner.gpus import limits_of, target_device
from tuner.kernels.gpu import GpuKernel
from tuner.kernels.gpu.binary import unpack
from tuner.kernels.gpu.occupancy import occupancy
from tuner.runners import LocalRunner
from tuner.tunable import installed, load, make_task
from tuner.types import Config, Sampling, Status, Task

MATMUL = "triton:matmul"
FIELDS = {"M": 4096, "N": 4096, "K": 4096, "dtype": "bf16"}
REPLAYED = f"{Path(__file__).parent / 'probes' / 'replayed.py'}:KERNEL"
SEQUENTIAL = """
import json, sys, time
from tuner.gpus import target_device
from tuner.tunable import load
from tuner.types import Config
request = json.loads(sys.stdin.read())
kernel, device = load(request["kernel"]), target_device(request["target"])
workload = kernel.workload(request["fields"])
kernel.build(Config(request["warm_up"]), workload, device)
started = time.perf_counter()
for config in request["configs"]:
    kernel.build(Config(config), workload, device)
print(time.perf_counter() - started)
"""


@dataclass(frozen=True)
class Throughput:
    """How long one way takes for all configs."""

    way: str
    workers: int
    configs: int
    seconds: float


def task_of(reference: str, target: str, fields: dict[str, Any]) -> Task:
    """Return a task for a GPU that is not here."""
    kernel = load(reference)
    return make_task(reference, kernel, kernel.workload(fields), target_device(target))


def sampled(task: Task, count: int, seed: int) -> list[Config]:
    """Return random configs of a task's space."""
    space = load(task.tunable).search_space(task.workload, task.device)
    return space.sample(np.random.default_rng(seed), count)


def sequential(target: str, configs: Sequence[Config], warm_up: Config) -> Throughput:
    """Return what Triton takes for one config after the other, in a process that has compiled one before."""
    request = {
        "kernel": MATMUL,
        "target": target,
        "fields": FIELDS,
        "configs": [dict(config) for config in configs],
        "warm_up": dict(warm_up),
    }
    done = subprocess.run(
        [sys.executable, "-c", SEQUENTIAL], input=json.dumps(request), capture_output=True, text=True, check=True
    )
    return Throughput("Triton, one after the other", 1, len(configs), float(done.stdout.splitlines()[-1]))


@contextlib.contextmanager
def cores(count: int) -> Iterator[None]:
    """Leave this process, and what it starts, so many cores: as many as workers, so that nobody else helps out."""
    before = available_cores()
    os.sched_setaffinity(0, before[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def farmed(target: str, configs: Sequence[Config], warm_up: Sequence[Config], workers: int) -> Throughput:
    """Return what the farm takes, with an empty cache and workers that have each compiled something before."""
    task = task_of(MATMUL, target, FIELDS)
    with tempfile.TemporaryDirectory() as folder, cores(workers):
        runner = LocalRunner(builders=workers, cache=Path(folder))
        try:
            build_all(runner, task, warm_up)
            found = build_all(runner, task, configs)
        finally:
            runner.close()
    return Throughput("tuner, local runner", workers, len(configs), found.seconds)


def pruned(name: str, target: str, count: int, seed: int) -> dict[str, Any]:
    """Return how many random configs of a kernel fit, spill too much, cannot run, or cannot be compiled."""
    kernel = load(name)
    assert isinstance(kernel, GpuKernel)
    device = target_device(target)
    workload = next(iter(kernel.workloads.values()))
    ends: Counter[str] = Counter()
    for config in sampled(task_of(name, target, dict(workload)), count, seed):
        try:
            binaries = unpack(kernel.build(config, workload, device))
        except BuildError:
            ends["not compiled"] += 1
            continue
        if any(not occupancy(one.resources, limits_of(device)).blocks for one in binaries):
            ends["cannot run"] += 1
        else:
            ends["spills" if kernel.pruning.refusal(binaries, limits_of(device)) else "fits"] += 1
    return {"kernel": name, "target": target, "configs": sum(ends.values()), "ends": dict(ends)}


def orchestration(target: str, count: int, seed: int, workers: int) -> dict[str, Any]:
    """Return what a trial takes whose build is in the cache and whose measurement is replayed."""
    task = task_of(REPLAYED, target, FIELDS)
    configs = sampled(task, count, seed)
    with tempfile.TemporaryDirectory() as folder, cores(workers):
        first = LocalRunner(builders=workers, cache=Path(folder))
        build_all(first, task, configs)
        first.close()
        runner = LocalRunner(builders=workers, cache=Path(folder))
        try:
            # The workers are started, and have loaded the kernel.
            warm = [runner.submit(task, config, Sampling(seed, 5)) for config in configs[: 2 * workers + 2]]
            [future.result() for future in warm]
            rest = configs[2 * workers + 2 :]
            started = time.perf_counter()
            done = [future.result() for future in [runner.submit(task, config, Sampling(seed, 5)) for config in rest]]
            seconds = time.perf_counter() - started
        finally:
            runner.close()
    right = sum(one.status is Status.CORRECT for one in done)
    return {"workers": workers, "trials": len(rest), "right": right, "seconds": seconds}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = parser_of(__doc__)
    parser.add_argument("--target", default="cuda:90", help="default %(default)s")
    parser.add_argument("--configs", type=int, default=16, help="builds to be timed; default %(default)s")
    parser.add_argument("--sample", type=int, default=24, help="configs of each space; default %(default)s")
    parser.add_argument("--trials", type=int, default=60, help="trials with the replaying device; default %(default)s")
    parser.add_argument("--parts", default="throughput,pruned,orchestration", help="what to measure; default all")
    quick = {"configs": 2, "sample": 1, "trials": 8, "parts": "throughput,orchestration"}
    options = options_of(parser, arguments, quick)
    report = Report("compile_farm", options, arguments)
    parts = options.parts.split(",")
    results: list[dict[str, Any]] = []
    tables = []
    counts = sorted({1, min(2, len(available_cores()))})
    if "throughput" in parts:
        configs = sampled(task_of(MATMUL, options.target, FIELDS), options.configs + 4, options.seed)
        warm_up, timed = configs[:4], configs[4:]
        ways = [sequential(options.target, timed, warm_up[0])]
        ways += [farmed(options.target, timed, warm_up, workers) for workers in counts]
        results += [asdict(way) for way in ways]
        rows = [
            [way.way, str(way.workers), str(way.configs), f"{way.seconds:.1f}", f"{ways[0].seconds / way.seconds:.2f}"]
            for way in ways
        ]
        tables.append(Table("compile-farm", ["way", "workers", "configs", "s", "sequential / this"], rows))
    if "pruned" in parts:
        names = [f"{chain}:{name}" for name, chains in installed().items() for chain in chains if chain != "cpp"]
        found = [pruned(name, options.target, options.sample, options.seed) for name in names]
        results += found
        columns = ("fits", "spills", "cannot run", "not compiled")
        rows = [
            [
                one["kernel"],
                str(one["configs"]),
                *(f"{one['ends'].get(end, 0) / one['configs']:.0%}" for end in columns),
            ]
            for one in found
        ]
        tables.append(Table("compile-farm-pruned", ["kernel", "configs", *columns], rows))
    if "orchestration" in parts:
        costs = [orchestration(options.target, options.trials, options.seed, workers) for workers in counts]
        results += costs
        rows = [
            [str(one["workers"]), str(one["trials"]), f"{1e3 * one['seconds'] / one['trials']:.1f}"] for one in costs
        ]
        tables.append(Table("compile-farm-orchestration", ["workers", "trials", "ms a trial"], rows))
    report.finish(results, tables)


if __name__ == "__main__":
    main()
