"""Whether finals prove what is true: configs that are equal, and one that is faster by exactly 3 %, play real finals.

    python -m benchmarks.proof --equal 100 --faster 20 --json proof.json

Each final is one of `tuner.finals`: a fresh process, fresh inputs, the same rules as in a campaign. Equal configs are
one program, built from macros that differ and mean nothing; a final that promotes one of them is an error, which may be
made in 1 of 100. They are played with a kernel that computes in the caches, and with one that goes through memory. The
faster config does 97 of 100 steps of the default, and is to be found in 19 of 20 finals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.campaign import task_of
from tuner.finals import Contest, Finals, play
from tuner.objective import Objective
from tuner.runners import LocalRunner, Runner
from tuner.statistics import median, percentile
from tuner.tunable import load
from tuner.types import Config, Measurement, Status, Task, Trial

SCALED = f"{Path(__file__).with_name('probes')}/scaled.py:KERNEL"
TWICE = f"{Path(__file__).with_name('probes')}/twice.py:KERNEL"


@dataclass(frozen=True)
class Final:
    """One final: what it said, and how long it took."""

    case: str
    promoted: bool
    speedup: float
    low: float
    high: float
    pairs: int
    device_seconds: float


def run(case: str, task: Task, change: dict[str, int], count: int, seed: int, runner: Runner) -> list[Final]:
    """Return `count` finals of the task's default with `change` against the default."""
    default = load(task.tunable).default(task.workload, task.device)
    config = Config({**default, **change})
    # The search is said to have found it a tenth faster: finals must not believe that.
    found = Trial(config, Measurement(Status.CORRECT, {"seconds": (0.9,), "reference_seconds": (1.0,)}), number=1)
    finals = []
    for i in range(count):
        verdict = play(runner, Contest(task, default, Objective(), Finals(), seed + i), [found])
        if verdict.evidence is None:
            raise SystemExit(f"{case}: {config} is wrong")
        evidence = verdict.evidence
        finals.append(
            Final(case, verdict.promoted, evidence.speedup, *evidence.interval, evidence.rounds, verdict.device_seconds)
        )
    return finals


def row(case: str, finals: Sequence[Final]) -> list[str]:
    """Return a row of the table."""
    off = [abs(final.speedup - 1) for final in finals]
    return [
        case,
        str(len(finals)),
        str(sum(final.promoted for final in finals)),
        f"{median([final.speedup for final in finals]):.4f}",
        f"{percentile(off, 95):.2%}" if case.startswith("equal") else "-",
        f"{median([float(final.pairs) for final in finals]):.0f}",
        f"{median([final.device_seconds for final in finals]):.2f} s",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Play the finals and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--equal", type=int, default=100, help="finals of equal configs, for each kernel")
    parser.add_argument("--faster", type=int, default=20, help="finals of a config that is 3%% faster")
    options = options_of(parser, arguments, {"equal": 2, "faster": 2})
    report = Report("proof", options, arguments)
    scaled = task_of(SCALED, {"N": 4096})
    through_memory = task_of(TWICE, "gpt2-prefill")
    runner = LocalRunner()
    try:
        cases = {
            "equal, in the caches": run(
                "equal, in the caches", scaled, {"SAME": 1}, options.equal, options.seed, runner
            ),
            "equal, layernorm": run(
                "equal, layernorm", through_memory, {"SAME": 1}, options.equal, options.seed, runner
            ),
            "3 % faster": run("3 % faster", scaled, {"REPEATS": 970}, options.faster, options.seed, runner),
        }
    finally:
        runner.close()
    columns = ["case", "finals", "promoted", "median speed-up", "error (95 %)", "pairs", "time of one"]
    rows = [row(case, finals) for case, finals in cases.items()]
    report.finish([asdict(final) for finals in cases.values() for final in finals], [Table("proof", columns, rows)])


if __name__ == "__main__":
    main()
