from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuner.agents import Agent, create_agent
from tuner.agents.network import ScoringNetwork, weight_shapes
from tuner.agents.policy import PolicyAgent
from tuner.agents.policy_file import Policy, load_policy, save_policy
from tuner.agents.random import RandomAgent
from tuner.agents.slate import ADVISED, SlateShape
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.search_spaces import Parameter, SearchSpace
from tuner.testing.agent import AgentContract
from tuner.types import Config, Measurement, Status, Trial

SHAPE = SlateShape(3, 2, 2)


def policy(seed: int = 0, shape: SlateShape = SHAPE) -> Policy:
    generator = np.random.default_rng(seed)
    weights = {name: generator.normal(size=size).astype(np.float32) for name, size in weight_shapes(shape, 8).items()}
    return Policy("ppo", shape, weights, 50, {"steps": 0}, {"python": "3"})


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.zip"
    save_policy(policy(), path)
    return path


class TestFrozen(AgentContract):
    @pytest.fixture(autouse=True)
    def _file(self, file: Path) -> None:
        self.variant = str(file)

    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        return PolicyAgent(space, objective, seed=seed, variant=self.variant)


class TestGreedy(TestFrozen):
    @pytest.fixture(autouse=True)
    def _file(self, file: Path) -> None:
        self.variant = f"{file},greedy"


class TestAdapting(TestFrozen):
    @pytest.fixture(autouse=True)
    def _file(self, file: Path) -> None:
        self.variant = f"{file},adapt"


SPACE = SearchSpace([Parameter.integer(name, 0, 9) for name in "ABC"])


def trial(config: Config, number: int) -> Trial:
    seconds = 1.0 + sum((value - 7) ** 2 for value in config.values() if isinstance(value, int))
    return Trial(config, Measurement(Status.CORRECT, {"seconds": (seconds,)}), number=number)


def best_of(agent: Agent, trials: int = 40) -> float:
    best = np.inf
    for number in range(trials):
        [config] = agent.ask(1)
        done = trial(config, number)
        agent.tell([done])
        best = min(best, Objective().score(done))
    return best


def greedy() -> Policy:
    """Return a policy that likes what is near the best, and values that were good."""
    weights = {name: np.zeros(size, dtype=np.float32) for name, size in weight_shapes(SHAPE, 8).items()}
    weights["skip.weight"][0, 1] = 1
    weights["skip.weight"][0, 4] = -2
    return Policy("dqn", SHAPE, weights, 50)


def test_weights_decide_what_is_proposed(tmp_path: Path) -> None:
    save_policy(greedy(), tmp_path / "good.zip")
    bad = {name: -weight for name, weight in greedy().weights.items()}
    save_policy(Policy("dqn", SHAPE, bad, 50), tmp_path / "bad.zip")
    medians = [
        np.median(
            [best_of(create_agent(f"policy:{tmp_path / name}", SPACE, Objective(), seed=seed)) for seed in range(9)]
        )
        for name in ("good.zip", "bad.zip")
    ]
    assert medians[0] < medians[1]


def test_adapting_changes_what_is_proposed(tmp_path: Path) -> None:
    file = tmp_path / "undecided.zip"
    save_policy(Policy("dqn", SHAPE, {name: weight * 0 for name, weight in greedy().weights.items()}, 50), file)

    def asked(variant: str) -> list[Config]:
        agent = PolicyAgent(SPACE, Objective(), seed=0, variant=variant)
        configs = []
        for number in range(30):
            configs += agent.ask(1)
            agent.tell([trial(configs[-1], number)])
        return configs

    assert asked(str(file)) != asked(f"{file},adapt")
    assert asked(str(file)) == asked(str(file))


def test_a_config_of_another_space_is_no_news(file: Path) -> None:
    agent = PolicyAgent(SPACE, Objective(), seed=0, variant=str(file))
    agent.tell([Trial(Config(A=1, B=2, C=99), Measurement(Status.CORRECT, {"seconds": (1.0,)}))])
    assert len(agent.ask(6)) == 6


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    first = policy(3)
    save_policy(first, tmp_path / "a.zip")
    save_policy(first, tmp_path / "b.zip")
    again = load_policy(tmp_path / "a.zip")
    assert again.fingerprint == first.fingerprint != policy(4).fingerprint
    assert again.to_json() == first.to_json()
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    observations = np.random.default_rng(0).normal(size=(4, SHAPE.length)).astype(np.float32)
    assert (again.network.scores(observations) == first.network.scores(observations)).all()


def rewritten(path: Path, out: Path, change: dict[str, Any] | None = None, weights: bytes | None = None) -> Path:
    with zipfile.ZipFile(path) as archive:
        metadata = json.loads(archive.read("policy.json"))
        arrays = weights or archive.read("weights.npz")
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("policy.json", json.dumps({**metadata, **(change or {})}))
        archive.writestr("weights.npz", arrays)
    return out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "sb3"}, "says something else"),
        ({"version": 9}, "is of version 9"),
        ({"observation": 0}, "observations 0; this tuner reads"),
        ({"budget": 60, "training": {"steps": 5}}, "was changed after it was written"),
        ({"slate": {"random": 0}}, "is no slate"),
        ({"slate": {"near_best": 3, "near_elite": 2, "random": 3, "x": 1}}, "is no slate"),
        ({"budget": "many"}, "not a policy that tuner train wrote"),
    ],
)
def test_a_file_that_was_changed_is_refused(file: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(TunerError, match=message):
        load_policy(rewritten(file, tmp_path / "changed.zip", change))


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("trapped"),))


def test_pickled_weights_are_not_unpickled(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = io.BytesIO()
    np.savez(arrays, trap=np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(TunerError, match="not a policy"):
        load_policy(rewritten(file, tmp_path / "trap.zip", weights=arrays.getvalue()))
    with pytest.raises(TunerError, match="not a policy"):
        load_policy(rewritten(file, tmp_path / "pickle.zip", weights=pickle.dumps(Trap())))
    assert not Path("trapped").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"{}"])
def test_what_is_no_policy_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(TunerError, match="not a policy that tuner train wrote"):
        create_agent(f"policy:{tmp_path / 'bad.zip'}", SPACE, Objective(), seed=0)


def test_bad_variants() -> None:
    with pytest.raises(TunerError, match=r"needs a variant; write it behind the colon: FILE\[,adapt\]\[,greedy\]"):
        create_agent("policy", SPACE, Objective(), seed=0)
    with pytest.raises(TunerError, match=r"there is no policy none\.zip; train one with"):
        create_agent("policy:none.zip", SPACE, Objective(), seed=0)
    with pytest.raises(TunerError, match=r"asks for 'learn'; write policy:FILE\[,adapt\]"):
        create_agent("policy:none.zip,learn", SPACE, Objective(), seed=0)


def test_weights_that_do_not_fit_are_refused() -> None:
    weights = dict(policy().weights)
    with pytest.raises(TunerError, match=r"'config\.weight' is of shape"):
        ScoringNetwork(SHAPE, {**weights, "config.weight": weights["config.weight"][:, 1:]})
    with pytest.raises(TunerError, match=r"'score\.weight' is missing"):
        ScoringNetwork(SHAPE, {name: weight for name, weight in weights.items() if name != "score.weight"})
    with pytest.raises(TunerError, match="not finite"):
        ScoringNetwork(SHAPE, {**weights, "config.bias": weights["config.bias"] * np.nan})


def test_the_order_of_a_slate_plays_no_part() -> None:
    generator = np.random.default_rng(0)
    seen = generator.normal(size=(1, SHAPE.length)).astype(np.float32)
    configs = seen[:, SHAPE.search_features :].reshape(SHAPE.width, SHAPE.config_features)
    configs[:, 0] = [1, 1, 0, 1, 1, 1, 0]
    order = generator.permutation(SHAPE.width)
    moved = np.concatenate([seen[:, : SHAPE.search_features], configs[order].reshape(1, -1)], axis=1)
    network = policy().network
    np.testing.assert_allclose(network.scores(seen)[0][order], network.scores(moved)[0], rtol=1e-5)
    assert (network.scores(seen)[0] < -1e8).tolist() == [False, False, True, False, False, False, True]


class TestAdvised(TestFrozen):
    """What models of the scores advise."""

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.variant = str(tmp_path / "advised.zip")
        save_policy(policy(shape=SlateShape(2, 1, 1, 3, 2, 1, 1)), Path(self.variant))


def test_taking_the_greatest_expected_improvement_is_a_good_search(tmp_path: Path) -> None:
    weights = {name: np.zeros(size, dtype=np.float32) for name, size in weight_shapes(ADVISED, 1).items()}
    weights["skip.weight"][0, ADVISED.config_names.index("improvement")] = 1
    save_policy(Policy("dqn", ADVISED, weights, 50), tmp_path / "improvement.zip")
    file = str(tmp_path / "improvement.zip")
    advised = [best_of(PolicyAgent(SPACE, Objective(), seed=seed, variant=file)) for seed in range(3)]
    assert np.median(advised) < np.median([best_of(RandomAgent(SPACE, Objective(), seed=seed)) for seed in range(9)])
