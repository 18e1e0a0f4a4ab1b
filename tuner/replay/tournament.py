"""Runs agents and rivals on recorded spaces, spread over the cores of this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
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
from tuner.replay.play import Run, play
from tuner.replay.prior import Prior, source_of
from tuner.replay.rival import RIVAL, play_rival, require_rival
from tuner.replay.score import Score, baseline_of, score_of

__all__ = ["Rules", "judge"]

# Workers keep the spaces that they last read: a target and its priors are read once, not for each seed.
_SPACES_KEPT = 16
# What libraries of linear algebra read for their number of threads when they are loaded.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Rules:
    """What every run is allowed.

    Attributes:
        trials: Evaluations of a run; a failed config costs one like any other.
        seeds: Runs on each space.
        batch: Configs that an agent proposes before it is told of any of them; rivals propose as they please.
        first_seed: The seed of the first run on each space; the others follow.
    """

    trials: int = 200
    seeds: int = 20
    batch: int = 1
    first_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("trials", "seeds", "batch"):
            if (value := getattr(self, name)) < 1:
                raise TunerError(f"{name}={value} is not positive; give 1 or more")
        if self.first_seed < 0:
            raise TunerError(f"first_seed={self.first_seed} is negative; give 0 or more")

    @property
    def seed_range(self) -> range:
        """The seeds of the runs on each space."""
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One run to be made: an agent on a space with a seed; what travels to a worker."""

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

    Runs of one space and seed are told the same records, whoever the agent.

    Args:
        paths: Cache files.
        agents: Their names, or references to their classes, such as `path/to/file.py:Class`. `kernel_tuner:NAME` is a
            strategy of Kernel Tuner, which is told no records.
        rules: What every run is allowed.
        priors: What an agent is told before, for each of `paths`; nothing by default.
        watch: Called with the number of finished runs and of all runs.

    Raises:
        StoreError: a file cannot be read.
        TunerError: an agent is unknown, does not fit a space, or proposes a config that is not in it.
        MissingDependencyError: an agent's package is not installed.
    """
    # Read first: a bad file is found before hours of work, and an agent that does not fit before any worker starts.
    spaces = [_read(path) for path in paths]
    priors = priors or [Prior()] * len(paths)
    for path, recorded, prior in zip(paths, spaces, priors, strict=True):
        if path.resolve() in {known.resolve() for known in prior.paths}:
            raise TunerError(f"{path} is searched and known before; leave it out of its own prior")
        for agent in agents:
            _require(agent, recorded, prior)
    entries = [
        _Entry(agent, path, Prior() if _is_rival(agent) else prior, seed)
        for path, prior in zip(paths, priors, strict=True)
        for agent in agents
        for seed in rules.seed_range
    ]
    with _one_thread():
        runs = _play_all(entries, rules, watch)
    baselines = [baseline_of(recorded) for recorded in spaces]
    scores = []
    for agent in agents:
        for path, prior, recorded, baseline in zip(paths, priors, spaces, baselines, strict=True):
            told = Prior() if _is_rival(agent) else prior
            own = [runs[_Entry(agent, path, told, seed)] for seed in rules.seed_range]
            names = [_read(source).name for source in told.paths]
            scores.append(score_of(recorded, baseline, agent, own, rules.trials, names))
    return scores


def _play_all(entries: Sequence[_Entry], rules: Rules, watch: Callable[[int, int], None]) -> dict[_Entry, Run]:
    runs: dict[_Entry, Run] = {}
    workers = min(len(available_cores()), len(entries))
    if workers == 1:
        # A process of its own would only cost its start.
        for entry in entries:
            runs[entry] = _play(entry, rules)
            watch(len(runs), len(entries))
        return runs
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures: dict[Future[Run], _Entry] = {pool.submit(_play, entry, rules): entry for entry in entries}
        waiting = set(futures)
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    runs[futures[future]] = future.result()
                watch(len(runs), len(entries))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return runs


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start meanwhile compute on one thread each, unless the user said otherwise."""
    added = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@lru_cache(maxsize=_SPACES_KEPT)
def _read(path: Path) -> RecordedSpace:
    return read_cache_file(path)


def _is_rival(agent: str) -> bool:
    return agent.partition(":")[0] == RIVAL


def _require(agent: str, recorded: RecordedSpace, prior: Prior) -> None:
    """Refuse an agent that is not there or does not fit."""
    if _is_rival(agent):
        require_rival(agent)
    else:
        _agent(agent, recorded, prior, seed=0)


def _agent(name: str, recorded: RecordedSpace, prior: Prior, seed: int) -> Agent:
    """Return a run's agent; which records it is told of follows from its seed and the file's place."""
    sources = [
        source_of(_read(path), prior.records, np.random.default_rng([seed, place]), shuffled=prior.shuffled)
        for place, path in enumerate(prior.drawn(seed), start=1)
    ]
    return create_agent(name, recorded.space, Objective(), seed=seed, sources=sources)


def _play(entry: _Entry, rules: Rules) -> Run:
    recorded = _read(entry.path)
    if _is_rival(entry.agent):
        return play_rival(entry.agent, recorded, rules.trials, entry.seed)
    return play(_agent(entry.agent, recorded, entry.prior, entry.seed), recorded, rules.trials, rules.batch)
