"""What a short campaign finds for engines that run in this process's children: a decoder and an image classifier.

    python -m benchmarks.engines --json engines.json

Each model is tuned in a campaign of its own, whose default is what one would write: float32, eager, all threads, the
workload's batch. The final serves windows with the default and with the winner in turns, on inputs that no trial saw;
the speed-up is the median of the pairs' ratios, with its interval. Answers are compared with the float32 module's on
held-out items. The share of a campaign's wall time inside starts and measurements is the device's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.devices import available_cores, detect
from tuner.finals import Finals
from tuner.plan import Budget, Plan
from tuner.result import Result
from tuner.runners import LocalRunner
from tuner.types import Config, Scalar, Trial

MODELS = ("decoder-30m", "image-classifier")
# A start takes seconds, one with a compilation half a minute, and each finalist is started again. Where the first one
# is out, the next best plays.
FINALISTS = 1


@dataclass(frozen=True)
class Tuned:
    """What a campaign found for one model.

    Attributes:
        changes: The parameters in which the winner differs from the default; empty where the default is kept.
        items_per_second: Of the winner in the final, beside `default_items_per_second`.
        speedup: Median of the paired ratios, with `interval` at 0.99; None without a final.
        quality: `kl_logits`, `rel_error` and `top1_agreement` of the winner on the final's held-out items.
        busy_share: Share of the campaign's wall time inside starts and measurements.
        samples: The final's raw pairs.
    """

    model: str
    engine: str
    trials: int
    statuses: dict[str, int]
    starts: int
    wall_seconds: float
    busy_share: float
    promoted: bool
    changes: dict[str, Scalar]
    default_items_per_second: float | None
    items_per_second: float | None
    speedup: float | None
    interval: tuple[float, float] | None
    quality: dict[str, Scalar]
    samples: dict[str, Sequence[float]]


def tune(engine: str, model: str, plan: Plan, cores: int) -> Tuned:
    """Run one campaign in fresh processes, with an empty cache."""
    task = task_of(f"engine:{engine}", {"model": model}, detect(f"cpu:{cores}"))
    store = MemoryStore()
    with tempfile.TemporaryDirectory() as cache:
        runner = LocalRunner(cache=Path(cache))
        try:
            campaign = Campaign([task], plan, runner=runner, store=store)
            [result] = campaign.run()
        finally:
            runner.close()
    return _tuned(engine, model, result, store.trials(campaign.id, task))


def _tuned(engine: str, model: str, result: Result, trials: Sequence[Trial]) -> Tuned:
    evidence = result.winner.evidence if result.winner else None
    names = ("kl_logits", "kl_logits_max", "rel_error", "top1_agreement")
    quality = {name: evidence.resources[name] for name in names if name in evidence.resources} if evidence else {}
    return Tuned(
        model=model,
        engine=engine,
        trials=result.trials,
        statuses=dict(result.statuses),
        starts=sum(trial.measurement.resources.get("applied") == "start" for trial in trials),
        wall_seconds=result.wall_seconds,
        busy_share=result.device_seconds / result.wall_seconds,
        promoted=result.promoted,
        changes=_changes(result.config, evidence.default) if evidence else {},
        default_items_per_second=1 / result.default_seconds if result.default_seconds else None,
        items_per_second=1 / result.best_seconds if result.best_seconds else None,
        speedup=result.speedup,
        interval=result.speedup_interval,
        quality=quality,
        samples={name: list(values) for name, values in evidence.samples.items()} if evidence else {},
    )


def _changes(config: Config, default: Config) -> dict[str, Scalar]:
    return {name: value for name, value in config.items() if value != default[name]}


def table(found: Sequence[Tuned]) -> Table:
    """Return what each campaign found."""
    rows = []
    for one in found:
        interval = f" [{one.interval[0]:.2f}, {one.interval[1]:.2f}]" if one.interval else ""
        kl = one.quality.get("kl_logits")
        rows.append(
            [
                one.model,
                " ".join(f"{name}={value}" for name, value in one.changes.items()) or "the default is kept",
                f"{one.default_items_per_second:.1f}" if one.default_items_per_second else "",
                f"{one.items_per_second:.1f}" if one.items_per_second else "",
                f"{one.speedup:.2f}x{interval}" if one.speedup else "",
                f"{kl:.1e}" if isinstance(kl, float) else "",
                f"{one.trials} in {one.wall_seconds:.0f} s, {one.busy_share:.0%} of it starting or measuring",
            ]
        )
    columns = ["model", "winner differs in", "default items/s", "winner items/s", "speed-up", "KL", "trials"]
    return Table("engines-modules", columns, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, tune the models, print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--engine", default="torch", help="torch, onnx, openvino or any (default %(default)s)")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="default: %(default)s")
    parser.add_argument("--agent", default="auto", help="default %(default)s")
    parser.add_argument("--trials", type=int, default=12, help="of each campaign (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=90.0, help="longest search (default %(default)s)")
    parser.add_argument("--cores", type=int, default=len(available_cores()), help="default: all, here %(default)s")
    quick = {"models": ["decoder-tiny"], "trials": 2, "seconds": 20.0, "cores": 1}
    options = options_of(parser, arguments, quick)
    report = Report("engines", options, arguments)
    plan = Plan(
        options.agent,
        Budget(options.trials, options.seconds),
        finals=Finals(finalists=FINALISTS),
        seed=options.seed,
        # One after another: each start is the dearest part of a trial, and the agent knows all trials before it.
        in_flight=1,
    )
    found = [tune(options.engine, model, plan, options.cores) for model in options.models]
    report.finish([asdict(one) for one in found], [table(found)])


if __name__ == "__main__":
    main()
