"""Time how long constructing and enumerating search spaces takes, side by side with python-constraint2.

Both are given the value lists and the constraints as text, and both end with the same thing: a list of one tuple of
values for each valid config, or of one dict. The runs are interleaved, so that a busy machine slows both, and the
figures are ratios of medians. Beside them stand the time until tuner has every config as a row of indices, which is
where agents start, and the time until it has made a `Config` of each.

Example:
    python benchmarks/search_spaces.py --spaces constraints.json --json figures.json
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from constraint import OptimizedBacktrackingSolver, Problem
from numpy.typing import NDArray

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

Dicts = list[dict[str, Scalar]]
Tuples = list[tuple[Scalar, ...]]


@dataclass(frozen=True)
class Figures:
    """What was measured of one space.

    Attributes:
        product: Combinations, valid or not.
        configs: Valid configs; both must find as many.
        seconds: Median time of each way from value lists and texts to its result.
        ratio_tuples: tuner / python-constraint2 where both end with tuples of values; below 1, tuner is faster.
        ratio_dicts: The same where both end with dicts.
        runs: How often each way was timed.
    """

    name: str
    product: int
    configs: int
    seconds: Mapping[str, float]
    ratio_tuples: float
    ratio_dicts: float
    runs: int


def constructed(parameters: Mapping[str, Sequence[Scalar]], constraints: Sequence[str]) -> SearchSpace:
    """Return the space; the first value of each parameter is its default, and these must go together."""
    return SearchSpace(
        [Parameter(name, values) for name, values in parameters.items()],
        [Constraint.parse(text) for text in constraints],
    )


def rows_by_tuner(parameters: Mapping[str, Sequence[Scalar]], constraints: Sequence[str]) -> NDArray[Any]:
    """Return the index vectors of all valid configs."""
    return constructed(parameters, constraints).table


def configs_by_tuner(parameters: Mapping[str, Sequence[Scalar]], constraints: Sequence[str]) -> list[Config]:
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


def tuples_by_tuner(parameters: Mapping[str, Sequence[Scalar]], constraints: Sequence[str]) -> Tuples:
    """Return all valid configs as tuples of values."""
    return list(value_tuples(constructed(parameters, constraints)))


def dicts_by_tuner(parameters: Mapping[str, Sequence[Scalar]], constraints: Sequence[str]) -> Dicts:
    """Return all valid configs as dicts."""
    space = constructed(parameters, constraints)
    return list(map(dict, map(zip, repeat(space.names), value_tuples(space))))


def problem(parameters: Mapping[str, Sequence[Scalar]], constraints: Sequence[str]) -> Problem:
    """Return the space as python-constraint2 holds it: its fastest solver, the texts for its own parser."""
    stated = Problem(OptimizedBacktrackingSolver(forwardcheck=False))
    for name, values in parameters.items():
        stated.addVariable(name, list(values))
    for text in constraints:
        stated.addConstraint(text)
    return stated


def tuples_by_constraint(parameters: Mapping[str, Sequence[Scalar]], constraints: Sequence[str]) -> Tuples:
    """Return all valid configs as tuples of values."""
    solutions: Tuples = problem(parameters, constraints).getSolutionsOrderedList(list(parameters))
    return solutions


def dicts_by_constraint(parameters: Mapping[str, Sequence[Scalar]], constraints: Sequence[str]) -> Dicts:
    """Return all valid configs as dicts."""
    solutions: Dicts = problem(parameters, constraints).getSolutions()
    return solutions


# Each pair is compared; what stands alone is shown beside it.
WAYS: Mapping[str, Callable[[Mapping[str, Sequence[Scalar]], Sequence[str]], Sized]] = {
    "tuner_tuples": tuples_by_tuner,
    "constraint_tuples": tuples_by_constraint,
    "tuner_dicts": dicts_by_tuner,
    "constraint_dicts": dicts_by_constraint,
    "tuner_rows": rows_by_tuner,
    "tuner_configs": configs_by_tuner,
}


def measured(name: str, definition: Mapping[str, Any], runs: int) -> Figures:
    """Return the figures of one space; the runs of all ways are interleaved."""
    parameters, constraints = definition["parameters"], definition["constraints"]
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    found: set[int] = set()
    for _ in range(runs):
        for way, enumerated in WAYS.items():
            gc.collect()
            start = time.perf_counter()
            result = enumerated(parameters, constraints)
            seconds[way].append(time.perf_counter() - start)
            found.add(len(result))
            del result
    if len(found) > 1:
        raise SystemExit(f"{name}: tuner and python-constraint2 disagree on the number of valid configs: {found}")
    medians = {way: statistics.median(own) for way, own in seconds.items()}
    return Figures(
        name=name,
        product=constructed(parameters, constraints).product_size,
        configs=found.pop(),
        seconds=medians,
        ratio_tuples=medians["tuner_tuples"] / medians["constraint_tuples"],
        ratio_dicts=medians["tuner_dicts"] / medians["constraint_dicts"],
        runs=runs,
    )


def main() -> None:
    """Read the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description="Time search spaces side by side with python-constraint2.")
    parser.add_argument("--spaces", type=Path, help="JSON: name -> {parameters: name -> values, constraints: texts}")
    parser.add_argument("--runs", type=int, default=7, help="how often to time each (default %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    spaces = json.loads(arguments.spaces.read_text()) if arguments.spaces else SYNTHETIC
    titles = [way.replace("_", " ") for way in WAYS]
    print("milliseconds; a ratio below 1 means that tuner is faster")
    print(f"{'space':<14}{'configs':>9}" + "".join(f"{title:>19}" for title in titles) + "  ratio tuples, dicts")
    every = []
    for name, definition in spaces.items():
        figures = measured(name, definition, arguments.runs)
        every.append(asdict(figures))
        times = "".join(f"{figures.seconds[way] * 1e3:>19.1f}" for way in WAYS)
        ratios = f"{figures.ratio_tuples:>14.2f}{figures.ratio_dicts:>7.2f}"
        print(f"{name:<14}{figures.configs:>9}{times}{ratios}")
    if arguments.json:
        arguments.json.write_text(json.dumps(every, indent=1) + "\n")


if __name__ == "__main__":
    main()
