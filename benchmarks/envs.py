"""How many steps a second environments do, on one core.

    python -m benchmarks.envs --json envs.json
    python -m benchmarks.envs --recorded FOLDER        # with recorded spaces beside the random ones

`SlateVectorEnv` steps through many spaces at once, and is measured with random actions, so that nothing but the
environment takes time. The environments of one search are measured on one of the same spaces, whose trials are recorded
ones: they show what an environment itself adds to a measurement. A core of a shared machine is not always one's own;
steps are therefore given by the process's own time on it (CPU) beside the clock (wall), medians over the rounds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.db.kernel_tuner import read_cache_file
from tuner.envs import Landscape, NeighbourEnv, Problem, SlateEnv, SlateVectorEnv, TuningEnv
from tuner.envs.search_env import SearchEnv
from tuner.statistics import median
from tuner.train import recorded_files

SINGLE = {"tuner/Tuning-v0": TuningEnv, "tuner/Neighbour-v0": NeighbourEnv, "tuner/Slate-v0": SlateEnv}


@dataclass(frozen=True)
class Speed:
    """Steps a second of one environment."""

    environment: str
    searches: int
    spaces: int
    steps: int
    wall_seconds: list[float]
    cpu_seconds: list[float]

    @property
    def row(self) -> list[str]:
        """A row of the table."""
        wall, cpu = (self.steps / median(seconds) for seconds in (self.wall_seconds, self.cpu_seconds))
        return [self.environment, str(self.searches), str(self.spaces), f"{cpu:,.0f}", f"{wall:,.0f}"]


def timed(environment: str, searches: int, spaces: int, steps: int, rounds: int, run: Callable[[int], None]) -> Speed:
    """Return how long `rounds` runs of so many steps took, over all searches; one before them is not counted."""
    run(steps // searches)
    wall, cpu = [], []
    for _ in range(rounds):
        clock, own = time.perf_counter(), time.process_time()
        run(steps // searches)
        wall.append(time.perf_counter() - clock)
        cpu.append(time.process_time() - own)
    return Speed(environment, searches, spaces, steps // searches * searches, wall, cpu)


def vector(landscapes: Sequence[Landscape], searches: int, steps: int, rounds: int, seed: int) -> Speed:
    """Return the speed of many searches at once."""
    env = SlateVectorEnv(landscapes, searches, budget=(25, 100))
    env.reset(seed=seed)
    actions = np.random.default_rng(seed).integers(env.shape.width, size=(64, searches))

    def run(count: int) -> None:
        for step in range(count):
            env.step(actions[step % len(actions)])

    return timed("SlateVectorEnv", searches, len(landscapes), steps, rounds, run)


def single(name: str, landscape: Landscape, steps: int, rounds: int, seed: int) -> Speed:
    """Return the speed of one search."""
    env: SearchEnv[Any, Any] = SINGLE[name](Problem.of_recorded(landscape.recorded()), budget=100)
    env.reset(seed=seed)
    env.action_space.seed(seed)

    def run(count: int) -> None:
        for _ in range(count):
            *_, ended, cut, _ = env.step(env.action_space.sample())
            if ended or cut:
                env.reset()

    return timed(name, 1, 1, steps, rounds, run)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--recorded", type=Path, action="append", default=[], help="recorded spaces, or a folder of them"
    )
    parser.add_argument("--random", type=int, default=50, help="random spaces, default %(default)s")
    parser.add_argument("--steps", type=int, default=100_000, help="steps of a round, default %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default %(default)s")
    options = options_of(parser, arguments, {"random": 3, "steps": 4000, "rounds": 2})
    report = Report("envs", options, arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    generator = np.random.default_rng(options.seed)
    landscapes = [Landscape.random(generator, f"random-{i}") for i in range(options.random)]
    landscapes += [Landscape.of(read_cache_file(path)) for path in recorded_files(options.recorded)]
    speeds = [vector(landscapes, searches, options.steps, options.rounds, options.seed) for searches in (64, 256, 1024)]
    speeds += [single(name, landscapes[0], options.steps // 100, options.rounds, options.seed) for name in SINGLE]
    columns = ["environment", "searches", "spaces", "steps a second (CPU)", "steps a second (wall)"]
    report.finish([asdict(speed) for speed in speeds], [Table("envs", columns, [speed.row for speed in speeds])])


if __name__ == "__main__":
    main()
