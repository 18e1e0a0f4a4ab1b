from __future__ import annotations

import numpy as np
import pytest

from tests.agents.source import source
from tuner.agents import Agent, create_agent, installed_agents
from tuner.agents.auto import AutoAgent
from tuner.agents.evolution import EvolutionAgent
from tuner.agents.exhaustive import ExhaustiveAgent
from tuner.agents.gp import GpAgent
from tuner.agents.lfbo import LfboAgent
from tuner.agents.optuna import OptunaAgent
from tuner.agents.portfolio import PortfolioAgent
from tuner.agents.random import RandomAgent
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.search_spaces import Parameter, SearchSpace
from tuner.testing.agent import AgentContract


class TestRandomAgent(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        return RandomAgent(space, objective, seed=seed)


class TestExhaustiveAgent(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        return ExhaustiveAgent(space, objective, seed=seed)


class TestAuto(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        return AutoAgent(space, objective, seed=seed)


class TestAutoWithSources(AgentContract):
    """What others measured must not break what an agent promises, whatever it says."""

    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        rng = np.random.default_rng(seed)
        sources = [source(space.sample(rng, 20), lambda config: 1.0 + len(config.json) % 7) for _ in range(2)]
        return AutoAgent(space, objective, seed=seed, sources=sources)


class TestGp(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        return GpAgent(space, objective, seed=seed)


class TestLfbo(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        return LfboAgent(space, objective, seed=seed)


class TestEvolution(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        return EvolutionAgent(space, objective, seed=seed)


class TestPortfolio(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        return PortfolioAgent(space, objective, seed=seed)


class TestTpe(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        return OptunaAgent(space, objective, seed=seed)


@pytest.mark.slow
class TestOptunaGp(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        pytest.importorskip("torch", reason="Optuna's GP needs torch: pip install 'rltuner[samplers]'")
        return OptunaAgent(space, objective, seed=seed, variant="gp")


class TestCmaEs(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        pytest.importorskip("cmaes", reason="CMA-ES needs cmaes: pip install 'rltuner[samplers]'")
        return OptunaAgent(space, objective, seed=seed, variant="cmaes")


class TestNsgaii(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        return OptunaAgent(space, objective, seed=seed, variant="nsgaii")


class TestQmc(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        pytest.importorskip("scipy", reason="quasi-Monte Carlo needs scipy: pip install 'rltuner[samplers]'")
        return OptunaAgent(space, objective, seed=seed, variant="qmc")


SPACE = SearchSpace([Parameter.categorical("LAYOUT", ("row", "column", "tile")), Parameter.integer("A", 0, 99)])


def test_cma_es_refuses_unordered_parameters() -> None:
    with pytest.raises(TunerError, match="LAYOUT is not; use optuna:tpe"):
        create_agent("optuna:cmaes", SPACE, Objective(), seed=0)


def test_an_unknown_agent_lists_those_there_are() -> None:
    with pytest.raises(TunerError, match=r"unknown agent 'ppo2'; known: .*random"):
        create_agent("ppo2", SPACE, Objective(), seed=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [("optuna:tree", "no variant 'tree'; choose one of tpe, gp"), ("random:x", "no variant 'x'; it has none")],
)
def test_an_unknown_variant_lists_those_there_are(name: str, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        create_agent(name, SPACE, Objective(), seed=0)


def test_agents_are_found_by_entry_point() -> None:
    assert {"random", "exhaustive", "optuna"} <= set(installed_agents())
    assert type(create_agent("random", SPACE, Objective(), seed=0)) is RandomAgent
