"""What a family of shapes costs in one campaign, and what that loses: against a search of each shape alone.

    python benchmarks/family.py --sample 3 --json family.json

The family is `examples/family.yaml`, twenty shapes of one kernel. A sample of them is tuned alone with the usual
budget; twenty times their mean wall time is what twenty such searches cost. The family is tuned in one campaign, in
which each shape starts from its neighbours' best and trials go where gain times use is largest. Then the config that
each way ended with is timed in interleaved pairs, on inputs and in a worker of their own: above 1, the family's is the
faster. Builds are not cached from one to the other.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tuner.campaign import Campaign
from tuner.cli.output import Output, print_shares, workload_text
from tuner.cli.spec import Spec, read_spec
from tuner.db import MemoryStore
from tuner.devices import detect
from tuner.plan import Budget, Plan
from tuner.result import Result
from tuner.runners import LocalRunner, Runner
from tuner.statistics import Ratio, paired_ratio
from tuner.types import Config, Sampling, Task

FAMILY = Path(__file__).parents[1] / "examples" / "family.yaml"
PAIRS = 150
CONFIDENCE = 0.99


@dataclass(frozen=True)
class Shape:
    """One shape, tuned alone and in the family; `family_to_alone` is how many times faster the family's config is."""

    workload: str
    alone_trials: int
    alone_seconds: float
    alone_speedup: float
    family_trials: int
    family_speedup: float
    family_to_alone: float
    interval: tuple[float, float]


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


def compare(task: Task, alone: Config, family: Config, seed: int) -> Ratio:
    """Return how many times faster `family` is than `alone`, from pairs."""
    if alone == family:
        return Ratio(1.0, 1.0, 1.0)
    with fresh_runner() as runner:
        _, measured = runner.compare(task, [alone, family], Sampling(seed, PAIRS, 30.0)).result()
    samples = measured.samples
    return paired_ratio(samples["reference_seconds"], samples["seconds"], confidence=CONFIDENCE)


def proven(result: Result) -> float:
    """Return the speed-up of what a campaign says to use; 1 where the default is kept."""
    return result.speedup if result.promoted and result.speedup else 1.0


def spread(count: int, sample: int) -> list[int]:
    """Return `sample` positions among `count`, evenly spread."""
    return [round((i + 0.5) * count / sample - 0.5) for i in range(sample)]


def run(spec: Spec, sample: int, alone_trials: int) -> tuple[list[Result], list[Shape]]:
    """Tune the family, and a sample of its shapes alone; return the family's results and the sample's figures."""
    family = campaign(spec.tasks, spec.plan)
    shapes = []
    for position in spread(len(spec.tasks), sample):
        task, together = spec.tasks[position], family[position]
        [alone] = campaign([task], Plan(spec.plan.agent, Budget(alone_trials), seed=spec.plan.seed))
        ratio = compare(task, alone.config, together.config, spec.plan.seed + 1)
        shape = Shape(
            workload=workload_text(task.workload),
            alone_trials=alone.trials,
            alone_seconds=alone.wall_seconds,
            alone_speedup=proven(alone),
            family_trials=together.trials,
            family_speedup=proven(together),
            family_to_alone=ratio.value,
            interval=(ratio.low, ratio.high),
        )
        print(
            f"{shape.workload:34} {shape.alone_trials:5} {shape.alone_seconds:7.1f}s {shape.alone_speedup:7.2f}x "
            f"{shape.family_trials:7} {shape.family_speedup:7.2f}x   "
            f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
            flush=True,
        )
        shapes.append(shape)
    return family, shapes


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and write it to a file if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, default=FAMILY, help="the family; default: examples/family.yaml")
    parser.add_argument("--alone-trials", type=int, default=Budget().trials, help="budget of a shape alone")
    parser.add_argument("--sample", type=int, default=3, help="shapes that are tuned alone too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)

    spec = read_spec(options.spec)
    print(f"{'shape':34} {'alone':>5} {'':8} {'speed-up':>8} {'family':>7} {'speed-up':>8}   family / alone")
    family, shapes = run(spec, options.sample, options.alone_trials)
    print_shares(Output(as_json=False), family)
    count = len(family)
    family_seconds = sum(result.wall_seconds for result in family)
    family_trials = sum(result.trials for result in family)
    alone_seconds = count * sum(shape.alone_seconds for shape in shapes) / len(shapes)
    alone_trials = count * sum(shape.alone_trials for shape in shapes) / len(shapes)
    quality = math.exp(sum(math.log(shape.family_to_alone) for shape in shapes) / len(shapes))
    print(
        f"{count} shapes in one campaign: {family_trials} trials, {family_seconds:.0f} s; {count} times one alone: "
        f"{alone_trials:.0f} trials, {alone_seconds:.0f} s; ratio {family_trials / alone_trials:.2f} of the trials, "
        f"{family_seconds / alone_seconds:.2f} of the time; family / alone {quality:.3f} on {len(shapes)} shapes"
    )
    if options.json:
        report = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": spec.plan.seed,
            "device": detect("cpu").to_json(),
            "family_trials": family_trials,
            "family_seconds": family_seconds,
            "alone_trials": alone_trials,
            "alone_seconds": alone_seconds,
            "trials_ratio": family_trials / alone_trials,
            "seconds_ratio": family_seconds / alone_seconds,
            "family_to_alone": quality,
            "shapes": [asdict(shape) for shape in shapes],
            "family": [{"workload": dict(result.task.workload), **result.to_json()} for result in family],
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
