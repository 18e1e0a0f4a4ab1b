"""How much a campaign adds to its own compiling and measuring: wall time over the critical path.

    python -m benchmarks.campaign --trials 100 --runner local --json campaign.json

The critical path is what no order of the same work could be faster than on the same cores, one of which measures:

    max(device time, (builds + device time) / cores) of the search, and builds / cores + device time of the finals

- A build counts from the request to a builder until the artifact is in the cache, which is empty at the start.
- Device time counts from the request to the device's worker until its reply: inputs, reference, checks and timing of
  every trial, pairs with the default included. In the finals it also has the start of the fresh process that they
  require, and all that they measure, semifinals included.
- Builds and measurements of a search overlap, and any core may build that does not measure. Finals follow the search:
  their builds, of edge shapes, may run side by side, and nothing runs beside what they measure.
- Wall time is that of `Campaign.run`, from the first proposal to the stored result. Runner and processes have started
  before; a campaign of one trial sees to that. The first build, for which the device waits, is overhead, as are the
  agent, the store, and all waiting.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.devices import available_cores
from tuner.plan import Budget, Plan
from tuner.result import Progress, Stage
from tuner.runners import Activity, create_runner


@dataclass(frozen=True)
class Figures:
    """One campaign, in seconds; builds are summed over all that ran."""

    runner: str
    kernel: str
    workload: str
    trials: int
    cores: int
    wall_seconds: float
    search_seconds: float
    build_seconds: float
    device_seconds: float
    finals_build_seconds: float
    finals_device_seconds: float

    @property
    def critical_seconds(self) -> float:
        """What the campaign could not be faster than."""
        search = max(self.device_seconds, (self.build_seconds + self.device_seconds) / self.cores)
        return search + self.finals_build_seconds / self.cores + self.finals_device_seconds

    @property
    def ratio(self) -> float:
        """Wall time over the critical path."""
        return self.wall_seconds / self.critical_seconds


class _Turn:
    """Remembers what the runner had done, and how long it took, when the finals began."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.seconds: float | None = None
        self.activity = Activity()

    def watch(self, progress: Progress) -> None:
        """Take note of the first report from the finals."""
        if progress.stage is Stage.FINALS and self.seconds is None:
            self.seconds, self.activity = time.perf_counter() - self._started, progress.activity


def run(runner_name: str, kernel: str, workload: str, trials: int, seed: int) -> Figures:
    """Run one campaign with an empty cache and return its figures."""
    task = task_of(kernel, workload)
    with tempfile.TemporaryDirectory() as cache:
        runner = create_runner(runner_name, cache=Path(cache))
        try:
            store = MemoryStore()
            Campaign([task], Plan("random", Budget(1), seed=seed), runner=runner, store=store).run()
            before, turn, started = runner.activity, _Turn(), time.perf_counter()
            plan = Plan("optuna", Budget(trials), seed=seed)
            campaign = Campaign([task], plan, runner=runner, store=store, watch=turn.watch)
            campaign.run()
            wall, after = time.perf_counter() - started, runner.activity
        finally:
            runner.close()
    assert turn.seconds is not None, "a campaign that finished has played its finals"
    return Figures(
        runner=runner_name,
        kernel=kernel,
        workload=workload,
        trials=len(store.trials(campaign.id, task)),
        cores=len(available_cores()),
        wall_seconds=wall,
        search_seconds=turn.seconds,
        build_seconds=turn.activity.build_seconds - before.build_seconds,
        device_seconds=turn.activity.device_seconds - before.device_seconds,
        finals_build_seconds=after.build_seconds - turn.activity.build_seconds,
        finals_device_seconds=after.device_seconds - turn.activity.device_seconds,
    )


def table(every: Sequence[Figures]) -> Table:
    """Return wall times beside what they consist of."""
    rows = [
        [
            figures.runner,
            f"{figures.kernel} {figures.workload}",
            str(figures.trials),
            f"{figures.wall_seconds:.1f} s",
            f"{figures.build_seconds:.1f} s",
            f"{figures.device_seconds:.1f} s",
            f"{figures.finals_build_seconds + figures.finals_device_seconds:.1f} s",
            f"{figures.ratio:.2f}",
        ]
        for figures in every
    ]
    titles = ["runner", "task", "trials", "wall", "builds", "measuring", "finals", "wall / critical path"]
    return Table("campaign", titles, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, run the campaigns, print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--runner", action="append", choices=("local", "ray"), help="may be repeated; default: both")
    parser.add_argument("--kernel", default="int8_gemv", help="default %(default)s")
    parser.add_argument("--workload", default="llama3-8b-decode", help="default %(default)s")
    parser.add_argument("--trials", type=int, default=100, help="default %(default)s")
    options = options_of(parser, arguments, {"kernel": "layernorm", "workload": "gpt2-decode", "trials": 4})
    report = Report("campaign", options, arguments)
    found = []
    for runner in options.runner or ("local", "ray"):
        found.append(run(runner, options.kernel, options.workload, options.trials, options.seed))
        print(f"{runner}: {found[-1].ratio:.3f} of the critical path", flush=True)
    results = [{**asdict(f), "critical_seconds": f.critical_seconds, "ratio": f.ratio} for f in found]
    report.finish(results, [table(found)])


if __name__ == "__main__":
    main()
