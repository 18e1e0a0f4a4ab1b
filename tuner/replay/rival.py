"""Kernel Tuner's strategies as rivals: its own code, asked to search what was recorded.

A run has everything of its own: the space, its index of neighbours, the cache, the budget. As in Kernel Tuner, a config
that is asked for again is answered from its cache and costs nothing, one that the space does not hold is refused at no
cost, and one that failed costs an evaluation. Times are in milliseconds, as strategies expect.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import random
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tuner.db.kernel_tuner import RecordedSpace
from tuner.errors import MissingDependencyError, TunerError
from tuner.replay.play import Proposal, Run
from tuner.types import Config, Scalar, Status

__all__ = ["RIVAL", "play_rival", "require_rival", "strategies"]

RIVAL = "kernel_tuner"
"""What a rival's name begins with: `kernel_tuner:genetic_algorithm`."""

_MILLISECONDS = 1e3
# A strategy that asks so often in a row for what it knows goes round in circles.
_MOST_REPEATS = 20_000


def strategies() -> tuple[str, ...]:
    """Return the names of Kernel Tuner's strategies.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return tuple(_load("interface").strategy_map)


def require_rival(name: str) -> None:
    """Do nothing where `name` is a strategy of Kernel Tuner, which is installed.

    Raises:
        TunerError: there is no such strategy.
        MissingDependencyError: Kernel Tuner is not installed.
    """
    prefix, _, strategy = name.partition(":")
    if prefix != RIVAL or strategy not in strategies():
        raise TunerError(f"unknown rival {name!r}; write {RIVAL}:NAME with one of: {', '.join(strategies())}")


def play_rival(name: str, recorded: RecordedSpace, trials: int, seed: int) -> Run:
    """Return how a strategy does on `recorded`, one config at a time, without any prior.

    Args:
        name: Such as `kernel_tuner:pso`.
        recorded: What answers.
        trials: Most evaluations.
        seed: Seed of Python's and numpy's global generators, which strategies draw from.

    Raises:
        TunerError: the strategy is unknown, evaluates nothing, or breaks.
    """
    require_rival(name)
    strategy = name.partition(":")[2]
    # Kernel Tuner 1.5 takes booleans for masks where it looks neighbours up; it is given the numbers that they are.
    flags = frozenset(
        parameter.name
        for parameter in recorded.space.parameters
        if all(isinstance(value, bool) for value in parameter.values)
    )
    searchspace = _searchspace(recorded, flags)
    options = _options(strategy, searchspace, min(trials, recorded.space.size), seed)
    runner = _Recorded(recorded, flags)
    # Strategies print, and warn of what they do themselves.
    with _seeded(seed), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            runner.begin()
            _load("interface").strategy_map[strategy].tune(searchspace, runner, options)
        except _load("util").StopCriterionReached:
            pass
        except Exception as error:
            raise TunerError(f"{name} broke on {recorded.name}: {type(error).__name__}: {error}") from error
    if not runner.curve:
        raise TunerError(f"{name} evaluated nothing at all on {recorded.name}")
    return Run(tuple(runner.curve), tuple(runner.proposals))


def _searchspace(recorded: RecordedSpace, flags: Collection[str]) -> Any:
    """Return the recorded configs, and no others, as Kernel Tuner's space."""

    def plain(name: str, value: Scalar) -> Scalar:
        return int(value) if name in flags else value

    values = {p.name: [plain(p.name, value) for value in p.values] for p in recorded.space.parameters}
    cache = {
        config.key: {name: plain(name, value) for name, value in config.items()} for config in recorded.measurements
    }
    return _load("searchspace").Searchspace(None, None, None, from_cache={"tune_params": values, "cache": cache})


def _options(strategy: str, searchspace: Any, evaluations: int, seed: int) -> Any:
    """Return what Kernel Tuner's own `tune_kernel` would tell a strategy."""
    options = _load("interface").Options
    return options(
        strategy=strategy,
        strategy_options=options(max_fevals=evaluations),
        tune_params=searchspace.tune_params,
        restrictions=None,
        restrictions_unmodified=None,
        objective=["time"],
        objective_higher_is_better=[False],
        budget=_load("util").TuningBudget(max_fevals=evaluations),
        max_fevals=evaluations,
        simulation_mode=True,
        verbose=False,
        metrics=None,
        seed=seed,
        cache={},
    )


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators, which strategies draw from, and leave them as they were."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


class _Recorded:
    """What Kernel Tuner calls a runner: answers from the record, and counts what is new."""

    def __init__(self, recorded: RecordedSpace, flags: Collection[str]) -> None:
        self.curve: list[float] = []
        self.proposals: list[Proposal] = []
        self.dev = SimpleNamespace(max_threads=1_000_000_000, name="recorded")
        self._measurements = recorded.measurements
        self._names = recorded.space.names
        self._flags = flags
        self._util = _load("util")
        self._known: dict[Config, dict[str, Any]] = {}
        self._best = math.inf
        self._repeats = 0
        self._since = 0.0

    def begin(self) -> None:
        """Say that the strategy is thinking from now on."""
        self._since = time.process_time()

    def run(self, parameter_space: Sequence[Sequence[Any]], tuning_options: Any) -> list[dict[str, Any] | None]:
        """Return a result for each config, as far as the budget goes."""
        thought = time.process_time() - self._since
        before = len(self.curve)
        results = [self._result(values, tuning_options.budget) for values in parameter_space]
        if new := len(self.curve) - before:
            # What it asks for at once it has proposed in equal shares of the time.
            self.proposals += [Proposal(before + i, thought / new) for i in range(new)]
            self.begin()
        else:
            # What was not new counts towards the next that is.
            self._since = time.process_time() - thought
        return results

    def add_strategy_time(self, seconds: float) -> None:
        """Time is taken here."""

    def available_parallelism(self) -> int:
        """Return that it answers one config at a time."""
        return 1

    def _result(self, values: Sequence[Any], budget: Any) -> dict[str, Any] | None:
        if budget.is_done():
            return None
        asked = {name: _plain(value) for name, value in zip(self._names, values, strict=True)}
        config = Config({name: bool(value) if name in self._flags else value for name, value in asked.items()})
        if known := self._known.get(config):
            self._repeats += 1
            if self._repeats > _MOST_REPEATS:
                raise self._util.StopCriterionReached("it goes round in circles")
            return dict(known)
        measurement = self._measurements.get(config)
        result: dict[str, Any] = dict(asked)
        if measurement is None:
            return {**result, "__error__": self._util.InvalidConfig()}
        self._repeats = 0
        budget.add_evaluations(1)
        if measurement.status is Status.CORRECT:
            seconds = measurement.samples["seconds"][0]
            self._best = min(self._best, seconds)
            result["time"] = _MILLISECONDS * seconds
        else:
            result["__error__"] = self._util.RuntimeFailedConfig()
        self.curve.append(self._best)
        self._known[config] = result
        return dict(result)


def _plain(value: Any) -> Any:
    """Return a value as Python's own; strategies hand back numpy's."""
    return value.item() if isinstance(value, np.generic) else value


def _load(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"{RIVAL}.{module}")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"rivals need the package {error.name!r}; pip install 'rltuner[bench]'") from error
