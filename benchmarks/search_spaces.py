"""Time how long constructing and enumerating search spaces takes, side by side with two others that do the same.

    python -m benchmarks.search_spaces --spaces constraints.json --json figures.json

All are given the value lists and the constraints as text, and like is compared with like:

- a list of one tuple of values for each valid config: tuner, Kernel Tuner (`Searchspace(...).list`, made as
  `tune_kernel` makes it), and python-constraint2, on which Kernel Tuner stands;
- a list of one dict for each: tuner and python-constraint2, which makes dicts while it solves; Kernel Tuner has none.

Beside them stand the time until tuner has every config as a row of indices, which is where agents start, and the time
until it has made a `Config` of each. A `Searchspace` also holds a dict from each tuple to its place; a `SearchSpace`
answers the same question from its constraints. The runs are interleaved, so that a busy machine slows all, and the
figures are ratios of medians. With `--fresh`, each way is also timed in processes of its own, as the first thing that
they do after their imports: what a program pays that constructs one space.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from constraint import OptimizedBacktrackingSolver, Problem
from kernel_tuner.searchspace import Searchspace
from numpy.typing import NDArray

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Scalar

# A tiled matrix product, with the usual limits on tiles and threads.
SYNTHETIC: Mapping[str, Any] = {
    "synthetic": {
        "parameters": {
            "BLOCK_M": [16, 32, 64, 128, 256],
            "BLOCK_N": [16, 32, 64, 128, 256],
            "BLOCK_K": [16, 32, 64],
            "THREAD_M": [1, 2, 4, 8],
            "THREAD_N": [1, 2, 4, 8],
            "STAGES": [1, 2, 3, 4],
            "VECTOR": [1, 2, 4],
            "PAD": [0, 1],
        },
        "constraints": [
            "BLOCK_M * BLOCK_N <= 16384",
            "(BLOCK_M * BLOCK_K + BLOCK_K * BLOCK_N) * STAGES * 4 <= 98304",
            "32 <= (BLOCK_M // THREAD_M) * (BLOCK_N // THREAD_N) <= 1024",
            "BLOCK_K % (VECTOR * 4) == 0",
            "PAD == 0 or VECTOR < 4",
        ],
    }
}

# The limit that Kernel Tuner's compiler backend puts on a block of threads; the recorded spaces state it themselves.
MOST_THREADS = 1024

Values = Mapping[str, Sequence[Scalar]]
Dicts = list[dict[str, Scalar]]
Tuples = list[tuple[Scalar, ...]]


@dataclass(frozen=True)
class Figures:
    """What was measured of one space.

    Attributes:
        product: Combinations, valid or not.
        configs: Valid configs; all must find as many.
        seconds: Median time of each way from value lists and texts to its result.
        fresh_seconds: The same in processes of their own; empty if not asked for.
        runs: How often each way was timed.
        fresh_runs: How many processes each way was timed in.
    """

    name: str
    product: int
    configs: int
    seconds: Mapping[str, float]
    fresh_seconds: Mapping[str, float]
    runs: int
    fresh_runs: int


def constructed(parameters: Values, constraints: Sequence[str]) -> SearchSpace:
    """Return the space; the first value of each parameter is its default, and these must go together."""
    return SearchSpace(
        [Parameter(name, values) for name, values in parameters.items()],
        [Constraint.parse(text) for text in constraints],
    )


def rows_by_tuner(parameters: Values, constraints: Sequence[str]) -> NDArray[Any]:
    """Return the index vectors of all valid configs."""
    return constructed(parameters, constraints).table


def configs_by_tuner(parameters: Values, constraints: Sequence[str]) -> list[Config]:
    """Return all valid configs."""
    return list(constructed(parameters, constraints))


def value_tuples(space: SearchSpace) -> Iterator[tuple[Scalar, ...]]:
    """Return the values of each valid config in the order of the parameters."""
    columns = []
    for axis, parameter in enumerate(space.parameters):
        values = np.empty(len(parameter), dtype=object)
        values[:] = parameter.values
        columns.append(values[space.table[:, axis]].tolist())
    return zip(*columns, strict=True)


def tuples_by_tuner(parameters: Values, constraints: Sequence[str]) -> Tuples:
    """Return all valid configs as tuples of values."""
    return list(value_tuples(constructed(parameters, constraints)))


def dicts_by_tuner(parameters: Values, constraints: Sequence[str]) -> Dicts:
    """Return all valid configs as dicts."""
    space = constructed(parameters, constraints)
    names = [f"value_{axis}" for axis in range(len(space.names))]
    # Written out, as namedtuple does it: a display of constant keys takes two thirds of the time of dict(zip()).
    items = ", ".join(f"{key!r}: {name}" for key, name in zip(space.names, names, strict=True))
    dicts: Dicts = eval(f"[{{{items}}} for ({', '.join(names)},) in tuples]", {"tuples": value_tuples(space)})
    return dicts


def tuples_by_kernel_tuner(parameters: Values, constraints: Sequence[str]) -> Tuples:
    """Return all valid configs as tuples of values."""
    tuples: Tuples = Searchspace(dict(parameters), list(constraints), MOST_THREADS).list
    return tuples


def problem(parameters: Values, constraints: Sequence[str]) -> Problem:
    """Return the space as python-constraint2 holds it: its fastest solver, the texts for its own parser."""
    stated = Problem(OptimizedBacktrackingSolver(forwardcheck=False))
    for name, values in parameters.items():
        stated.addVariable(name, list(values))
    for text in constraints:
        stated.addConstraint(text)
    return stated


def tuples_by_constraint(parameters: Values, constraints: Sequence[str]) -> Tuples:
    """Return all valid configs as tuples of values."""
    solutions: Tuples = problem(parameters, constraints).getSolutionsOrderedList(list(parameters))
    return solutions


def dicts_by_constraint(parameters: Values, constraints: Sequence[str]) -> Dicts:
    """Return all valid configs as dicts."""
    solutions: Dicts = problem(parameters, constraints).getSolutions()
    return solutions


WAYS: Mapping[str, Callable[[Values, Sequence[str]], Sized]] = {
    "tuner_tuples": tuples_by_tuner,
    "kernel_tuner_tuples": tuples_by_kernel_tuner,
    "constraint_tuples": tuples_by_constraint,
    "tuner_dicts": dicts_by_tuner,
    "constraint_dicts": dicts_by_constraint,
    "tuner_rows": rows_by_tuner,
    "tuner_configs": configs_by_tuner,
}
# A ratio below 1 means that tuner is faster.
RATIOS = {
    "tuner / Kernel Tuner, tuples": ("tuner_tuples", "kernel_tuner_tuples"),
    "tuner / python-constraint2, tuples": ("tuner_tuples", "constraint_tuples"),
    "tuner / python-constraint2, dicts": ("tuner_dicts", "constraint_dicts"),
}


def timed(way: str, definition: Mapping[str, Any]) -> tuple[float, int]:
    """Return the seconds that `way` takes, and how many configs it finds."""
    gc.collect()
    start = time.perf_counter()
    result = WAYS[way](definition["parameters"], definition["constraints"])
    return time.perf_counter() - start, len(result)


def timed_fresh(way: str, definition: Mapping[str, Any]) -> tuple[float, int]:
    """Return what `timed` returns in a process that has done nothing before."""
    code = (
        "import json, sys; from benchmarks.search_spaces import timed; "
        "print(json.dumps(timed(sys.argv[1], json.load(sys.stdin))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, way], input=json.dumps(definition), capture_output=True, text=True, check=True
    )
    seconds, count = json.loads(done.stdout)
    return seconds, count


def measured(name: str, definition: Mapping[str, Any], runs: int, fresh: int) -> Figures:
    """Return the figures of one space; the runs of all ways are interleaved."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    fresh_seconds: dict[str, list[float]] = {way: [] for way in WAYS if fresh}
    found: set[int] = set()
    for times, count, clock in ((seconds, runs, timed), (fresh_seconds, fresh, timed_fresh)):
        for _ in range(count):
            for way in WAYS:
                spent, configs = clock(way, definition)
                times[way].append(spent)
                found.add(configs)
    if len(found) > 1:
        raise SystemExit(f"{name}: the ways disagree on the number of valid configs: {found}")
    return Figures(
        name=name,
        product=constructed(definition["parameters"], definition["constraints"]).product_size,
        configs=found.pop(),
        seconds={way: statistics.median(own) for way, own in seconds.items()},
        fresh_seconds={way: statistics.median(own) for way, own in fresh_seconds.items()},
        runs=runs,
        fresh_runs=fresh,
    )


def tables(every: Sequence[Figures]) -> list[Table]:
    """Return the ratios, and the milliseconds that they come from."""
    ratios, times = [], []
    for figures in every:
        for label, seconds in (("", figures.seconds), (" (first in a process)", figures.fresh_seconds)):
            if seconds:
                space = [figures.name + label, f"{figures.configs:,}"]
                ratios.append([*space, *(f"{seconds[ours] / seconds[other]:.2f}" for ours, other in RATIOS.values())])
                times.append([*space, *(f"{seconds[way] * 1e3:.1f}" for way in WAYS)])
    return [
        Table("search_spaces", ["space", "valid configs", *RATIOS], ratios),
        Table(
            "search_spaces-milliseconds",
            ["space", "valid configs", *(way.replace("_", " ") for way in WAYS)],
            times,
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, measure, print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--spaces",
        type=Path,
        metavar="FILE",
        help="JSON: name -> {parameters: name -> values, constraints: texts}; default: a tiled matrix product",
    )
    parser.add_argument("--runs", type=int, default=7, help="how often to time each (default %(default)s)")
    parser.add_argument("--fresh", type=int, default=0, help="processes to time each way in (default %(default)s)")
    options = options_of(parser, arguments, {"runs": 1})
    report = Report("search_spaces", options, arguments)
    spaces = json.loads(options.spaces.read_text()) if options.spaces else SYNTHETIC
    every = [measured(name, definition, options.runs, options.fresh) for name, definition in spaces.items()]
    report.finish([asdict(figures) for figures in every], tables(every))


if __name__ == "__main__":
    main()
