from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tuner.agents import Agent, Source
from tuner.agents.encoding import Encoding
from tuner.agents.informant import Informant
from tuner.agents.network import weight_shapes
from tuner.agents.policy import PolicyAgent
from tuner.agents.policy_file import Policy, load_policy, save_policy
from tuner.agents.pool import Pool
from tuner.agents.prior import Prior
from tuner.agents.slate import ADVISED, INFORMED, SlateShape
from tuner.agents.slate_search import STOP, SlateSearch
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.search_spaces import Parameter, SearchSpace
from tuner.testing.agent import AgentContract
from tuner.types import Config, Device, Measurement, Status, Task, Trial, Workload

SPACE = SearchSpace([Parameter.integer(name, 0, 9) for name in "ABC"])


def log_of(row: tuple[int, ...], best: int = 7) -> float:
    return sum((index - best) ** 2 for index in row) / 40


def source_of(best: int, count: int = 150) -> Source:
    """Return what a device knows on which the best is (best, best, best)."""
    task = Task("mine.py:KERNEL", "1", Workload(), Device("cpu", f"best-{best}", "x86_64", 1, 0))
    rows = SPACE.draw(np.random.default_rng(best), count)
    return Source(
        task,
        tuple(
            Trial(SPACE.decode(row), Measurement(Status.CORRECT, {"seconds": (float(np.exp(log_of(row, best))),)}))
            for row in map(tuple, rows.tolist())
        ),
    )


def informant_of(*bests: int) -> Informant:
    return Informant(Prior(SPACE, Objective(), [source_of(best) for best in bests], np.random.default_rng(0)))


def search_of(informant: Informant | None, trials: int = 12, shape: SlateShape = INFORMED) -> SlateSearch:
    rng = np.random.default_rng(0)
    search = SlateSearch(SPACE, shape, Pool(SPACE, rng), rng, budget=40, size=SPACE.size, informant=informant)
    for row in search.untried.random(trials):
        search.tell(row, log_of(row))
    return search


def test_a_source_that_tells_nothing_of_the_task_loses_its_weight() -> None:
    informant = informant_of(7, 1)
    rows = list(map(tuple, SPACE.draw(np.random.default_rng(3), 40).tolist()))
    weights = informant.weights(informant(rows), np.array([log_of(row) for row in rows]))
    assert weights[0] > 0.7
    assert weights[1] < 0.2


def test_it_says_again_what_it_said() -> None:
    informant = informant_of(7)
    rows = [(1, 2, 3), (7, 7, 6)]
    assert (informant(rows) == informant(rows)).all()
    assert informant(rows)[0, 0] > informant(rows)[1, 0]


def test_a_search_begins_with_what_others_find_best() -> None:
    known, unknown = search_of(informant_of(7), trials=0), search_of(None, trials=0)
    first = known.first()
    assert first is not None
    assert log_of(first) < 0.2
    known.take(first)
    assert known.first() != first
    assert unknown.first() is not None


def nearest(tried: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = np.linalg.norm(columns[:, None] - tried, axis=2).min(axis=1)
    return distances


def test_slates_hold_what_others_find_best_and_a_restart_far_from_everything() -> None:
    shape = SlateShape(0, 0, 1, 2, 0, 0, 0, informed=3, prior=3, restart=1, stop=1)
    search = search_of(informant_of(7), shape=shape)
    slate = search.draw()
    groups = np.split(np.array(slate.rows, dtype=object), np.cumsum(shape.counts)[:-1])
    informed, prior, restart = groups[7], groups[8], groups[9]
    assert max(map(log_of, informed)) < 0.5
    assert max(map(log_of, prior)) < 0.5
    encoding = Encoding(SPACE)
    tried, every, there = (encoding(np.array(rows)) for rows in (search.told[0], SPACE.table, restart.tolist()))
    assert nearest(tried, there)[0] >= np.median(nearest(tried, every))
    assert slate.rows[-1] == STOP
    # Of the end of a search nothing is said but what it is.
    configs = slate.observation[shape.search_features :].reshape(shape.width, -1)
    names = [name for name, number in zip(shape.config_names, configs[-1], strict=True) if number]
    assert names == ["open", "from_stop"]


def test_slates_of_before_are_written_as_before() -> None:
    assert list(ADVISED.to_json()) == [
        "near_best",
        "near_elite",
        "random",
        "improvement",
        "likelihood",
        "mean",
        "bound",
    ]
    assert not {"from_stop", "prior"} & set(ADVISED.config_names)
    assert SlateShape.from_json(INFORMED.to_json()) == INFORMED
    with pytest.raises(TunerError, match="can only stop once"):
        SlateShape(stop=2)


def policy(**weights: float) -> Policy:
    arrays = {name: np.zeros(size, dtype=np.float32) for name, size in weight_shapes(INFORMED, 1).items()}
    for name, weight in weights.items():
        arrays["skip.weight"][0, INFORMED.config_names.index(name)] = weight
    return Policy("ppo", INFORMED, arrays, 40)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.zip"
    save_policy(policy(from_stop=-1000, informed_improvement=3), path)
    return path


class TestInformed(AgentContract):
    @pytest.fixture(autouse=True)
    def _file(self, file: Path) -> None:
        self.variant = str(file)

    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        known = [
            Trial(config, Measurement(Status.CORRECT, {"seconds": (1.0 + i,)}))
            for i, config in enumerate(space.sample(np.random.default_rng(0), 8))
        ]
        task = Task("mine.py:KERNEL", "1", Workload(), Device("cpu", "other", "x86_64", 1, 0))
        return PolicyAgent(space, objective, seed=seed, variant=self.variant, sources=[Source(task, tuple(known))])


def told(agent: Agent, trials: int) -> list[Config]:
    configs: list[Config] = []
    while len(configs) < trials and (asked := agent.ask(1)):
        configs += asked
        seconds = float(np.exp(log_of(tuple(SPACE.encode(asked[0]).tolist()))))
        agent.tell([Trial(asked[0], Measurement(Status.CORRECT, {"seconds": (seconds,)}))])
    return configs


def test_what_others_know_is_found_at_once(file: Path) -> None:
    bests = [
        np.mean(
            [
                min(
                    log_of(tuple(SPACE.encode(config).tolist()))
                    for config in told(
                        PolicyAgent(SPACE, Objective(), seed=seed, variant=str(file), sources=sources), 3
                    )
                )
                for seed in range(6)
            ]
        )
        for sources in ([source_of(7)], [])
    ]
    assert bests[0] < 0.1 < bests[1]


def test_a_policy_that_wants_to_stop_does_so_for_good(tmp_path: Path) -> None:
    save_policy(policy(from_stop=1000), tmp_path / "stop.zip")
    for words in ("", ",imagine"):
        agent = PolicyAgent(SPACE, Objective(), seed=0, variant=f"{tmp_path / 'stop.zip'}{words}")
        assert len(told(agent, 40)) == 8
        assert agent.ask(4) == []


def test_only_policies_that_were_trained_with_sources_ask_for_them(file: Path, tmp_path: Path) -> None:
    weights = {name: np.zeros(size, dtype=np.float32) for name, size in weight_shapes(ADVISED, 1).items()}
    save_policy(Policy("ppo", ADVISED, weights, 40), tmp_path / "alone.zip")
    assert PolicyAgent.asks_sources(f"{file},greedy")
    assert not PolicyAgent.asks_sources(str(tmp_path / "alone.zip"))
    assert load_policy(file).shape == INFORMED
