"""How much a campaign adds to its own compiling and measuring: wall time over the critical path.

    python benchmarks/campaign.py --trials 100 --runner local --json campaign.json

The critical path of a search is the longer of two: what all builds take on the builders, and what all measurements take
on the device; the finals come on top, for nothing runs beside them. Builds are not cached from earlier runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.devices import detect
from tuner.plan import Budget, Plan
from tuner.runners import create_runner
from tuner.runners.local import default_builders


@dataclass(frozen=True)
class Figures:
    """One campaign, in seconds."""

    runner: str
    kernel: str
    workload: str
    trials: int
    builders: int
    wall_seconds: float
    build_seconds: float
    measure_seconds: float
    finals_seconds: float

    @property
    def critical_seconds(self) -> float:
        """What the campaign could not be faster than."""
        return max(self.build_seconds / self.builders, self.measure_seconds) + self.finals_seconds


def run(runner_name: str, kernel: str, workload: str, trials: int, seed: int) -> Figures:
    """Run one campaign with an empty cache and return its figures."""
    task = task_of(kernel, workload)
    with tempfile.TemporaryDirectory() as cache:
        runner = create_runner(runner_name, cache=Path(cache))
        try:
            store = MemoryStore()
            # Starting processes is not what is measured.
            Campaign([task], Plan("random", Budget(1), seed=seed), runner=runner, store=store).run()
            plan = Plan("optuna", Budget(trials), seed=seed)
            campaign = Campaign([task], plan, runner=runner, store=store)
            [result] = campaign.run()
        finally:
            runner.close()
    done = store.trials(campaign.id, task)
    measured = sum(trial.measurement.measure_seconds for trial in done)
    return Figures(
        runner=runner_name,
        kernel=kernel,
        workload=workload,
        trials=len(done),
        builders=default_builders(),
        wall_seconds=result.wall_seconds,
        build_seconds=result.build_seconds,
        measure_seconds=measured,
        finals_seconds=result.device_seconds - measured,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and write it to a file if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", action="append", choices=("local", "ray"), help="may be repeated; default: both")
    parser.add_argument("--kernel", default="int8_gemv")
    parser.add_argument("--workload", default="llama3-8b-decode")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)

    print(f"{'runner':7} {'trials':>6} {'wall':>8} {'builds':>8} {'measured':>8} {'finals':>8}  wall / critical path")
    found = []
    for runner in options.runner or ("local", "ray"):
        figures = run(runner, options.kernel, options.workload, options.trials, options.seed)
        found.append(figures)
        times = (figures.wall_seconds, figures.build_seconds, figures.measure_seconds, figures.finals_seconds)
        columns = " ".join(f"{seconds:7.1f}s" for seconds in times)
        ratio = figures.wall_seconds / figures.critical_seconds
        print(f"{runner:7} {figures.trials:6} {columns}  {ratio:.3f}", flush=True)
    if options.json:
        report = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": options.seed,
            "device": detect("cpu").to_json(),
            "results": [{**asdict(f), "critical_seconds": f.critical_seconds} for f in found],
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
