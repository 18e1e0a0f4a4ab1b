from __future__ import annotations

import logging

import numpy as np
import pytest

from tuner.agents import Agent
from tuner.agents.optuna import OptunaAgent
from tuner.agents.random import RandomAgent
from tuner.objective import Objective
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Measurement, Status, Trial

SPACE = SearchSpace(
    [Parameter.integer("A", 0, 31), Parameter.integer("B", 0, 31), Parameter.integer("C", 0, 7)],
    [Constraint(lambda A, B: (A + B) % 2 == 0, "A and B are both even or both odd")],
)


def best_after(agent: Agent, evaluations: int) -> float:
    best = float("inf")
    for number in range(evaluations):
        [config] = agent.ask(1)
        distance = sum((config.integer(name) - target) ** 2 for name, target in (("A", 20), ("B", 6), ("C", 3)))
        best = min(best, 1.0 + distance)
        agent.tell([Trial(config, Measurement(Status.CORRECT, {"seconds": (1.0 + distance,)}), number=number)])
    return best


def test_tpe_learns() -> None:
    seeds = range(8)
    tpe = np.median([best_after(OptunaAgent(SPACE, Objective(), seed=seed), 60) for seed in seeds])
    random = np.median([best_after(RandomAgent(SPACE, Objective(), seed=seed), 60) for seed in seeds])
    assert tpe < random


def test_history_is_learned_from() -> None:
    """Told that everything with a small A is slow, it proposes large ones."""
    agent = OptunaAgent(SPACE, Objective(), seed=0)
    history = SPACE.sample(np.random.default_rng(0), 100)
    agent.tell([Trial(c, Measurement(Status.CORRECT, {"seconds": (32.5 - c.integer("A"),)})) for c in history])
    assert np.mean([config.integer("A") for config in agent.ask(10)]) > 22


def test_failures_are_learned_from() -> None:
    agent = OptunaAgent(SPACE, Objective(), seed=0)
    for config in SPACE.sample(np.random.default_rng(0), 100):
        works = config.integer("A") >= 16
        measurement = (
            Measurement(Status.CORRECT, {"seconds": (1.0,)}) if works else Measurement(Status.RUNTIME, error="no")
        )
        agent.tell([Trial(config, measurement)])
    assert np.mean([config.integer("A") >= 16 for config in agent.ask(20)]) > 0.8


def test_it_works_in_a_space_where_few_configs_are_valid() -> None:
    space = SearchSpace(
        [Parameter.integer(name, 0, 19) for name in "ABCD"],
        [Constraint(lambda A, B, C, D: A == B == C == D, "all are equal")],
    )
    agent = OptunaAgent(space, Objective(), seed=0)
    asked = agent.ask(20)
    assert {config["A"] for config in asked} == set(range(20))


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG):
        OptunaAgent(SPACE, Objective(), seed=0).ask(3)
    assert capfd.readouterr() == ("", "")


def test_a_score_of_zero_seconds_does_not_break_it() -> None:
    agent = OptunaAgent(SPACE, Objective(), seed=0)
    agent.tell([Trial(Config(A=0, B=0, C=0), Measurement(Status.CORRECT, {"seconds": (0.0,)}))])
    assert agent.ask(1)
