"""What every agent must do."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from tuner.agents import Agent
from tuner.objective import Objective
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Measurement, Status, Trial

__all__ = ["AgentContract"]


def _space() -> SearchSpace:
    return SearchSpace(
        [
            Parameter.powers_of_two("BLOCK", 1, 64),
            Parameter.integer("UNROLL", 1, 8),
            Parameter.boolean("PACK"),
            Parameter.integer("FIXED", 3, 3),
        ],
        [Constraint(lambda BLOCK, UNROLL: BLOCK * UNROLL <= 128, "a block of unrolled rows fits")],
    )


def _trial(config: Config, number: int) -> Trial:
    """Return a trial of an artificial kernel, fastest at BLOCK=32, UNROLL=4; packing without unrolling fails."""
    if config["PACK"] and config["UNROLL"] == 1:
        return Trial(config, Measurement(Status.RUNTIME, error="asked to fail"), number=number)
    seconds = 1 + abs(np.log2(config.integer("BLOCK")) - 5) + abs(config.integer("UNROLL") - 4) / 4
    return Trial(config, Measurement(Status.CORRECT, {"seconds": (float(seconds),)}), number=number)


class AgentContract(ABC):
    """Subclass it in a test module and say how the agent is made; pytest runs the rest.

    Example:
        >>> from tuner.agents.random import RandomAgent
        >>> class TestRandomAgent(AgentContract):
        ...     def make(self, space, objective, seed):
        ...         return RandomAgent(space, objective, seed=seed)
        >>> TestRandomAgent().test_proposes_only_valid_configs()
    """

    @abstractmethod
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        """Return a new agent."""

    def _run(self, agent: Agent, trials: int, batch: int = 1) -> list[Trial]:
        done: list[Trial] = []
        while len(done) < trials and (asked := agent.ask(min(batch, trials - len(done)))):
            new = [_trial(config, len(done) + i) for i, config in enumerate(asked)]
            agent.tell(new)
            done += new
        return done

    def test_proposes_only_valid_configs(self) -> None:
        space = _space()
        assert all(space.contains(trial.config) for trial in self._run(self.make(space, Objective(), 0), 40))

    def test_never_proposes_a_config_twice(self) -> None:
        space = _space()
        configs = [trial.config for trial in self._run(self.make(space, Objective(), 1), 50, batch=4)]
        assert len(set(configs)) == len(configs) == 50

    def test_the_same_seed_proposes_the_same(self) -> None:
        runs = [self._run(self.make(_space(), Objective(), 7), 25) for _ in range(2)]
        assert [t.config for t in runs[0]] == [t.config for t in runs[1]]

    def test_reaches_every_config_of_a_small_space_and_then_proposes_none(self) -> None:
        space = SearchSpace([Parameter.integer("A", 0, 3), Parameter.boolean("B")])
        agent = self.make(space, Objective(), 0)
        asked: list[Config] = []
        while configs := agent.ask(3):
            asked += configs
            agent.tell([Trial(c, Measurement(Status.CORRECT, {"seconds": (1.0,)})) for c in configs])
        assert set(asked) == set(space.iterate())
        assert agent.ask(1) == []

    def test_does_not_propose_what_it_was_told(self) -> None:
        space = _space()
        known = [_trial(config, i) for i, config in enumerate(space.sample(np.random.default_rng(0), 30))]
        agent = self.make(space, Objective(), 0)
        agent.tell(known)
        told = {trial.config for trial in known}
        assert not told & {trial.config for trial in self._run(agent, 30)}

    def test_works_when_everything_fails(self) -> None:
        space = _space()
        agent = self.make(space, Objective(), 0)
        for number in range(20):
            [config] = agent.ask(1)
            agent.tell([Trial(config, Measurement(Status.COMPILE, error="asked to fail"), number=number)])
        assert len(agent.ask(2)) == 2

    def test_a_batch_may_be_told_in_any_order(self) -> None:
        space = _space()
        agent = self.make(space, Objective(), 0)
        configs = agent.ask(6)
        assert len(configs) == 6
        agent.tell([_trial(config, i) for i, config in reversed(list(enumerate(configs)))])
        assert len(agent.ask(1)) == 1
