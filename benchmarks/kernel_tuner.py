"""Tuner beside Kernel Tuner's C backend: configs a minute, and how far two measurements of one config lie apart.

    python -m benchmarks.kernel_tuner --kernel int8_gemv --json kernel_tuner.json

Both tools get one kernel source, workload, compiler and set of flags, and the same configs: the default and what a
seeded random agent proposes. Nothing is cached from earlier runs. The two take turns block by block, the order changing
each time, so that a busy machine hits both.

**Configs a minute.** Tuner: the search of a `Campaign` with a `LocalRunner`, from the first proposal until the finals
begin; its finals, which the other has not, are not counted, and are shown beside it in the file. Kernel Tuner:
`tune_kernel(lang="C")`, once with its own 7 iterations, and once with so many that its time on the device (verification
and benchmark) equals tuner's per config. Its warm-up, a first config that it compiles and runs twice, is taken off, as
is the start of tuner's worker processes. Both check each config against the float64 reference by the operator's
tolerance, Kernel Tuner through its argument `verify`, on inputs made once; tuner on fresh inputs for each trial, with
all else that its check does.

**A/A error.** The same configs are measured again and again by both, at equal time on the device per config. The error
is the 95th percentile of |log(a / b)| over all pairs of measurements of one config. For tuner a measurement is the
trial's score, the paired ratio to the default that an agent is told. For Kernel Tuner it is `time`, the mean of its
iterations, by which it picks the best; the median and the minimum of its `times`, which it leaves to its user, stand
beside it.

Kernel Tuner's C functions time themselves: here by the monotonic clock, read in C before and after one call, as tuner's
do. Its setting `parallel` runs on Ray actors that ask for a GPU each, and is not for this backend.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from kernel_tuner import tune_kernel

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.agents import create_agent
from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.kernels.bfloat16 import from_bfloat16
from tuner.kernels.check import Arguments
from tuner.kernels.toolchains.cpp import INCLUDE, CppKernel
from tuner.objective import Objective
from tuner.plan import Budget, Plan
from tuner.result import Progress, Stage
from tuner.runners import LocalRunner, Recorder
from tuner.statistics import percentile
from tuner.tunable import load
from tuner.types import Config, Status, Task

AGENT = "random"
OWN_ITERATIONS = 7
# Workloads whose call takes longer than a clock needs, so that each sample of both tools is one call.
WORKLOADS = {"int8_gemv": "llama3-8b-decode", "layernorm": "gpt2-prefill"}

C_TYPES = {"float32": "float", "int8": "int8_t", "uint16": "uint16_t"}
# Its C functions return their own time, in milliseconds.
SOURCE = """\
#include <time.h>
#include "{source}"
struct anything {{
  const void *address;
  template <class number> operator number *() const {{ return (number *)address; }}
}};
extern "C" float timed({parameters}) {{
  timespec start, stop;
  clock_gettime(CLOCK_MONOTONIC, &start);
  kernel({arguments});
  clock_gettime(CLOCK_MONOTONIC, &stop);
  return 1e3f * (double(stop.tv_sec - start.tv_sec) + 1e-9 * double(stop.tv_nsec - start.tv_nsec));
}}
"""


@dataclass(frozen=True)
class Ours:
    """One block by tuner, in seconds."""

    configs: int
    search_seconds: float
    finals_seconds: float
    build_seconds: float
    device_seconds: float


@dataclass(frozen=True)
class Theirs:
    """One block by Kernel Tuner, in seconds; the warm-up is not in it."""

    iterations: int
    configs: int
    search_seconds: float
    build_seconds: float
    device_seconds: float


class Listed:
    """A strategy, as Kernel Tuner lets its users write one: proposes exactly these configs."""

    def __init__(self, rows: Sequence[Sequence[Any]]) -> None:
        self._rows = [tuple(row) for row in rows]

    def tune(self, _searchspace: Any, runner: Any, tuning_options: Any) -> Any:
        """Run all configs."""
        return runner.run(self._rows, tuning_options)


class Rival:
    """Kernel Tuner, set to one task."""

    def __init__(self, task: Task, seed: int) -> None:
        kernel = load(task.tunable)
        assert isinstance(kernel, CppKernel)
        operator, workload = kernel.operator, task.workload
        inputs = operator.inputs(workload, np.random.default_rng(seed))
        outputs = {name: (output.shape, output.dtype) for name, output in operator.outputs(workload).items()}
        arguments = Arguments(inputs, outputs)
        # What a kernel does not write must not pass: all bits set is a NaN.
        arguments.poison(0xFF)
        reference = operator.reference(workload, inputs)
        self._arrays = [*arguments.inputs.values(), *arguments.outputs.values()]
        self._keep = arguments
        self._answer = [*[None] * len(arguments.inputs), *(reference[name] for name in arguments.outputs)]
        self._tolerance = operator.tolerance(workload)
        space = kernel.search_space(workload, task.device)
        self._values = {p.name: [_plain(value) for value in p.values] for p in space.parameters}
        names = [f"argument_{i}" for i in range(len(self._arrays))]
        types = [C_TYPES[str(array.dtype)] for array in self._arrays]
        self._source = SOURCE.format(
            source=kernel.source.resolve(),
            parameters=", ".join(f"{kind} *{name}" for kind, name in zip(types, names, strict=True)),
            arguments=", ".join(f"anything{{{name}}}" for name in names),
        )
        macros = [f"-D{name.upper()}={value}" for name, value in workload.items()]
        self._options = [*kernel.flags(space.default), *macros, f"-I{INCLUDE}"]

    def tune(self, configs: Sequence[Config], iterations: int) -> tuple[float, list[dict[str, Any]]]:
        """Return the seconds that tuning took, and the results, one a config."""
        rows = [[_plain(config[name]) for name in self._values] for config in configs]
        with _in_folder():
            started = time.perf_counter()
            results, _ = tune_kernel(
                "timed",
                self._source,
                1,
                self._arrays,
                self._values,
                lang="C",
                compiler_options=self._options,
                answer=self._answer,
                verify=self._verify,
                iterations=iterations,
                strategy=Listed(rows),
                quiet=True,
            )
            seconds = time.perf_counter() - started
        if failed := [result for result in results if "__error__" in result]:
            raise SystemExit(f"Kernel Tuner failed: {failed[0]}")
        return seconds, results

    def _verify(self, answer: Sequence[Any], found: Sequence[Any], atol: float) -> bool:
        pairs = [pair for pair in zip(answer, found, strict=True) if pair[0] is not None]
        return all(self._holds(truth, _numbers(array)) for truth, array in pairs)

    def _holds(self, truth: npt.NDArray[Any], array: npt.NDArray[Any]) -> bool:
        limit = self._tolerance.absolute + self._tolerance.relative * np.abs(truth)
        return bool(np.all(np.abs(array - truth) <= limit))

    def block(self, configs: Sequence[Config], iterations: int) -> Theirs:
        """Return the figures of one tuning run."""
        seconds, results = self.tune(configs, iterations)
        builds = [result["compile_time"] / 1e3 for result in results]
        device = [(result["verification_time"] + result["benchmark_time"]) / 1e3 for result in results]
        # The warm-up is the first config once more.
        return Theirs(iterations, len(configs), seconds - builds[0] - device[0], sum(builds), sum(device))


def ours_block(task: Task, configs: Sequence[Config], seed: int) -> Ours:
    """Return the figures of one campaign with an empty cache, which proposes exactly `configs`."""
    turn: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as cache:
        runner, store = LocalRunner(cache=Path(cache)), MemoryStore()
        try:
            # Starting processes is not what is measured. Another workload's builds are of no use to this one.
            other = next(w for w in load(task.tunable).workloads.values() if w != task.workload)
            warm = Campaign([task_of(task.tunable, other)], Plan(AGENT, Budget(1)), runner=runner, store=store)
            warm.run()
            before, started = runner.activity, time.perf_counter()

            def watch(progress: Progress) -> None:
                if progress.stage is Stage.FINALS and not turn:
                    done = progress.activity
                    turn.append((time.perf_counter() - started, done.build_seconds, done.device_seconds))

            plan = Plan(AGENT, Budget(len(configs)), seed=seed)
            campaign = Campaign([task], plan, runner=runner, store=store, watch=watch)
            campaign.run()
            wall = time.perf_counter() - started
        finally:
            runner.close()
    trials = store.trials(campaign.id, task)
    assert [trial.config for trial in trials] == list(configs), "the campaign proposed other configs"
    # One may be too inexact for a distribution of inputs that the other tool does not try.
    if failed := [t for t in trials if t.measurement.status not in (Status.CORRECT, Status.CORRECTNESS)]:
        raise SystemExit(f"tuner failed: {failed[0]}")
    seconds, build, device = turn[0]
    return Ours(len(trials), seconds, wall - seconds, build - before.build_seconds, device - before.device_seconds)


def proposals(task: Task, count: int, seed: int) -> list[Config]:
    """Return the first configs that a campaign with `seed` proposes: the default, then what its agent asks for."""
    kernel = load(task.tunable)
    space = kernel.search_space(task.workload, task.device)
    agent = create_agent(AGENT, space, Objective(), seed=seed)
    found = {kernel.default(task.workload, task.device): None}
    while len(found) < count:
        asked = agent.ask(1)
        if not asked:
            break
        found[asked[0]] = None
    return list(found)


def spread(repeats: Sequence[Sequence[float]]) -> float:
    """Return the 95th percentile of |log(a / b)| over pairs of repeats of one config, pooled over configs.

    Repeats without a time, in which a config was too inexact for the inputs that were drawn, do not count.
    """
    usable = [[time for time in own if math.isfinite(time)] for own in repeats]
    pairs = [abs(math.log(a / b)) for own in usable for a, b in itertools.combinations(own, 2)]
    return percentile(pairs, 95)


def compare_speed(task: Task, rival: Rival, configs: int, blocks: int, seed: int, iterations: int) -> dict[str, Any]:
    """Return the blocks of both tools, and the ratios of configs a minute."""
    ours: list[Ours] = []
    own: list[Theirs] = []
    equal: list[Theirs] = []
    for number in range(blocks):
        chosen = proposals(task, configs, seed + number)
        turns: list[Callable[[], None]] = [
            lambda chosen=chosen, number=number: ours.append(ours_block(task, chosen, seed + number)),  # type: ignore[misc]
            lambda chosen=chosen: own.append(rival.block(chosen, OWN_ITERATIONS)),  # type: ignore[misc]
            lambda chosen=chosen: equal.append(rival.block(chosen, iterations)),  # type: ignore[misc]
        ]
        for turn in turns if number % 2 == 0 else turns[::-1]:
            turn()
    rates = {name: _per_minute(done) for name, done in (("tuner", ours), ("own", own), ("equal", equal))}
    return {
        "blocks": {
            "tuner": [asdict(block) for block in ours],
            "own": [asdict(block) for block in own],
            "equal": [asdict(block) for block in equal],
        },
        "configs_per_minute": rates,
        "ratio_own": rates["tuner"] / rates["own"],
        "ratio_equal": rates["tuner"] / rates["equal"],
        "block_ratios_own": [b.search_seconds / a.search_seconds for a, b in zip(ours, own, strict=True)],
    }


def compare_errors(
    task: Task, rival: Rival, configs: Sequence[Config], repeats: int, seed: int, iterations: int
) -> dict[str, Any]:
    """Return what both tools measured of the same configs, again and again, and the spread of each."""
    scores: list[list[float]] = [[] for _ in configs]
    times: list[list[list[float]]] = [[] for _ in configs]
    device = {"tuner": 0.0, "kernel_tuner": 0.0}
    runner = LocalRunner()
    try:

        def measure_ours(repeat: int) -> None:
            recorder = Recorder(runner, task, campaign=f"repeat-{repeat}", seed=seed + repeat)
            before = runner.activity.device_seconds
            for own, trial in zip(scores, [recorder.submit(c).result() for c in configs], strict=True):
                own.append(Objective().score(trial))
            device["tuner"] += runner.activity.device_seconds - before

        def measure_theirs(_repeat: int) -> None:
            _, results = rival.tune(configs, iterations)
            for own, result in zip(times, results, strict=True):
                own.append(list(result["times"]))
                device["kernel_tuner"] += (result["verification_time"] + result["benchmark_time"]) / 1e3

        for repeat in range(repeats):
            for measure in (measure_ours, measure_theirs) if repeat % 2 == 0 else (measure_theirs, measure_ours):
                measure(repeat)
    finally:
        runner.close()
    statistic: dict[str, Callable[[Sequence[float]], float]] = {
        "mean": statistics.fmean,
        "median": statistics.median,
        "minimum": min,
    }
    errors = {"tuner": spread(scores)}
    for name, of in statistic.items():
        errors[f"kernel_tuner_{name}"] = spread([[of(samples) for samples in own] for own in times])
    return {
        "iterations": iterations,
        "device_seconds_per_config": {tool: spent / repeats / len(configs) for tool, spent in device.items()},
        "errors": errors,
        "scores": scores,
        "estimates_milliseconds": [
            [{name: of(samples) for name, of in statistic.items()} for samples in own] for own in times
        ],
    }


def equal_iterations(task: Task, rival: Rival, configs: Sequence[Config], seed: int) -> int:
    """Return how many iterations make Kernel Tuner's time on the device equal to tuner's, per config."""
    block = ours_block(task, configs, seed)
    _, results = rival.tune(configs, OWN_ITERATIONS)
    verification = statistics.fmean(result["verification_time"] for result in results)
    iteration = statistics.fmean(result["benchmark_time"] for result in results) / OWN_ITERATIONS
    left = 1e3 * block.device_seconds / block.configs - verification
    return max(OWN_ITERATIONS, round(left / iteration))


def tables(results: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Return both comparisons."""
    speed, error = [], []
    for result in results:
        rates, found = result["speed"]["configs_per_minute"], result["aa"]
        iterations, errors = found["iterations"], found["errors"]
        device = found["device_seconds_per_config"]
        speed.append(
            [
                f"{result['kernel']} {result['workload']}",
                f"{rates['tuner']:.0f}",
                f"{rates['own']:.0f}",
                f"{result['speed']['ratio_own']:.2f}",
                f"{rates['equal']:.0f} ({iterations})",
                f"{result['speed']['ratio_equal']:.2f}",
            ]
        )
        error.append(
            [
                f"{result['kernel']} {result['workload']}",
                f"{1e3 * device['tuner']:.0f} ms, {1e3 * device['kernel_tuner']:.0f} ms",
                *(f"{100 * value:.1f} %" for value in errors.values()),
            ]
        )
    titles = [
        "kernel",
        "tuner",
        "Kernel Tuner, 7 iterations",
        "ratio",
        "Kernel Tuner, equal time (iterations)",
        "ratio",
    ]
    return [
        Table("kernel_tuner-configs-a-minute", titles, speed),
        Table(
            "kernel_tuner-aa-error",
            ["kernel", "device time per config", "tuner", "Kernel Tuner", "its median", "its minimum"],
            error,
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, run both tools, print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--kernel", action="append", choices=sorted(WORKLOADS), help="may be repeated; default: all")
    parser.add_argument("--configs", type=int, default=20, help="configs of each block (default %(default)s)")
    parser.add_argument("--blocks", type=int, default=4, help="blocks of each tool (default %(default)s)")
    parser.add_argument("--repeated", type=int, default=4, help="configs measured repeatedly (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=20, help="measurements of each (default %(default)s)")
    quick = {"kernel": ["layernorm"], "configs": 3, "blocks": 1, "repeated": 2, "repeats": 2}
    options = options_of(parser, arguments, quick)
    # Our kernels are of no block of threads, and it would say so again and again.
    warnings.filterwarnings("ignore", "None of the tunable parameters specify thread block dimensions")
    report = Report("kernel_tuner", options, arguments)
    results = []
    for name in options.kernel or sorted(WORKLOADS):
        task = task_of(f"cpp:{name}", WORKLOADS[name])
        rival = Rival(task, options.seed)
        repeated = proposals(task, options.repeated, options.seed)
        iterations = equal_iterations(task, rival, repeated, options.seed)
        speed = compare_speed(task, rival, options.configs, options.blocks, options.seed, iterations)
        print(f"{name}: {speed['ratio_own']:.2f} times its configs a minute", flush=True)
        found = compare_errors(task, rival, repeated, options.repeats, options.seed, iterations)
        results.append({"kernel": name, "workload": WORKLOADS[name], "speed": speed, "aa": found})
    report.finish(results, tables(results))


def _per_minute(blocks: Sequence[Ours] | Sequence[Theirs]) -> float:
    return 60 * sum(block.configs for block in blocks) / sum(block.search_seconds for block in blocks)


def _plain(value: Any) -> Any:
    """Return a parameter's value as its macro: true is 1."""
    return int(value) if isinstance(value, bool) else value


def _numbers(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an output as numbers; `uint16` holds bfloat16."""
    return from_bfloat16(array) if array.dtype == np.uint16 else array


@contextlib.contextmanager
def _in_folder() -> Iterator[None]:
    """Work in a folder of its own: Kernel Tuner writes its files into the current one."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


if __name__ == "__main__":
    main()
