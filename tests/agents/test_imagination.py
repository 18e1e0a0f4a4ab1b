from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tuner.agents import Agent
from tuner.agents.gaussian import GaussianProcess
from tuner.agents.imagination import Dream, Imagination
from tuner.agents.network import weight_shapes
from tuner.agents.policy import PolicyAgent
from tuner.agents.policy_file import Policy, save_policy
from tuner.agents.pool import Pool
from tuner.agents.slate import ADVISED, SlateShape
from tuner.agents.slate_search import SlateSearch
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.search_spaces import Parameter, SearchSpace
from tuner.testing.agent import AgentContract

SPACE = SearchSpace([Parameter.integer(name, 0, 9) for name in "ABC"])


def undecided(shape: SlateShape = ADVISED) -> Policy:
    weights = {name: np.zeros(size, dtype=np.float32) for name, size in weight_shapes(shape, 2).items()}
    return Policy("ppo", shape, weights, 40)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.zip"
    save_policy(undecided(), path)
    return path


class TestImagining(AgentContract):
    @pytest.fixture(autouse=True)
    def _file(self, file: Path) -> None:
        self.variant = f"{file},imagine"

    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        return PolicyAgent(space, objective, seed=seed, variant=self.variant)


def test_draws_agree_with_what_was_measured_and_stray_elsewhere() -> None:
    inputs = np.linspace(0, 0.5, 9)[:, None]
    process = GaussianProcess(np.zeros(1, dtype=int), 1, np.random.default_rng(0))
    process.fit(inputs, np.sin(6 * inputs[:, 0]), steps=60)
    places = np.array([[0.25], [1.0]])
    drawn = process.sample(places, 4000, np.random.default_rng(1))
    mean, deviation = process.predict(places)
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), deviation, rtol=0.1, atol=0.01)
    assert deviation[0] < 0.1 < deviation[1]


def test_draws_of_neighbours_go_together() -> None:
    process = GaussianProcess(np.zeros(1, dtype=int), 1, np.random.default_rng(0))
    process.fit(np.array([[0.0], [0.1]]), np.array([0.0, 1.0]), steps=0)
    drawn = process.sample(np.array([[0.9], [0.91]]), 500, np.random.default_rng(1))
    assert np.corrcoef(drawn[:, 0], drawn[:, 1])[0][1] > 0.95


def searched(trials: int) -> SlateSearch:
    rng = np.random.default_rng(0)
    search = SlateSearch(SPACE, ADVISED, Pool(SPACE, rng), rng, budget=40, size=SPACE.size)
    for row in search.untried.random(trials):
        search.tell(row, sum((index - 6) ** 2 for index in row) / 50)
    search.draw()
    return search


def test_it_learns_to_choose_what_gains_and_leaves_the_search_as_it_was() -> None:
    search = searched(15)
    before = [list(numbers) for numbers in search.told]
    imagination = Imagination(undecided().network, 0.6, np.random.default_rng(1), Dream(landscapes=6))
    change = np.zeros(ADVISED.config_features)
    for _ in range(3):
        change = imagination.learn(search, change, left=20)
    weights = dict(zip(ADVISED.config_names, change.tolist(), strict=True))
    assert weights["improvement"] > 0.02
    assert weights["mean"] < -0.02
    assert [list(numbers) for numbers in search.told] == before
    assert search.history.trials[0] == 15


def test_nothing_is_learned_where_nothing_is_left_to_try() -> None:
    search = searched(SPACE.size)
    imagination = Imagination(undecided().network, 0.6, np.random.default_rng(1))
    change = np.ones(ADVISED.config_features)
    assert (imagination.learn(search, change, left=5) == change).all()


def test_it_is_time_every_so_many_trials() -> None:
    imagination = Imagination(undecided().network, 0.6, np.random.default_rng(1), Dream(first=12, every=8))
    assert [trials for trials in range(40) if imagination.due(trials)] == [12, 20, 28, 36]


def test_without_models_there_is_nothing_to_imagine_by(tmp_path: Path) -> None:
    save_policy(undecided(SlateShape()), tmp_path / "plain.zip")
    with pytest.raises(TunerError, match="models no scores to imagine by; train a policy with --advised"):
        PolicyAgent(SPACE, Objective(), seed=0, variant=f"{tmp_path / 'plain.zip'},imagine")
