"""Configs for devices that nobody has tuned for: how good are they without a single trial?

    python -m benchmarks.one_shot --recorded FOLDER --json one_shot.json

For each recorded space, what is known are the spaces of the same kernel on the other devices, whole. One config is
chosen for the device that was left out, from its maker's figures alone, and judged by optimum / its time (0 where it
fails).

- nearest: the best config of the device whose figures are nearest.
- average: the config whose time over the best, averaged over the known devices (geometric mean), is lowest.
- cost model: ridge regression of the logarithm of that ratio on the config's values and pairs of values; the config
  that is predicted to be fastest. `trees` is the same by extremely randomised trees, which see the device's figures.
- policy: a softmax over all configs with the same inputs, trained by the exact policy gradient of the expected
  optimum / time on the known devices: every config's reward is known, so that nothing has to be sampled.
- `with figures`: both with the values times the device's figures as further inputs.

Without --recorded, random spaces stand for a kernel and its devices, as a smoke test: their figures mean nothing.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.db.kernel_tuner import read_cache_file
from tuner.envs import Landscape
from tuner.train import recorded_files

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
_LEARNING_RATE = 0.05
_RIDGE = 10.0


@dataclass(frozen=True, eq=False)
class Case:
    """A kernel on a device: its configs, logarithm of time / best, and the device's figures in logarithms."""

    kernel: str
    device: str
    rows: NDArray[np.int64]
    logs: Floats
    figures: Floats

    @property
    def shares(self) -> Floats:
        """Optimum / time of each config; 0 where it fails."""
        return np.nan_to_num(np.exp(-self.logs), nan=0.0)


def recorded_cases(folder: Path) -> list[Case]:
    """Return the recorded spaces in `folder` of devices whose figures are known."""
    cases = []
    for path in recorded_files([folder]):
        kernel, _, device = path.name.split(".")[0].partition("_")
        if device in FIGURES:
            landscape = Landscape.of(read_cache_file(path))
            logs = landscape.logs - np.nanmin(landscape.logs)
            cases.append(Case(kernel, device, landscape.rows, logs, np.log2(FIGURES[device])))
    return cases


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
            for one, other in combinations(range(len(self._cards)), 2)
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
        values: list[NDArray[np.float32]] = [
            np.eye(card, dtype=np.float32)[rows[:, axis]] for axis, card in enumerate(self._cards) if card > 1
        ]
        pairs = [
            np.eye(self._cards[one] * self._cards[other], dtype=np.float32)[
                rows[:, one] * self._cards[other] + rows[:, other]
            ]
            for one, other in self._pairs
        ]
        single = np.concatenate(values, axis=1)
        with_device = [single * np.float32(figure) for figure in self.scaled(figures)] if self._with_figures else []
        return np.concatenate([single, *pairs, *with_device], axis=1)


def nearest(known: Sequence[Case], target: Case, _: np.random.Generator) -> Floats:
    """Return the time over the best on the nearest device; infinite for configs that it has not."""
    inputs = Inputs(known)
    here = inputs.scaled(target.figures)
    closest = min(known, key=lambda case: float(np.square(inputs.scaled(case.figures) - here).sum()))
    return np.nan_to_num(_looked_up(closest, target.rows), nan=np.inf)


def average(known: Sequence[Case], target: Case, _: np.random.Generator) -> Floats:
    """Return the mean logarithm over the known devices; infinite for configs that failed or are missing on one."""
    mean: Floats = np.mean([_looked_up(case, target.rows) for case in known], axis=0)
    return np.nan_to_num(mean, nan=np.inf)


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
    forest = ExtraTreesRegressor(60, min_samples_leaf=2, random_state=int(rng.integers(2**31)))
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


METHODS: Mapping[str, Callable[[Sequence[Case], Case, np.random.Generator], Floats]] = {
    "nearest": nearest,
    "average": average,
    "trees": trees,
    "cost model": cost_model,
    "with figures": functools.partial(cost_model, with_figures=True),
    "policy": policy,
    "policy with figures": functools.partial(policy, with_figures=True),
}


def _softmax(logits: NDArray[np.floating]) -> Floats:
    chances: Floats = np.exp(logits.astype(np.float64) - logits.max())
    chances /= chances.sum()
    return chances


def _plain(rows: NDArray[np.int64], figures: Floats) -> Floats:
    return np.concatenate([rows, np.broadcast_to(figures, (len(rows), len(figures)))], axis=1)


def _looked_up(case: Case, rows: NDArray[np.int64]) -> Floats:
    """Return what a case has recorded of `rows`; NaN where that is nothing, or a failure."""
    known = dict(zip(map(tuple, case.rows.tolist()), case.logs.tolist(), strict=True))
    return np.array([known.get(row, np.nan) for row in map(tuple, rows.tolist())])


def main(arguments: Sequence[str] | None = None) -> None:
    """Choose, judge, and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--recorded", type=Path, help="a folder of KERNEL_DEVICE.json.gz")
    options = options_of(parser, arguments, {})
    report = Report("one_shot", options, arguments)
    rng = np.random.default_rng(options.seed)
    cases = recorded_cases(options.recorded) if options.recorded else random_cases(rng)
    results: list[dict[str, Any]] = []
    rows = []
    for target in cases:
        known = [case for case in cases if case.kernel == target.kernel and case is not target]
        shares = {name: float(target.shares[choose(known, target, rng).argmin()]) for name, choose in METHODS.items()}
        results.append({"kernel": target.kernel, "device": target.device, **shares})
        print(target.kernel, target.device, shares, file=sys.stderr, flush=True)
        rows.append([target.kernel, target.device, *(f"{share:.3f}" for share in shares.values())])
    means = [np.mean([result[name] for result in results]) for name in METHODS]
    lowest = [min(result[name] for result in results) for name in METHODS]
    rows.append(["mean", "", *(f"{mean:.3f}" for mean in means)])
    rows.append(["worst", "", *(f"{least:.3f}" for least in lowest)])
    report.finish(results, [Table("one_shot", ["kernel", "device left out", *METHODS], rows)])


if __name__ == "__main__":
    main()
