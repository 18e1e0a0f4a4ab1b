"""Runs agents on recorded spaces, spread over the cores of this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tuner.agents import Agent, create_agent
from tuner.db.kernel_tuner import RecordedSpace, read_cache_file
from tuner.devices import available_cores
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.replay.play import play
from tuner.replay.prior import Prior, source_of
from tuner.replay.score import Score, score_of

__all__ = ["Rules", "judge"]

# Workers keep the spaces that they last read: a target and its priors are read once, not for each seed.
_SPACES_KEPT = 16


@dataclass(frozen=True, slots=True)
class Rules:
    """What every run is allowed.

    Attributes:
        trials: Evaluations of a run; a failed config costs one like any other.
        seeds: Runs on each space, with the seeds 0, 1, ...
        batch: Configs that an agent proposes before it is told of any of them.
    """

    trials: int = 200
    seeds: int = 20
    batch: int = 1

    def __post_init__(self) -> None:
        for name in ("trials", "seeds", "batch"):
            if (value := getattr(self, name)) < 1:
                raise TunerError(f"{name}={value} is not positive; give 1 or more")


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: an agent on a space with a seed; what travels to a worker."""

    agent: str
    path: Path
    prior: Prior
    seed: int


def judge(
    paths: Sequence[Path],
    agents: Sequence[str],
    rules: Rules = Rules(),
    *,
    priors: Sequence[Prior] = (),
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> list[Score]:
    """Run agents on each recorded space, and return a score for each agent and space, agent by agent.

    Args:
        paths: Cache files.
        agents: Their names.
        rules: What every run is allowed.
        priors: What an agent is told before, for each of `paths`; nothing by default.
        watch: Called with the number of finished runs and of all runs.

    Raises:
        StoreError: a file cannot be read.
        TunerError: an agent is unknown, does not fit a space, or proposes a config that is not in it.
    """
    # Read first: a bad file is found before hours of work, and an agent that does not fit before any worker starts.
    spaces = [_read(path) for path in paths]
    priors = priors or [Prior()] * len(paths)
    for path, recorded, prior in zip(paths, spaces, priors, strict=True):
        if path.resolve() in {known.resolve() for known in prior.paths}:
            raise TunerError(f"{path} is searched and known before; leave it out of its own prior")
        for agent in agents:
            _agent(agent, recorded, prior, seed=0)
    runs = [
        _Run(agent, path, prior, seed)
        for path, prior in zip(paths, priors, strict=True)
        for agent in agents
        for seed in range(rules.seeds)
    ]
    curves = _play_all(runs, rules, watch)
    return [
        score_of(
            recorded,
            agent,
            [curves[_Run(agent, path, prior, seed)] for seed in range(rules.seeds)],
            rules.trials,
            [_read(source).name for source in prior.paths],
        )
        for agent in agents
        for path, prior, recorded in zip(paths, priors, spaces, strict=True)
    ]


def _play_all(runs: Sequence[_Run], rules: Rules, watch: Callable[[int, int], None]) -> dict[_Run, list[float]]:
    curves: dict[_Run, list[float]] = {}
    with ProcessPoolExecutor(len(available_cores()), mp_context=get_context("spawn")) as pool:
        futures: dict[Future[list[float]], _Run] = {pool.submit(_play, run, rules): run for run in runs}
        waiting = set(futures)
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    curves[futures[future]] = future.result()
                watch(len(curves), len(runs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return curves


@lru_cache(maxsize=_SPACES_KEPT)
def _read(path: Path) -> RecordedSpace:
    return read_cache_file(path)


def _agent(name: str, recorded: RecordedSpace, prior: Prior, seed: int) -> Agent:
    """Return a run's agent; which records it is told of follows from its seed and the file's place."""
    sources = [
        source_of(_read(path), prior.records, np.random.default_rng([seed, place]))
        for place, path in enumerate(prior.paths, start=1)
    ]
    return create_agent(name, recorded.space, Objective(), seed=seed, sources=sources)


def _play(run: _Run, rules: Rules) -> list[float]:
    recorded = _read(run.path)
    return play(_agent(run.agent, recorded, run.prior, run.seed), recorded, rules.trials, rules.batch)
