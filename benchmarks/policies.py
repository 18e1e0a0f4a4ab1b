"""Trained policies beside the searches that they stand on, on kernels that they were not trained on.

    python -m benchmarks.policies --recorded FOLDER --kept build/policies --json policies.json

For each kernel of FOLDER (KERNEL_DEVICE.json.gz), policies are trained on the spaces of the other kernels and on random
ones, and judged on its own: leave one kernel out. `exact` learns from what every config of a slate would have given;
`ppo` goes on from there by PPO; `untrained` always takes the config of greatest expected improvement; `plain` chooses
from neighbours and random configs, without any model of the scores, by PPO from the beginning, and `plain-NAME` by
other algorithms. `imagine` is `ppo`, trained further during the search in what its model imagines. `gp` and `lfbo` are
agents of the kinds that advise `exact` and `ppo`.

`--leave-out device` leaves out all spaces of the device instead, and `--leave-out generation` those of all devices of
its kind; the kernel is in training then, on other devices. With `--trials` above 100, one table shows the late part.

With `--prior`, runs are told 200 random records of the kernel on each of the other devices, as `benchmarks.agents`
tells them, and a policy that was trained with such priors, and to stop, is judged beside `auto`, which also is shown as
`--patience 0.005` would have ended it. `net` is optimum / best at the end less 0.0005 a trial: what it was trained for.

Policies and curves stay in the folder --kept and are not made again: a run that was interrupted goes on, and one of
fewer trials or seeds is cut out of what is there. `fN` is
optimum / best after N trials, the mean over spaces and seeds; a difference is to the first of them on the same spaces
and seeds, with its bootstrap interval over spaces and seeds. A last table judges the policies that were trained without
the first kernel on fresh random spaces. Without --recorded, a smoke run on random spaces, whose figures mean nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.agents import create_agent
from tuner.agents.network import weight_shapes
from tuner.agents.policy_file import Policy, load_policy, save_policy
from tuner.agents.slate import ADVISED, INFORMED, SlateShape
from tuner.db.kernel_tuner import RecordedSpace, read_cache_file, write_cache_file
from tuner.envs import Landscape
from tuner.objective import Objective
from tuner.replay.play import play
from tuner.replay.prior import source_of
from tuner.schedule import LOOK_AHEAD, Curve, Prospect
from tuner.train import Algorithm, Training, TrainingProgress, recorded_files, train_policy
from tuner.types import Config, Measurement, Status, Trial

CHECKPOINTS = (10, 15, 25, 35, 50, 75, 100, 150, 200)
# From here on a run is long, and has a table of its own.
_LONG = 100
_NEAR = 0.95
# Devices that are built alike.
GENERATIONS = {
    "A100": "Ampere",
    "A6000": "Ampere",
    "RTX_3060_laptop": "Ampere",
    "RTX_2080_Ti": "Turing",
    "RTX_Titan": "Turing",
    "MI250X": "AMD",
    "W6600": "AMD",
}
RESAMPLES = 2000
# Seeds of random spaces that are in no training, and of runs on each.
_FRESH, _FRESH_SEEDS = 70_000, 2
# Policies without advice, by what trains them.
PLAIN = {
    "plain": Algorithm.PPO,
    "plain-a2c": Algorithm.A2C,
    "plain-dqn": Algorithm.DQN,
    "plain-exact": Algorithm.EXACT,
}
IMAGINE = "imagine"
# A policy that is told what other tasks say, and what it goes on from.
INFORMED_POLICY, INFORMED_START = "informed", "informed-exact"
POLICIES = ("untrained", "exact", "ppo", IMAGINE, INFORMED_START, INFORMED_POLICY, *PLAIN)
# What a trial costs in `net`, and the patience that stands for the same: so much is saved by ten more trials.
_PRICE, _PATIENCE = 0.0005, 0.005
_PRIOR_RECORDS = 200

Floats = NDArray[np.float64]

_FAILED = Measurement(Status.RUNTIME, error="recorded so")


def kernel_of(path: Path) -> str:
    """Return the kernel that a file is of: the first word of its name."""
    return path.name.partition("_")[0]


def left_out(path: Path, options: argparse.Namespace) -> str:
    """Return what policies must not have seen that are judged on a file."""
    kernel, _, device = path.name.partition(".")[0].partition("_")
    if options.leave_out == "kernel":
        return kernel
    return GENERATIONS.get(device, device) if options.leave_out == "generation" else device


def kept(path: Path, train: Callable[[], Policy]) -> Path:
    """Return `path`, with a policy in it that is trained now if there is none."""
    if not path.exists():
        began = time.monotonic()
        save_policy(train(), path)
        print(f"{path.name}: trained in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return path


def untrained() -> Policy:
    """Return the policy that always takes the config of greatest expected improvement."""
    weights = {name: np.zeros(size, dtype=np.float32) for name, size in weight_shapes(ADVISED, 1).items()}
    weights["skip.weight"][0, ADVISED.config_names.index("improvement")] = 1
    return Policy("untrained", ADVISED, weights, 100)


def policy_of(name: str, without: str, paths: Sequence[Path], options: argparse.Namespace) -> Path:
    """Return the file of a policy that was trained without what `left_out` calls `without`."""
    if name == IMAGINE:
        return policy_of("ppo", without, paths, options)
    if name == "untrained":
        return kept(options.kept / "untrained.zip", untrained)
    others = tuple(path for path in paths if left_out(path, options) != without)
    shared = {"recorded": others, "random": options.random, "seed": options.seed}
    watch = _Line(f"{name} without {without}")
    if name in PLAIN:
        steps = options.dqn_steps if PLAIN[name] is Algorithm.DQN else options.plain_steps
        training = Training(PLAIN[name], steps=steps, shape=SlateShape(), **shared)
    elif name == INFORMED_START:
        training = Training(Algorithm.EXACT, steps=options.informed_steps, shape=INFORMED, **shared)
    elif name == INFORMED_POLICY:
        start = load_policy(policy_of(INFORMED_START, without, paths, options))
        training = Training(Algorithm.PPO, steps=options.informed_ppo_steps, shape=INFORMED, start=start, **shared)
    elif name == "exact":
        training = Training(Algorithm.EXACT, steps=options.steps, shape=ADVISED, **shared)
    else:
        start = load_policy(policy_of("exact", without, paths, options))
        training = Training(Algorithm.PPO, steps=options.ppo_steps, shape=ADVISED, start=start, **shared)
    return kept(options.kept / f"{name}_without_{without}.zip", lambda: train_policy(training, watch=watch))


class _Line:
    """Says now and then how far a training is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = time.monotonic() + 30

    def __call__(self, now: TrainingProgress) -> None:
        if time.monotonic() > self._next:
            self._next = time.monotonic() + 30
            print(f"{self._name}: {now.steps} steps, {now.optimum_share:.3f}", file=sys.stderr, flush=True)


def curves_of(
    agent: str, recorded: RecordedSpace, trials: int, seeds: int, others: Sequence[RecordedSpace] = ()
) -> Floats:
    """Return optimum / best after each trial, (seeds, trials); 0 before one worked, NaN after the agent stopped.

    Args:
        agent: Its name.
        recorded: What answers.
        trials: Of a run.
        seeds: Runs.
        others: Spaces whose records the agent is told.
    """
    rows = []
    for seed in range(seeds):
        sources = [
            source_of(other, _PRIOR_RECORDS, np.random.default_rng([seed, place])) for place, other in enumerate(others)
        ]
        run = play(create_agent(agent, recorded.space, Objective(), seed=seed, sources=sources), recorded, trials)
        curve = recorded.optimum_seconds / np.array(run.curve)
        rows.append(np.pad(curve, (0, trials - len(curve)), constant_values=np.nan))
    return np.array(rows)


def interval(differences: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of (spaces, seeds), spaces and seeds drawn anew."""
    spaces, seeds = differences.shape
    means = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(spaces, size=(spaces, 1))
        drawn = rng.integers(seeds, size=(spaces, seeds))
        means.append(float(differences[chosen, drawn].mean()))
    low, high = np.percentile(means, [2.5, 97.5]).tolist()
    return low, high


def judged(options: argparse.Namespace, paths: Sequence[Path]) -> tuple[list[dict[str, Any]], list[Table]]:
    """Return the figures of all agents and policies, and their tables."""
    options.kept.mkdir(parents=True, exist_ok=True)
    names = [*options.agents, *options.policies]
    shares: dict[str, list[Floats]] = {name: [] for name in names}
    results: list[dict[str, Any]] = []
    chosen = [path for path in paths if not options.only or left_out(path, options) in options.only]
    for path in chosen:
        recorded = read_cache_file(path)
        for name in names:
            curves = judged_on(recorded, name, left_out(path, options), options.seeds, paths, options)
            shares[name].append(curves)
            results.append({"space": recorded.name, "agent": name, **samples_of(curves, options)})
    kernels = [kernel_of(path) for path in chosen]
    if options.prior:
        return results, [Table(f"{options.table}-prior", *priors_of(shares, options))]
    if options.trials > _LONG:
        return results, [Table(f"{options.table}-long", *long_of(shares, options))]
    if options.leave_out != "kernel":
        return results, [Table(f"{options.table}-{options.leave_out}", *means_of(shares, options))]
    tables = [
        Table(options.table, *means_of(shares, options)),
        Table(f"{options.table}-kernels", *kernels_of(shares, kernels, options)),
    ]
    if options.fresh:
        fresh: dict[str, list[Floats]] = {name: [] for name in names}
        for seed in range(_FRESH, _FRESH + options.fresh):
            recorded = Landscape.random(np.random.default_rng(seed), f"fresh-{seed}").recorded()
            for name in names:
                curves = judged_on(recorded, name, left_out(paths[0], options), _FRESH_SEEDS, paths, options)
                fresh[name].append(curves)
                results.append({"space": recorded.name, "agent": name, **samples_of(curves, options)})
        tables.append(Table(f"{options.table}-fresh", *means_of(fresh, options)))
    return results, tables


def judged_on(
    recorded: RecordedSpace, name: str, without: str, seeds: int, paths: Sequence[Path], options: argparse.Namespace
) -> Floats:
    """Return the curves of an agent on a space, or of a policy that was trained without `without`."""
    agent, title = name, name
    if name in POLICIES:
        agent = f"policy:{policy_of(name, without, paths, options)}{',imagine' if name == IMAGINE else ''}"
        title = name if options.leave_out == "kernel" else f"{name}-by-{options.leave_out}"
    others: list[RecordedSpace] = []
    if options.prior:
        chosen = [
            path for path in paths if kernel_of(path) == without and not path.name.startswith(f"{recorded.name}.")
        ]
        others = [read_cache_file(path) for path in chosen]
        title += "-prior"
    curves = kept_curves(options.kept, f"{title}_{recorded.name}", options.trials, seeds)
    if curves is None:
        curves = curves_of(agent, recorded, options.trials, seeds, others)
        np.save(options.kept / f"{title}_{recorded.name}_{options.trials}x{seeds}.npy", curves)
    last = lasting(curves)
    print(f"{recorded.name} {name}: {_figures(last.mean(axis=0), options.trials)}", file=sys.stderr, flush=True)
    return curves if options.prior else last


def kept_curves(folder: Path, name: str, trials: int, seeds: int) -> Floats | None:
    """Return curves that were made before, perhaps with more trials or seeds; None if there are none."""
    for file in sorted(folder.glob(f"{name}_*x*.npy")):
        long, _, many = file.stem.removeprefix(f"{name}_").partition("x")
        if long.isdecimal() and many.isdecimal() and int(long) >= trials and int(many) >= seeds:
            curves: Floats = np.load(file)
            return curves[:seeds, :trials]
    return None


def samples_of(curves: Floats, options: argparse.Namespace) -> dict[str, list[float]]:
    """Return optimum / best of each run after so many trials."""
    last = lasting(curves)
    figures = {f"f{count}": last[:, count - 1].round(4).tolist() for count in checkpoints_of(options)}
    if options.prior:
        figures["trials"] = (~np.isnan(curves)).sum(axis=1).tolist()
    return figures


def checkpoints_of(options: argparse.Namespace) -> list[int]:
    """Return after how many trials figures are given."""
    return [count for count in CHECKPOINTS if count <= options.trials]


def means_of(shares: dict[str, list[Floats]], options: argparse.Namespace) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the table over all spaces, with differences to the first agent."""
    rng = np.random.default_rng(options.seed)
    first, rows = next(iter(shares)), []
    baseline = np.array(shares[first])
    for name, curves in shares.items():
        mine = np.array(curves)
        rows.append([name, *(f"{mine[:, :, count - 1].mean():.3f}" for count in checkpoints_of(options))])
        if name != first:
            cells = []
            for count in checkpoints_of(options):
                differences = mine[:, :, count - 1] - baseline[:, :, count - 1]
                low, high = interval(differences, rng)
                cells.append(f"{differences.mean():+.3f} ({low:+.3f} to {high:+.3f})")
            rows.append([f"{name} - {first}", *cells])
    return ["agent", *(f"f{count}" for count in checkpoints_of(options))], rows


def lasting(curves: Floats) -> Floats:
    """Return curves that stay where they ended, instead of NaN."""
    lasting_curves: Floats = np.nan_to_num(curves, nan=0.0)
    np.maximum.accumulate(lasting_curves, axis=-1, out=lasting_curves)
    return lasting_curves


def impatient(curves: Floats) -> Floats:
    """Return curves that end where `--patience` would have ended them: NaN afterwards."""
    cut = curves.copy()
    for own in cut.reshape(-1, cut.shape[-1]):
        curve = Curve(Objective())
        for count, share in enumerate(own.tolist(), 1):
            works = share > 0
            measurement = Measurement(Status.CORRECT, {"seconds": (1 / share,)}) if works else _FAILED
            curve.add(Trial(Config(number=count), measurement))
            if Prospect(curve, count).expected(LOOK_AHEAD) < _PATIENCE:
                own[count:] = np.nan
                break
    return cut


def priors_of(shares: dict[str, list[Floats]], options: argparse.Namespace) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the table of agents that are told of other devices, and may stop."""
    rng = np.random.default_rng(options.seed)
    first = next(iter(shares))
    runs = {name: np.array(curves) for name, curves in shares.items()}
    runs[f"{first} --patience {_PATIENCE}"] = impatient(runs[first])
    counts = [count for count in checkpoints_of(options) if count <= _LONG]
    figures = {}
    for name, curves in runs.items():
        trials = (~np.isnan(curves)).sum(axis=2).astype(float)
        last = lasting(curves)
        figures[name] = [*(last[:, :, count - 1] for count in counts), trials, last[:, :, -1] - _PRICE * trials]
    rows = []
    for name, own in figures.items():
        *fractions, trials, net = own
        rows.append([name, *(f"{one.mean():.3f}" for one in fractions), f"{trials.mean():.0f}", f"{net.mean():.3f}"])
        if name != first:
            cells = []
            for mine, base, digits in zip(own, figures[first], [*(3 for _ in counts), 0, 3], strict=True):
                low, high = interval(mine - base, rng)
                mean = float((mine - base).mean())
                cells.append(f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})")
            rows.append([f"{name} - {first}", *cells])
    return ["agent", *(f"f{count}" for count in counts), "trials", "net"], rows


def long_of(shares: dict[str, list[Floats]], options: argparse.Namespace) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the table of long runs, with differences to the first agent."""
    rng = np.random.default_rng(options.seed)
    counts = [count for count in checkpoints_of(options) if count >= _LONG]
    figures = {
        name: [*(np.array(curves)[:, :, count - 1] for count in counts), _reaching(curves)]
        for name, curves in shares.items()
    }
    first, rows = next(iter(shares)), []
    for name, curves in shares.items():
        *fractions, reaching = figures[name]
        hits = np.array(curves)[:, :, -1] >= _NEAR
        rows.append([name, *(f"{one.mean():.3f}" for one in fractions), f"{reaching.mean():.0f}", f"{hits.mean():.2f}"])
        if name != first:
            cells = []
            for mine, base, digits in zip(figures[name], figures[first], [*(3 for _ in counts), 0], strict=True):
                low, high = interval(mine - base, rng)
                mean = float((mine - base).mean())
                cells.append(f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})")
            rows.append([f"{name} - {first}", *cells, ""])
    return ["agent", *(f"f{count}" for count in counts), "to 5 %", "hit rate"], rows


def _reaching(curves: list[Floats]) -> Floats:
    """Return after how many trials each run was within 5 % of the optimum; all of them where it never was."""
    every = np.array(curves)
    near = every >= _NEAR
    return np.where(near.any(axis=2), near.argmax(axis=2) + 1.0, float(every.shape[2]))


def kernels_of(
    shares: dict[str, list[Floats]], kernels: Sequence[str], options: argparse.Namespace
) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the table by kernel."""
    rows = []
    for kernel in dict.fromkeys(kernels):
        own = [i for i, other in enumerate(kernels) if other == kernel]
        for name, curves in shares.items():
            means = np.array(curves)[own].mean(axis=(0, 1))
            rows.append([kernel, name, *(f"{means[count - 1]:.3f}" for count in checkpoints_of(options))])
    return ["kernel", "agent", *(f"f{count}" for count in checkpoints_of(options))], rows


def _figures(means: Floats, trials: int) -> str:
    return ", ".join(f"f{count} {means[count - 1]:.3f}" for count in CHECKPOINTS if count <= trials)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, judge, and print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--recorded", type=Path, help="a folder of KERNEL_DEVICE.json.gz")
    parser.add_argument("--leave-out", choices=("kernel", "device", "generation"), default="kernel")
    parser.add_argument("--prior", action="store_true", help="tell runs of the kernel on other devices")
    parser.add_argument("--table", default="policies", help="how the tables' names begin, default %(default)s")
    parser.add_argument(
        "--only", nargs="*", metavar="NAME", help="judge only what is left out under these names, as gemm"
    )
    parser.add_argument("--kept", type=Path, default=Path("build/policies"), help="default %(default)s")
    parser.add_argument("--steps", type=int, default=25_000, help="of `exact`, default %(default)s")
    parser.add_argument("--ppo-steps", type=int, default=12_000, help="of `ppo` after that, default %(default)s")
    parser.add_argument(
        "--informed-steps", type=int, default=6000, help="of `informed`, before PPO, default %(default)s"
    )
    parser.add_argument("--informed-ppo-steps", type=int, default=5000, help="default %(default)s")
    parser.add_argument("--plain-steps", type=int, default=250_000, help="of `plain`, default %(default)s")
    parser.add_argument("--dqn-steps", type=int, default=60_000, help="of `plain-dqn`, default %(default)s")
    parser.add_argument("--random", type=int, default=60, help="random spaces, default %(default)s")
    parser.add_argument("--fresh", type=int, default=32, help="random spaces to judge on, default %(default)s")
    parser.add_argument("--trials", type=int, default=100, help="default %(default)s")
    parser.add_argument("--seeds", type=int, default=20, help="default %(default)s")
    parser.add_argument("--agents", nargs="*", default=["gp", "lfbo"], help="the first is the baseline")
    parser.add_argument("--policies", nargs="*", default=["exact", "ppo", *PLAIN], choices=POLICIES)
    quick = {
        "steps": 300,
        "ppo_steps": 300,
        "plain_steps": 500,
        "dqn_steps": 1500,
        "random": 2,
        "fresh": 0,
        "trials": 15,
        "seeds": 1,
        "agents": ["random"],
        "policies": ["exact", "plain"],
    }
    options = options_of(parser, arguments, quick)
    report = Report("policies", options, arguments)
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        if options.recorded:
            paths = recorded_files([options.recorded])
        else:
            options.kept = Path(folder)
            paths = tuple(_written(Path(folder), seed) for seed in range(2))
        report.finish(*judged(options, paths))


def _written(folder: Path, seed: int) -> Path:
    """Return the file of a small random space."""
    landscape = Landscape.random(np.random.default_rng(seed), f"random{seed}")
    recorded = landscape.recorded()
    path = folder / f"random{seed}_device.json.gz"
    trials = [Trial(config, measurement) for config, measurement in recorded.measurements.items()]
    write_cache_file(path, recorded.task, recorded.space, trials)
    return path


if __name__ == "__main__":
    main()
