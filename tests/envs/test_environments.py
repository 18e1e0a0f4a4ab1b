from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import registry
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from tuner.envs import LogSpeedup, NeighbourEnv, Problem, SearchEnv, SlateEnv, TuningEnv, replay_env
from tuner.errors import StoreError, TunerError

IDS = sorted(name for name in registry if name.startswith("tuner/"))
# Their observations go beyond what images and normalised actions are, which is all that these warnings say.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Return a recorded space of 6 x 4 configs: the fastest, 1 ms, at A=4, B=2; those with B=3 fail."""
    cache = {
        f"{a},{b}": {"A": a, "B": b, "time": 1.0 + abs(a - 4) + abs(b - 2) if b < 3 else "RuntimeFailedConfig"}
        for a in range(6)
        for b in range(4)
    }
    data = {
        "device_name": "Test GPU",
        "kernel_name": "toy",
        "tune_params_keys": ["A", "B"],
        "tune_params": {"A": list(range(6)), "B": list(range(4))},
        "cache": cache,
    }
    path = tmp_path / "toy_gpu.json.gz"
    path.write_bytes(gzip.compress(json.dumps(data).encode()))
    return path


def test_all_are_registered() -> None:
    assert IDS == ["tuner/Engine-v0", "tuner/Neighbour-v0", "tuner/Replay-v0", "tuner/Slate-v0", "tuner/Tuning-v0"]


@pytest.mark.parametrize("name", IDS)
def test_every_id_makes_an_environment_that_passes_gymnasiums_check(name: str) -> None:
    check_env(gymnasium.make(name).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", IDS)
def test_every_id_makes_an_environment_that_passes_stable_baselines_check(name: str) -> None:
    check_env_for_sb3(gymnasium.make(name).unwrapped)


@pytest.mark.parametrize("actions", ["config", "neighbour", "slate"])
def test_a_recorded_file_is_an_environment_with_each_kind_of_actions(recorded: Path, actions: str) -> None:
    env = gymnasium.make("tuner/Replay-v0", path=str(recorded), actions=actions, budget=12).unwrapped
    check_env(env, skip_render_check=True)
    check_env_for_sb3(env)


def test_a_recorded_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot read"):
        replay_env(tmp_path / "none.json")


def test_unknown_actions_list_those_there_are() -> None:
    with pytest.raises(TunerError, match="'pair' are not known; choose one of config, neighbour, slate"):
        replay_env(actions="pair")


def start(env: SearchEnv[Any, Any]) -> SearchEnv[Any, Any]:
    env.reset(seed=0)
    return env


def test_the_reward_is_the_log_speedup_over_the_best_so_far(recorded: Path) -> None:
    env = start(replay_env(recorded, budget=10))
    # The default, A=0 and B=0, takes 7 ms.
    _, reward, _, _, info = env.step(np.array([2, 2]))
    assert reward == pytest.approx(np.log(7 / 3))
    assert info["score"] == pytest.approx(3e-3)
    _, reward, _, _, info = env.step(np.array([1, 1]))
    assert reward == 0
    assert info["best_score"] == pytest.approx(3e-3)
    _, reward, *_ = env.step(np.array([4, 2]))
    assert reward == pytest.approx(np.log(3 / 1))


def test_a_failure_is_penalised_and_told(recorded: Path) -> None:
    env = start(replay_env(recorded, budget=10, reward=LogSpeedup(failure=0.25)))
    seen, reward, _, _, info = env.step(np.array([0, 3]))
    assert reward == -0.25
    assert (info["status"], info["score"]) == ("runtime", None)
    assert seen["status"] == 3
    assert seen["progress"][5] == 1


def test_a_repeated_config_costs_nothing_and_is_told_apart(recorded: Path) -> None:
    env = start(replay_env(recorded, budget=3))
    env.step(np.array([1, 1]))
    seen, reward, ended, _, info = env.step(np.array([1, 1]))
    assert (info["repeated"], info["trials"], reward, ended) == (True, 1, 0, False)
    assert seen["progress"][6] == 1
    assert not env.step(np.array([2, 1]))[2]
    assert env.step(np.array([3, 1]))[2]


def test_repetitions_do_not_go_on_for_ever(recorded: Path) -> None:
    env = start(replay_env(recorded, budget=3))
    cuts = [env.step(np.array([0, 0]))[3] for _ in range(12)]
    assert cuts == [False] * 11 + [True]


def test_an_episode_ends_when_the_whole_space_was_tried(recorded: Path) -> None:
    env = start(replay_env(recorded, budget=100))
    ends = [env.step(np.array([a, b]))[2] for a in range(6) for b in range(4) if (a, b) != (0, 0)]
    assert ends == [False] * 22 + [True]


def test_another_episode_pays_for_what_is_known_already(recorded: Path) -> None:
    env = start(replay_env(recorded, budget=5))
    env.step(np.array([1, 1]))
    env.reset()
    _, _, _, _, info = env.step(np.array([1, 1]))
    assert (info["repeated"], info["trials"]) == (False, 1)


def test_an_action_that_is_not_valid_means_the_nearest_config_that_is() -> None:
    env = TuningEnv(Problem.random(seed=3), budget=5)
    space = env.problem.space
    generator = np.random.default_rng(0)
    invalid = next(a for a in (generator.integers(0, space.shape) for _ in range(1000)) if space.decode(a) not in space)
    start(env)
    *_, info = env.step(invalid)
    assert info["moved"]
    assert info["config"] == dict(space.nearest(invalid) or {})


def test_masks_close_values_that_no_config_has_left(recorded: Path) -> None:
    env = TuningEnv(replay_env(recorded).problem, budget=20)
    start(env)
    for b in range(4):
        env.step(np.array([5, b]))
    assert env.action_masks().tolist() == [True] * 5 + [False] + [True] * 4


def test_a_neighbour_differs_in_the_parameter_that_the_action_names(recorded: Path) -> None:
    env = NeighbourEnv(replay_env(recorded).problem, budget=20)
    start(env)
    assert env.action_masks().tolist() == [False, True, True, True, True, True, False, True, True, True]
    *_, info = env.step(4)
    assert info["config"] == {"A": 4, "B": 0}
    *_, info = env.step(8)
    assert info["config"] == {"A": 4, "B": 2}


def test_a_neighbour_that_is_not_valid_stays(recorded: Path) -> None:
    env = NeighbourEnv(Problem.random(seed=3), budget=20)
    start(env)
    closed = np.flatnonzero(~env.action_masks())
    infos = []
    for action in closed.tolist():
        env.reset()
        infos.append(env.step(action)[4])
    assert all(info["repeated"] and info["config"] == dict(env.problem.default) for info in infos)
    assert sum(info["moved"] for info in infos) == len(closed) - len(env.problem.space.names)


def test_a_slate_never_offers_what_was_tried(recorded: Path) -> None:
    env = SlateEnv(replay_env(recorded).problem, budget=23)
    start(env)
    ended, repeated = False, False
    generator = np.random.default_rng(0)
    while not ended:
        *_, ended, _, info = env.step(generator.choice(np.flatnonzero(env.action_masks())))
        repeated |= info["repeated"]
    assert not repeated
    assert len(env.tried) == 24


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(TunerError, match="a budget of 0 trials"):
        TuningEnv(budget=0)
    with pytest.raises(TunerError, match="leaves no step"):
        SlateEnv(budget=4)


def test_the_context_tells_workloads_and_devices_apart() -> None:
    one, other = Problem.random(seed=0), Problem.random(seed=0)
    assert (one.context == other.context).all()
    device = one.task.device
    from tuner.envs.problem import context_of
    from tuner.types import Workload

    assert (context_of(Workload(M=8), device) != context_of(Workload(M=64), device)).any()
    assert (context_of(Workload(M=8), device) == context_of(Workload(M=8), device)).all()
