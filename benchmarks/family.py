"""What a family of shapes takes in one campaign, and what that loses: against a search of each shape alone.

    python -m benchmarks.family --sample 3 --json family.json

The family is `examples/family.yaml`, twenty shapes of one kernel. A sample of them is tuned alone with the usual
budget; twenty times their mean wall time is what twenty such searches totals. The family is tuned in one campaign, in
which each shape starts from its neighbours' best and trials go where gain times use is largest. Then the config that
each way ended with is timed in interleaved pairs, on inputs and in a worker of their own: above 1, the family's is the
faster. Builds are not cached from one to the other.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.campaign import Campaign
from tuner.cli.output import Output, print_shares, workload_text
from tuner.cli.spec import Spec, read_spec
from tuner.db import MemoryStore
from tuner.plan import Budget, Plan
from tuner.result import Result
from tuner.runners import LocalRunner, Runner
from tuner.statistics import paired_ratio
from tuner.types import Config, Sampling, Task

FAMILY = Path(__file__).parents[1] / "examples" / "family.yaml"
CONFIDENCE = 0.99


@dataclass(frozen=True)
class Shape:
    """One shape, tuned alone and in the family.

    Attributes:
        alone_speedup: What its own search proved over the default; 1 where the default was kept.
        family_speedup: What the family's campaign proved, likewise.
        family_to_alone: How many times faster the family's config is than its own search's, with `interval`.
        alone_samples: Seconds of the one in each pair; empty where both ways ended with the same config.
        family_samples: Seconds of the other.
    """

    workload: str
    alone_trials: int
    alone_seconds: float
    alone_speedup: float
    family_trials: int
    family_speedup: float
    family_to_alone: float
    interval: tuple[float, float]
    alone_samples: Sequence[float]
    family_samples: Sequence[float]


@dataclass(frozen=True)
class Totals:
    """What a family took in one campaign, beside as many searches of one shape each, by the mean of the sample."""

    shapes: int
    family_trials: int
    family_seconds: float
    alone_trials: float
    alone_seconds: float


@contextmanager
def fresh_runner() -> Iterator[Runner]:
    """Start a runner with an empty cache, its processes already up."""
    with tempfile.TemporaryDirectory() as cache:
        runner = LocalRunner(cache=Path(cache))
        try:
            yield runner
        finally:
            runner.close()


def campaign(tasks: Sequence[Task], plan: Plan) -> list[Result]:
    """Run a campaign that knows nothing of others."""
    with fresh_runner() as runner:
        # Starting processes is not what is measured.
        Campaign(tasks[:1], Plan("random", Budget(1)), runner=runner, store=MemoryStore()).run()
        return Campaign(tasks, plan, runner=runner, store=MemoryStore()).run()


def compare(task: Task, alone: Config, family: Config, sampling: Sampling) -> tuple[Sequence[float], Sequence[float]]:
    """Return the seconds of `alone` and of `family` in each pair; none where they are the same config."""
    if alone == family:
        return (), ()
    with fresh_runner() as runner:
        _, measured = runner.compare(task, [alone, family], sampling).result()
    if measured.error:
        raise SystemExit(f"{workload_text(task.workload)}: {measured.error}")
    return measured.samples["reference_seconds"], measured.samples["seconds"]


def proven(result: Result) -> float:
    """Return the speed-up of what a campaign says to use; 1 where the default is kept."""
    return result.speedup if result.promoted and result.speedup else 1.0


def spread(count: int, sample: int) -> list[int]:
    """Return `sample` positions among `count`, evenly spread; all where there are not so many."""
    sample = min(count, sample)
    return [round((i + 0.5) * count / sample - 0.5) for i in range(sample)]


def part(spec: Spec, shapes: int) -> Spec:
    """Return the campaign over so many of its shapes."""
    kept = spread(len(spec.tasks), shapes)
    uses = tuple(spec.plan.uses[position] for position in kept) if spec.plan.uses else ()
    return Spec(tuple(spec.tasks[position] for position in kept), replace(spec.plan, uses=uses))


def tuned_alone(task: Task, together: Result, plan: Plan, pairs: int) -> Shape:
    """Tune a shape alone, and compare what that found with what the family's campaign did."""
    [alone] = campaign([task], plan)
    alone_samples, family_samples = compare(
        task, alone.config, together.config, Sampling(plan.seed + 1, pairs, seconds=30.0)
    )
    ratio = paired_ratio(alone_samples, family_samples, confidence=CONFIDENCE) if alone_samples else None
    return Shape(
        workload=workload_text(task.workload),
        alone_trials=alone.trials,
        alone_seconds=alone.wall_seconds,
        alone_speedup=proven(alone),
        family_trials=together.trials,
        family_speedup=proven(together),
        family_to_alone=ratio.value if ratio else 1.0,
        interval=(ratio.low, ratio.high) if ratio else (1.0, 1.0),
        alone_samples=alone_samples,
        family_samples=family_samples,
    )


def totals_of(family: Sequence[Result], shapes: Sequence[Shape]) -> Totals:
    """Return what both ways took."""
    scale = len(family) / len(shapes)
    return Totals(
        shapes=len(family),
        family_trials=sum(result.trials for result in family),
        family_seconds=sum(result.wall_seconds for result in family),
        alone_trials=scale * sum(shape.alone_trials for shape in shapes),
        alone_seconds=scale * sum(shape.alone_seconds for shape in shapes),
    )


def tables(totals: Totals, shapes: Sequence[Shape]) -> list[Table]:
    """Return what a family and its shapes alone took, and what each shape of the sample lost or won by it."""
    quality = math.exp(sum(math.log(shape.family_to_alone) for shape in shapes) / len(shapes))
    both = [
        ["one campaign", str(totals.family_trials), f"{totals.family_seconds:.0f} s"],
        [f"{totals.shapes} searches", f"{totals.alone_trials:.0f}", f"{totals.alone_seconds:.0f} s"],
        [
            "campaign / searches",
            f"{totals.family_trials / totals.alone_trials:.2f}",
            f"{totals.family_seconds / totals.alone_seconds:.2f}",
        ],
    ]
    rows = [
        [
            shape.workload,
            f"{shape.alone_speedup:.2f}x ({shape.alone_trials} trials)",
            f"{shape.family_speedup:.2f}x ({shape.family_trials} trials)",
            f"{shape.family_to_alone:.3f} [{shape.interval[0]:.3f}, {shape.interval[1]:.3f}]",
        ]
        for shape in shapes
    ]
    rows.append(["geometric mean", "", "", f"{quality:.3f}"])
    return [
        Table("family-totals", [f"{totals.shapes} shapes", "trials", "wall"], both),
        Table("family", ["shape", "alone", "in the family", "speed, family / alone"], rows),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, tune the family and the sample, print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--spec", type=Path, default=FAMILY, help="the family; default: examples/family.yaml")
    parser.add_argument("--shapes", type=int, help="take only so many of its shapes; default: all")
    parser.add_argument("--trials", type=int, help="mean budget of a shape in the family; default: the file's")
    parser.add_argument("--alone-trials", type=int, default=Budget().trials, help="of one alone (default %(default)s)")
    parser.add_argument("--sample", type=int, default=3, help="shapes that are tuned alone too (default %(default)s)")
    parser.add_argument("--pairs", type=int, default=150, help="of the comparison (default %(default)s)")
    options = options_of(parser, arguments, {"shapes": 2, "trials": 6, "alone_trials": 4, "sample": 1, "pairs": 5})
    report = Report("family", options, arguments)
    spec = read_spec(options.spec)
    spec = part(spec, options.shapes or len(spec.tasks))
    budget = replace(spec.plan.budget, trials=options.trials or spec.plan.budget.trials)
    family = campaign(spec.tasks, replace(spec.plan, budget=budget, seed=options.seed))
    print_shares(Output(as_json=False), family)
    alone = Plan(spec.plan.agent, Budget(options.alone_trials), seed=options.seed)
    shapes = [
        tuned_alone(spec.tasks[position], family[position], alone, options.pairs)
        for position in spread(len(spec.tasks), options.sample)
    ]
    totals = totals_of(family, shapes)
    results = {
        **asdict(totals),
        "sample": [asdict(shape) for shape in shapes],
        "family": [{"workload": dict(result.task.workload), **result.to_json()} for result in family],
    }
    report.finish([results], tables(totals, shapes))


if __name__ == "__main__":
    main()
