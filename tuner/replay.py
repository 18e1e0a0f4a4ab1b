"""Judges agents on recorded spaces: how close to the optimum after how many evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tuner.agents import create_agent
from tuner.db.kernel_tuner import RecordedSpace, read_cache_file
from tuner.devices import available_cores
from tuner.objective import Objective
from tuner.types import Trial

__all__ = ["CHECKPOINTS", "Score", "judge", "mean_of"]

CHECKPOINTS = (10, 25, 50, 100, 200)
"""Evaluations after which the best found is compared with the optimum."""

_CLOSE = 1.05


@dataclass(frozen=True, slots=True)
class Score:
    """How an agent did on one space, over all seeds.

    Attributes:
        space: The recorded space's name.
        agent: The agent's name.
        size: Number of recorded configs, failed ones included.
        optimum_seconds: The fastest recorded time.
        fraction_of_optimum: Mean of optimum / best found (0 where none was found) after so many evaluations; those of
            `CHECKPOINTS` that the number of trials reaches.
        evaluations_to_5_percent: Mean of the evaluations until within 5 % of the optimum; a run that did not get there
            counts with all its trials.
        hit_rate: Share of the runs that got there.
        seeds: Number of runs.
    """

    space: str
    agent: str
    size: int
    optimum_seconds: float
    fraction_of_optimum: Mapping[str, float]
    evaluations_to_5_percent: float
    hit_rate: float
    seeds: int

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "space": self.space,
            "agent": self.agent,
            "size": self.size,
            "optimum_seconds": self.optimum_seconds,
            "fraction_of_optimum": dict(self.fraction_of_optimum),
            "evaluations_to_5_percent": self.evaluations_to_5_percent,
            "hit_rate": self.hit_rate,
            "seeds": self.seeds,
        }


def judge(
    paths: Sequence[Path],
    agent: str,
    *,
    trials: int,
    seeds: int,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> list[Score]:
    """Run `agent` on each recorded space with seeds 0, 1, ... and return a score for each space.

    A failed config costs one evaluation like any other. Runs are spread over the cores of this machine.

    Args:
        paths: Cache files.
        agent: Name of the agent.
        trials: Evaluations of each run.
        seeds: Runs on each space.
        watch: Called with the number of finished runs and of all runs.

    Raises:
        StoreError: a file cannot be read.
        TunerError: the agent is unknown, or does not fit a space.
    """
    # Read first: a bad file is found before hours of work, and an agent that does not fit before any worker starts.
    spaces = [_read(path) for path in paths]
    for recorded in spaces:
        create_agent(agent, recorded.space, Objective(), seed=0)
    curves: dict[tuple[int, int], list[float]] = {}
    with ProcessPoolExecutor(len(available_cores()), mp_context=get_context("spawn")) as pool:
        runs: dict[Future[list[float]], tuple[int, int]] = {
            pool.submit(_run, path, agent, trials, seed): (i, seed)
            for i, path in enumerate(paths)
            for seed in range(seeds)
        }
        waiting = set(runs)
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for run in done:
                    curves[runs[run]] = run.result()
                watch(len(curves), len(runs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [
        _score(recorded, agent, [curves[i, seed] for seed in range(seeds)], trials) for i, recorded in enumerate(spaces)
    ]


def mean_of(scores: Sequence[Score]) -> dict[str, Any]:
    """Return the means over spaces, each space counting alike."""
    count = len(scores)
    checkpoints = scores[0].fraction_of_optimum
    return {
        "fraction_of_optimum": {c: sum(score.fraction_of_optimum[c] for score in scores) / count for c in checkpoints},
        "evaluations_to_5_percent": sum(score.evaluations_to_5_percent for score in scores) / count,
        "hit_rate": sum(score.hit_rate for score in scores) / count,
    }


@lru_cache(maxsize=2)
def _read(path: Path) -> RecordedSpace:
    return read_cache_file(path)


def _run(path: Path, agent_name: str, trials: int, seed: int) -> list[float]:
    """Return the best time after each evaluation, in seconds; infinite until one worked."""
    recorded = _read(path)
    objective = Objective()
    agent = create_agent(agent_name, recorded.space, objective, seed=seed)
    curve: list[float] = []
    best = math.inf
    while len(curve) < trials and (asked := agent.ask(1)):
        trial = Trial(asked[0], recorded.measurements[asked[0]], number=len(curve))
        agent.tell([trial])
        best = min(best, objective.score(trial))
        curve.append(best)
    return curve


def _score(recorded: RecordedSpace, agent: str, curves: Sequence[Sequence[float]], trials: int) -> Score:
    optimum = recorded.optimum_seconds

    def fraction(count: int) -> float:
        return sum(optimum / curve[min(count, len(curve)) - 1] for curve in curves) / len(curves)

    hits = [next((i for i, best in enumerate(c, start=1) if best <= _CLOSE * optimum), None) for c in curves]
    return Score(
        space=recorded.name,
        agent=agent,
        size=len(recorded.measurements),
        optimum_seconds=optimum,
        fraction_of_optimum={str(count): fraction(count) for count in CHECKPOINTS if count <= trials},
        evaluations_to_5_percent=sum(hit or trials for hit in hits) / len(hits),
        hit_rate=sum(hit is not None for hit in hits) / len(hits),
        seeds=len(curves),
    )
