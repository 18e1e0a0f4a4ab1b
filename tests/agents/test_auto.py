from __future__ import annotations

import math

import numpy as np
import pytest

from tests.agents.source import source, trial
from tuner.agents import Source, create_agent
from tuner.agents.auto import AutoAgent
from tuner.agents.encoding import Encoding
from tuner.agents.prior import Prior
from tuner.objective import Objective
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config

SPACE = SearchSpace(
    [
        Parameter.integer("A", 0, 9),
        Parameter.integer("B", 0, 9),
        Parameter.categorical("L", ("row", "column", "tile")),
        Parameter.integer("C", 0, 9),
    ],
    [Constraint(lambda A, B: A + B <= 14, "they fit")],
)


def seconds(config: Config) -> float:
    """A kernel with one best config: A=7, B=3, C=5, tiled."""
    away = abs(config.integer("A") - 7) + abs(config.integer("B") - 3) + abs(config.integer("C") - 5)
    return 1.0 + 0.1 * away + (0.0 if config["L"] == "tile" else 0.5)


def other(config: Config) -> float:
    """The same kernel where everything is slower and one value is another."""
    return 3.0 * seconds(Config({**config, "A": min(9, config.integer("A") + 1)}))


def best_after(trials: int, agent: str, sources: tuple[Source, ...], seed: int) -> float:
    made = create_agent(agent, SPACE, Objective(), seed=seed, sources=sources)
    best = math.inf
    for number in range(trials):
        [config] = made.ask(1)
        best = min(best, seconds(config))
        made.tell([trial(config, seconds(config), number)])
    return best


def mean_best(trials: int, agent: str, sources: tuple[Source, ...] = ()) -> float:
    return float(np.mean([best_after(trials, agent, sources, seed) for seed in range(6)]))


def sampled(count: int, seed: int = 0) -> list[Config]:
    return SPACE.sample(np.random.default_rng(seed), count)


def test_a_source_saves_trials() -> None:
    helped = mean_best(8, "auto", (source(sampled(150), other),))
    assert helped < 1.2
    assert helped < mean_best(8, "auto") - 0.1


def test_a_source_that_says_nothing_true_costs_little() -> None:
    rng = np.random.default_rng(0)
    lies = source(sampled(150), lambda _: float(np.exp(rng.normal())))
    assert mean_best(40, "auto", (lies,)) < mean_best(40, "auto") + 0.1


def test_the_source_that_is_right_gains_weight() -> None:
    rng = np.random.default_rng(0)
    lies = source(sampled(150), lambda _: float(np.exp(rng.normal())))
    truth = source(sampled(150, seed=1), other)
    agent = AutoAgent(SPACE, Objective(), seed=0, sources=[lies, truth])
    agent.tell([trial(config, seconds(config)) for config in sampled(20, seed=2)])
    agent.ask(5)
    wrong, right = agent.weights
    assert right > 0.5 > wrong
    assert right > 2 * abs(wrong)


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_a_prior_that_ranks_rightly_is_kept_however_it_exaggerates(factor: float) -> None:
    agent = AutoAgent(SPACE, Objective(), seed=0, sources=[source(sampled(150), lambda one: other(one) ** factor)])
    agent.tell([trial(config, seconds(config)) for config in sampled(10, seed=2)])
    agent.ask(5)
    assert agent.informed


@pytest.mark.parametrize("seed", range(3))
def test_a_prior_that_says_the_opposite_is_dropped(seed: int) -> None:
    agent = AutoAgent(SPACE, Objective(), seed=seed, sources=[source(sampled(150), lambda one: 1 / seconds(one))])
    agent.tell([trial(config, seconds(config)) for config in sampled(10, seed=seed)])
    agent.ask(1)
    assert not agent.informed


def test_a_prior_that_cannot_be_judged_yet_is_believed() -> None:
    agent = AutoAgent(SPACE, Objective(), seed=0, sources=[source(sampled(150), other)])
    agent.tell([trial(config, math.inf) for config in sampled(10, seed=2)])
    [config] = agent.ask(1)
    assert seconds(config) < 1.5


def test_every_third_proposal_ignores_the_prior() -> None:
    agent = AutoAgent(SPACE, Objective(), seed=0, sources=[source(sampled(150), other)])
    agent.tell([trial(config, seconds(config)) for config in sampled(10, seed=2)])
    informed = []
    for _ in range(6):
        agent.ask(1)
        informed.append(agent.informed)
    assert informed == [True, True, False, True, True, False]


def test_sources_that_share_no_parameter_are_left_out() -> None:
    alien = source([Config(X=x) for x in range(50)], lambda config: float(1 + config.integer("X")))
    short = source(sampled(3), other)
    failed = source(sampled(30), lambda _: math.inf)
    prior = Prior(SPACE, Objective(), [alien, short, failed], np.random.default_rng(0))
    assert len(prior) == 0
    assert AutoAgent(SPACE, Objective(), seed=0, sources=[alien]).ask(3)


def test_a_related_kernel_helps_by_the_parameters_that_it_shares() -> None:
    """Another kernel without C, with a parameter of its own, and values of A that this one has not."""
    configs = [
        Config(A=a, B=b, L=layout, Z=z)
        for a in range(2, 14, 2)
        for b in range(0, 10, 3)
        for layout in ("row", "tile")
        for z in (1, 2)
    ]

    def there(config: Config) -> float:
        away = abs(config.integer("A") - 7) + abs(config.integer("B") - 3)
        return 1.0 + 0.1 * away + (0.0 if config["L"] == "tile" else 0.5)

    assert mean_best(6, "auto", (source(configs, there),)) < mean_best(6, "auto") - 0.1


def test_what_a_source_measured_is_taken_as_it_is() -> None:
    configs = sampled(60)
    prior = Prior(SPACE, Objective(), [source(configs, other)], np.random.default_rng(0))
    least = min(map(other, configs))
    said = prior(SPACE.encode_many(configs))[:, 0]
    assert said == pytest.approx([math.log(other(config) / least) for config in configs])


def test_alignment_is_a_feature_of_its_own() -> None:
    space = SearchSpace([Parameter("BLOCK", (16, 32, 48, 64)), Parameter.powers_of_two("TILE", 1, 8)])
    encoding = Encoding(space)
    assert encoding.groups == 3
    columns = encoding(np.array([[0, 0], [1, 1], [2, 2], [3, 3]]))
    assert columns[:, 1].tolist() == pytest.approx([4 / 6, 5 / 6, 4 / 6, 1.0])


@pytest.mark.parametrize("name", ["auto", "gp", "lfbo", "evolution", "portfolio"])
def test_searching_finds_what_chance_does_not(name: str) -> None:
    assert mean_best(60, name) < mean_best(60, "random") - 0.05
