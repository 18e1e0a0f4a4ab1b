"""Optuna's samplers as agents: TPE by default, or `optuna:gp`, `optuna:cmaes`, `optuna:nsgaii`, `optuna:qmc`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, TPESampler
from optuna.trial import TrialState, create_trial

from tuner.agents.base import Agent, Source
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Trial

__all__ = ["OptunaAgent"]

# A failed config counts as e times slower than the slowest that worked: bad for every sampler, infinite for none.
_FAILURE_MARGIN = 1.0
# Configs of one generation where a front is searched for.
_FEW = 12


def _tpe(seed: int) -> BaseSampler:
    # Told explicitly, so that a change of Optuna's defaults does not change ours.
    return TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _gp(seed: int) -> BaseSampler:
    return GPSampler(seed=seed, deterministic_objective=False)


def _cmaes(seed: int) -> BaseSampler:
    return CmaEsSampler(seed=seed, warn_independent_sampling=False)


def _nsgaii(seed: int) -> BaseSampler:
    return NSGAIISampler(seed=seed)


def _nsgaii_of_few(seed: int) -> BaseSampler:
    # A campaign of engines has some dozens of trials, each a server's start: fifty a generation would be all of them.
    return NSGAIISampler(seed=seed, population_size=_FEW)


def _qmc(seed: int) -> BaseSampler:
    return QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)


_SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "nsgaii": _nsgaii,
    "qmc": _qmc,
}


class OptunaAgent(Agent):
    """Proposes what an Optuna sampler suggests, moved to the nearest valid config that was not proposed before.

    The sampler works on the index of each parameter's value: an integer where the values are ordered or only two, a
    category where they are not. It learns the logarithm of the score, so that a factor is worth the same everywhere; a
    failed trial counts as clearly worse than all that worked. Of several objectives, `nsgaii` and `tpe` learn each, and
    search for the front.

    Source: Optuna 5, https://optuna.readthedocs.io/en/stable/reference/samplers/index.html
    """

    variants = tuple(_SAMPLERS)
    front_variants = ("nsgaii", "tpe")

    def __init__(
        self,
        space: SearchSpace,
        objective: Objective,
        *,
        seed: int,
        sources: Sequence[Source] = (),
        variant: str = "",
    ) -> None:
        super().__init__(space, objective, seed=seed, sources=sources, variant=variant)
        self._distributions: dict[str, BaseDistribution] = {
            parameter.name: IntDistribution(0, len(parameter.values) - 1)
            if parameter.ordered or len(parameter.values) == 2
            else CategoricalDistribution(range(len(parameter.values)))
            for parameter in space.parameters
            if len(parameter.values) > 1
        }
        if self.variant == "cmaes":
            self._require_ordered()
        self._objectives = objective.every
        sampler = _nsgaii_of_few if self.variant == "nsgaii" and objective.beside else _SAMPLERS[self.variant]
        self._study = _quiet_study(sampler, seed, len(self._objectives))
        self._seen: set[Config] = set()
        self._pending: dict[Config, int] = {}
        self._worst = [-math.inf] * len(self._objectives)

    def ask(self, count: int) -> list[Config]:
        """Return up to `count` valid configs that were not proposed or told before."""
        configs: list[Config] = []
        while len(configs) < count and (config := self._propose()) is not None:
            configs.append(config)
        return configs

    def tell(self, trials: Sequence[Trial]) -> None:
        """Pass the trials on to the sampler, also those that it did not propose."""
        logs = [[one.log_score(trial) for one in self._objectives] for trial in trials]
        for position in range(len(self._worst)):
            self._worst[position] = max([self._worst[position], *(log[position] for log in logs if _usable(log))])
        for trial, log in zip(trials, logs, strict=True):
            failed = [(worst if math.isfinite(worst) else 0.0) + _FAILURE_MARGIN for worst in self._worst]
            values = log if _usable(log) else failed
            self._seen.add(trial.config)
            number = self._pending.pop(trial.config, None)
            if number is not None:
                self._study.tell(number, values)
            elif self.space.contains(trial.config):
                self._study.add_trial(
                    create_trial(params=self._indices(trial.config), distributions=self._distributions, values=values)
                )

    def _propose(self) -> Config | None:
        suggestion = self._study.ask(self._distributions)
        suggested = np.array([int(suggestion.params.get(name, 0)) for name in self.space.names], dtype=np.int64)
        config = self.space.decode(suggested)
        if config in self._seen or not self.space.contains(config):
            # The sampler is told nothing of what was not measured; the repaired config takes its place.
            self._study.tell(suggestion, state=TrialState.FAIL)
            repaired = self.space.nearest(suggested, exclude=self._seen)
            if repaired is None:
                return None
            config = repaired
            self._study.enqueue_trial(self._indices(config))
            suggestion = self._study.ask(self._distributions)
        self._seen.add(config)
        self._pending[config] = suggestion.number
        return config

    def _indices(self, config: Config) -> dict[str, int]:
        indices = zip(self.space.names, self.space.encode(config).tolist(), strict=True)
        return {name: index for name, index in indices if name in self._distributions}

    def _require_ordered(self) -> None:
        for name, distribution in self._distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                raise TunerError(f"CMA-ES needs ordered parameters, and {name} is not; use optuna:tpe")


def _usable(logs: Sequence[float]) -> bool:
    return all(map(math.isfinite, logs))


def _quiet_study(sampler: Callable[[int], BaseSampler], seed: int, objectives: int) -> optuna.Study:
    """Return a study in memory, without Optuna's lines about it on standard error."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.create_study(directions=["minimize"] * objectives, sampler=sampler(seed))
    finally:
        optuna.logging.set_verbosity(level)
