"""Configs for devices and shapes that nobody has tuned for: how good are they without a single trial?

    python -m benchmarks.one_shot --recorded FOLDER --shapes FOLDER --json one_shot.json
    python -m benchmarks.one_shot --shapes benchmarks/recorded_shapes --distance --json one_shot_distance.json

Leave one device out: for each recorded space of --recorded (KERNEL_DEVICE.json.gz), what is known are the spaces of the
same kernel on the other devices, whole. Leave one shape out: for each space of --shapes (recorded by `tuner record`,
which keeps the workload), those of the same kernel and device at other workloads. One config is chosen for what was
left out, from its figures alone, and judged by optimum / its time (0 where it fails). The figures of a device are its
maker's; those of a shape are the logarithms of the workload's numbers.

- default: the kernel's own default, where the file tells it.
- nearest: the best of the configs that are valid here, by the device whose figures are nearest, or by the workload that
  the fewest doublings lie from, as lookups count them (`tuner.nearby.distance`).
- average: the config whose time over the best, averaged over what is known (geometric mean), is lowest; it has to be
  recorded in half of the known spaces at least, and to fail in none.
- near average: the same, a space counting 1 / (1 + the square of its distance).
- cost model: ridge regression of the logarithm of that ratio on the config's values and pairs of values; the config
  that is predicted to be fastest. `trees` is the same by extremely randomised trees, which see the figures.
- policy: a softmax over all configs with the same inputs, trained by the exact policy gradient of the expected
  optimum / time in the known spaces: every config's reward is known, so that nothing has to be sampled.
- `with figures`: both with the values times the figures as further inputs.

Without --recorded and --shapes, random spaces stand for a kernel and its devices, as a smoke test: their figures mean
nothing.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.db.kernel_tuner import RecordedSpace, read_cache_file
from tuner.envs import Landscape
from tuner.nearby import distance
from tuner.train import recorded_files
from tuner.types import Scalar, Status, Workload

Floats = NDArray[np.float64]

# The makers' figures: compute units, memory bandwidth in GB/s, float32 Tflop/s, last-level cache in MB, threads that
# run in step. Of an MI250X, one of its two dies.
FIGURES: Mapping[str, tuple[float, float, float, float, float]] = {
    "A100": (108, 1555, 19.5, 40, 32),
    "A6000": (84, 768, 38.7, 6, 32),
    "MI250X": (110, 1638, 23.9, 8, 64),
    "W6600": (28, 224, 10.4, 32, 32),
    "RTX_2080_Ti": (68, 616, 13.4, 5.5, 32),
    "RTX_3060_laptop": (30, 336, 10.9, 3, 32),
    "RTX_Titan": (72, 672, 16.3, 6, 32),
}
_STEPS = 300
# So many that their choice hardly depends on chance.
_TREES = 200
_LEARNING_RATE = 0.05
_RIDGE = 10.0
_DOUBLINGS = (0.0, 2.0, 4.0, 6.0, math.inf)


@dataclass(frozen=True, eq=False)
class Case:
    """A kernel on a device or at a shape.

    Attributes:
        group: What is known of the others of a group tells of this one: the kernel, and the device where shapes differ.
        name: The device or the shape.
        rows: The configs, as positions among the values that any case of the group has.
        logs: Logarithm of each config's time / best; NaN where it fails.
        figures: Of the device or the shape, in logarithms to the base 2.
        default: The position of the kernel's default among the configs; None where nobody knows.
        workload: Of a shape.
    """

    group: str
    name: str
    rows: NDArray[np.int64]
    logs: Floats
    figures: Floats
    default: int | None = None
    workload: Workload | None = None

    @property
    def shares(self) -> Floats:
        """Optimum / time of each config; 0 where it fails."""
        return np.nan_to_num(np.exp(-self.logs), nan=0.0)


def recorded_cases(folder: Path) -> list[Case]:
    """Return the recorded spaces in `folder` of devices whose figures are known."""
    groups: dict[str, dict[str, RecordedSpace]] = {}
    for path in recorded_files([folder]):
        kernel, _, device = path.name.split(".")[0].partition("_")
        if device in FIGURES:
            groups.setdefault(kernel, {})[device] = read_cache_file(path)
    return [
        Case(kernel, device, rows, logs, np.log2(FIGURES[device]))
        for kernel, spaces in groups.items()
        for device, (rows, logs, _) in zip(spaces, _aligned(list(spaces.values())), strict=True)
    ]


def shape_cases(folder: Path) -> list[Case]:
    """Return the recorded spaces in `folder`, whose files tell the workload, where there are three of a kind at least.

    Of a kind are those of one kernel on one device whose workloads differ in numbers alone.
    """
    groups: dict[tuple[object, ...], list[RecordedSpace]] = {}
    for path in recorded_files([folder]):
        recorded = read_cache_file(path)
        words = tuple((name, value) for name, value in recorded.task.workload.items() if not _is_number(value))
        groups.setdefault((recorded.kernel, recorded.device, words), []).append(recorded)
    cases = []
    for spaces in groups.values():
        if len(spaces) < 3:
            continue
        workloads = [recorded.task.workload for recorded in spaces]
        varying = [
            name
            for name, value in workloads[0].items()
            if _is_number(value) and len({workload[name] for workload in workloads}) > 1
        ]
        for recorded, (rows, logs, default) in zip(spaces, _aligned(spaces), strict=True):
            workload = recorded.task.workload
            name = " ".join(f"{name}={workload[name]}" for name in varying)
            figures = np.array([math.log2(float(workload[name])) for name in varying])
            kernel = recorded.kernel.partition(":")[2] or recorded.kernel
            cases.append(Case(kernel, name, rows, logs, figures, default, workload))
    return cases


def _aligned(spaces: Sequence[RecordedSpace]) -> list[tuple[NDArray[np.int64], Floats, int]]:
    """Return for each space its configs as positions among the values that any has, log(time / best), and the default.

    The default is a position among the configs, which are in lexicographic order.
    """
    values: dict[str, list[Scalar]] = {}
    for recorded in spaces:
        for parameter in recorded.space.parameters:
            known = values.setdefault(parameter.name, [])
            known += [value for value in parameter.values if value not in known]
    if any(len(p.values) < len(values[p.name]) for recorded in spaces for p in recorded.space.parameters):
        # Values that some lack stand where they belong by size.
        values = {name: sorted(own) if all(map(_is_number, own)) else own for name, own in values.items()}
    places = {name: {value: place for place, value in enumerate(own)} for name, own in values.items()}
    cases = []
    for recorded in spaces:
        rows = [[places[name][config[name]] for name in values] for config in recorded.measurements]
        times = [min(m.samples.get("seconds", (math.nan,))) for m in recorded.measurements.values()]
        works = [measurement.status is Status.CORRECT for measurement in recorded.measurements.values()]
        logs = np.log(np.where(works, times, np.nan))
        by_row = np.array(sorted(range(len(rows)), key=rows.__getitem__))
        default = list(recorded.measurements).index(recorded.space.default)
        cases.append(
            (np.array(rows)[by_row], logs[by_row] - np.nanmin(logs), int(np.flatnonzero(by_row == default)[0]))
        )
    return cases


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def random_cases(rng: np.random.Generator) -> list[Case]:
    """Return three devices of one random kernel: its own times with some of another random space's."""
    base = Landscape.random(rng)
    rows, logs = base.rows[:800], base.logs[:800]
    noise = rng.normal(size=(3, 4)) @ rng.normal(size=(4, len(rows)))
    return [
        Case("random", f"device-{i}", rows, (own := logs + 0.1 * noise[i]) - np.nanmin(own), rng.normal(size=5))
        for i in range(3)
    ]


class Inputs:
    """What a model sees: values and pairs of values of configs, and, if asked for, values times a device's figures."""

    def __init__(self, cases: Sequence[Case], *, with_figures: bool = False) -> None:
        self._with_figures = with_figures
        rows = np.concatenate([case.rows for case in cases])
        self._cards = rows.max(axis=0) + 1
        self._pairs = [
            (one, other)
            for one, other in itertools.combinations(range(len(self._cards)), 2)
            if self._cards[one] > 1 and self._cards[other] > 1
        ]
        figures = np.stack([case.figures for case in cases])
        self._mean, self._spread = figures.mean(axis=0), figures.std(axis=0) + 1e-6

    def scaled(self, figures: Floats) -> Floats:
        """Return a device's figures in standard deviations of the known ones, at most two off."""
        scaled: Floats = ((figures - self._mean) / self._spread).clip(-2, 2)
        return scaled

    def __call__(self, rows: NDArray[np.int64], figures: Floats) -> NDArray[np.float32]:
        """Return one row of numbers for each config."""
        cards = self._cards
        values = [_hot(rows[:, axis], card) for axis, card in enumerate(cards.tolist()) if card > 1]
        pairs = []
        for one, other in self._pairs:
            both = rows[:, one] * cards[other] + rows[:, other]
            known = (rows[:, one] < cards[one]) & (rows[:, other] < cards[other])
            pairs.append(_hot(np.where(known, both, cards[one] * cards[other]), int(cards[one] * cards[other])))
        single = np.concatenate(values, axis=1)
        with_device = [single * np.float32(figure) for figure in self.scaled(figures)] if self._with_figures else []
        return np.concatenate([single, *pairs, *with_device], axis=1)


def default(_known: Sequence[Case], target: Case, _: np.random.Generator) -> Floats:
    """Return 0 for the kernel's default, and 1 elsewhere; NaN where nobody knows it."""
    if target.default is None:
        return np.full(len(target.rows), np.nan)
    others: Floats = (np.arange(len(target.rows)) != target.default).astype(float)
    return others


def nearest(known: Sequence[Case], target: Case, _: np.random.Generator) -> Floats:
    """Return the time over the best in the nearest case; infinite for configs that it has not."""
    closest = known[int(_distances(known, target).argmin())]
    return np.nan_to_num(_looked_up(closest, target.rows), nan=np.inf)


def average(known: Sequence[Case], target: Case, _: np.random.Generator, *, near: bool = False) -> Floats:
    """Return the mean logarithm over the known cases, the near ones weighing more if `near`.

    It is infinite for configs that failed in one, or are missing in more than half.
    """
    logs = np.array([_looked_up(case, target.rows) for case in known])
    weights = 1 / (1 + _distances(known, target) ** 2) if near else np.ones(len(known))
    there = ~np.isnan(logs)
    weights = there * weights[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(there, logs * weights, 0.0).sum(axis=0) / weights.sum(axis=0)
    return np.where((np.isinf(logs).any(axis=0)) | (there.mean(axis=0) < 0.5), np.inf, mean)


def cost_model(known: Sequence[Case], target: Case, _: np.random.Generator, *, with_figures: bool = False) -> Floats:
    """Return what ridge regression predicts."""
    inputs = Inputs(known, with_figures=with_figures)
    seen = np.concatenate([inputs(case.rows, case.figures)[np.isfinite(case.logs)] for case in known])
    logs = np.concatenate([case.logs[np.isfinite(case.logs)] for case in known])
    mean = logs.mean()
    weights = np.linalg.solve(seen.T @ seen + _RIDGE * np.eye(seen.shape[1]), seen.T @ (logs - mean))
    predicted: Floats = (inputs(target.rows, target.figures) @ weights).astype(np.float64)
    return predicted


def trees(known: Sequence[Case], target: Case, rng: np.random.Generator) -> Floats:
    """Return what extremely randomised trees predict from indices and figures."""
    seen = np.concatenate([_plain(case.rows, case.figures)[np.isfinite(case.logs)] for case in known])
    logs = np.concatenate([case.logs[np.isfinite(case.logs)] for case in known])
    forest = ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=int(rng.integers(2**31)))
    predicted: Floats = forest.fit(seen, logs).predict(_plain(target.rows, target.figures))
    return predicted


def policy(known: Sequence[Case], target: Case, _: np.random.Generator, *, with_figures: bool = False) -> Floats:
    """Return minus the preferences of a policy that was trained on the known devices."""
    inputs = Inputs(known, with_figures=with_figures)
    seen = [inputs(case.rows, case.figures) for case in known]
    weights: Floats = np.zeros(seen[0].shape[1])
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, _STEPS + 1):
        gradients = []
        for case, numbers in zip(known, seen, strict=True):
            # In the precision of the inputs, which would be copied otherwise.
            chances = _softmax(numbers @ weights.astype(np.float32))
            value = float(chances @ case.shares)
            gradients.append((chances * (case.shares - value)).astype(np.float32) @ numbers)
        gradient = np.mean(gradients, axis=0) - 1e-4 * weights
        # Adam (Kingma and Ba, ICLR 2015), uphill.
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        weights += _LEARNING_RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    preferences: Floats = inputs(target.rows, target.figures) @ weights
    return -preferences


def _distances(known: Sequence[Case], target: Case) -> Floats:
    """Return how far the target lies from each case: in doublings, or in deviations of the devices' figures."""
    if target.workload is not None:
        workloads = [case.workload for case in known if case.workload is not None]
        return np.array([distance(workload, target.workload) for workload in workloads])
    inputs = Inputs(known)
    here = inputs.scaled(target.figures)
    return np.array([np.linalg.norm(inputs.scaled(case.figures) - here) for case in known])


METHODS: Mapping[str, Callable[[Sequence[Case], Case, np.random.Generator], Floats]] = {
    "default": default,
    "nearest": nearest,
    "average": average,
    "near average": functools.partial(average, near=True),
    "trees": trees,
    "cost model": cost_model,
    "with figures": functools.partial(cost_model, with_figures=True),
    "policy": policy,
    "policy with figures": functools.partial(policy, with_figures=True),
}


def _hot(places: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """Return a column for each place; values beyond, which were never seen, have none."""
    return np.eye(count + 1, count, dtype=np.float32)[np.minimum(places, count)]


def _softmax(logits: NDArray[np.floating]) -> Floats:
    chances: Floats = np.exp(logits.astype(np.float64) - logits.max())
    chances /= chances.sum()
    return chances


def _plain(rows: NDArray[np.int64], figures: Floats) -> Floats:
    return np.concatenate([rows, np.broadcast_to(figures, (len(rows), len(figures)))], axis=1)


def _looked_up(case: Case, rows: NDArray[np.int64]) -> Floats:
    """Return what a case has recorded of `rows`; NaN where that is nothing, infinite where they failed."""
    logs = np.where(np.isnan(case.logs), np.inf, case.logs)
    known = dict(zip(map(tuple, case.rows.tolist()), logs.tolist(), strict=True))
    return np.array([known.get(row, np.nan) for row in map(tuple, rows.tolist())])


def judged(cases: Sequence[Case], seed: int) -> list[dict[str, Any]]:
    """Return for each case the share of the optimum that each method reaches without seeing it; NaN where it cannot."""
    results = []
    for place, target in enumerate(cases):
        rng = np.random.default_rng([seed, place])
        known = [case for case in cases if case.group == target.group and case is not target]
        shares: dict[str, float] = {}
        for name, choose in METHODS.items():
            worth = choose(known, target, rng)
            shares[name] = math.nan if np.isnan(worth).any() else float(target.shares[worth.argmin()])
        print(target.group, target.name, shares, file=sys.stderr, flush=True)
        results.append({"kernel": target.group, "left_out": target.name, **shares})
    return results


def table_of(name: str, what: str, results: Sequence[Mapping[str, Any]], *, by_kernel: bool) -> Table:
    """Return the results as a table: a row for each case, or for each kernel with the mean of its cases."""
    names = [method for method in METHODS if not math.isnan(results[0][method])]

    def cells(chosen: Sequence[Mapping[str, Any]], reduce: Callable[[list[float]], Any] = np.mean) -> list[str]:
        return [f"{reduce([result[method] for result in chosen]):.3f}" for method in names]

    kernels = list(dict.fromkeys(result["kernel"] for result in results))
    if by_kernel:
        groups = {kernel: [result for result in results if result["kernel"] == kernel] for kernel in kernels}
        rows = [[kernel, str(len(own)), *cells(own)] for kernel, own in groups.items()]
    else:
        rows = [[result["kernel"], result["left_out"], *cells([result])] for result in results]
    rows += [["mean", "", *cells(results)], ["worst", "", *cells(results, min)]]
    return Table(name, ["kernel", what, *names], rows)


def by_distance(cases: Sequence[Case]) -> tuple[list[dict[str, Any]], Table]:
    """Return what each shape's best config is worth at each other shape of its group, and the means by distance."""
    results: list[dict[str, Any]] = []
    for known, target in itertools.permutations(cases, 2):
        if known.group != target.group or target.default is None:
            continue
        share = float(np.exp(-_looked_up(target, known.rows[[np.nanargmin(known.logs)]])[0]))
        # A lookup does not serve what is not valid for the workload that was asked for.
        if not math.isnan(share):
            results.append(
                {
                    "kernel": target.group,
                    "known": known.name,
                    "left_out": target.name,
                    "doublings": float(_distances([known], target)[0]),
                    "share": share,
                    "default_share": float(target.shares[target.default]),
                }
            )
    rows = []
    for low, high in itertools.pairwise(_DOUBLINGS):
        near = [one for one in results if low < one["doublings"] <= high]
        if near:
            shares, defaults = ([one[name] for one in near] for name in ("share", "default_share"))
            own = f"{np.mean(shares):.3f}", f"{min(shares):.3f}", f"{np.mean(defaults):.3f}", f"{min(defaults):.3f}"
            rows.append([f"over {low:g}" if math.isinf(high) else f"{low:g} to {high:g}", str(len(near)), *own])
    columns = ["doublings apart", "pairs", "other shape's best", "at worst", "default", "at worst"]
    return results, Table("one_shot-distance", columns, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Choose, judge, and print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--recorded", type=Path, help="a folder of KERNEL_DEVICE.json.gz: leave one device out")
    parser.add_argument("--shapes", type=Path, help="a folder of recordings of many workloads: leave one shape out")
    parser.add_argument("--distance", action="store_true", help="of --shapes, only: how far a best config carries")
    options = options_of(parser, arguments, {})
    if options.distance and not options.shapes:
        parser.error("--distance needs --shapes FOLDER")
    report = Report("one_shot", options, arguments)
    if options.distance:
        pairs, table = by_distance(shape_cases(options.shapes))
        report.finish(pairs, [table])
        return
    results: list[dict[str, Any]] = []
    tables = []
    if options.recorded or not options.shapes:
        random = np.random.default_rng(options.seed)
        own = judged(recorded_cases(options.recorded) if options.recorded else random_cases(random), options.seed)
        results += own
        tables.append(table_of("one_shot", "device left out", own, by_kernel=False))
    if options.shapes:
        own = judged(shape_cases(options.shapes), options.seed)
        results += own
        tables.append(table_of("one_shot-shapes", "shapes left out in turn", own, by_kernel=True))
    report.finish(results, tables)


if __name__ == "__main__":
    main()
