from __future__ import annotations

import numpy as np
import pytest

from tuner.agents.slate import SlateShape
from tuner.envs import Landscape, LogSpeedup, ShareOfOptimum, SlateVectorEnv
from tuner.errors import TunerError

LANDSCAPES = [Landscape.random(np.random.default_rng(seed), f"random-{seed}") for seed in range(4)]


def choose(env: SlateVectorEnv, generator: np.random.Generator) -> np.ndarray:
    chosen: np.ndarray = (generator.random(env.open.shape) * env.open).argmax(axis=1)
    return chosen


def test_no_config_is_tried_twice_and_rewards_add_up() -> None:
    env = SlateVectorEnv(LANDSCAPES, 8, budget=40, reward=LogSpeedup(failure=0))
    env.reset(seed=1)
    first = env.histories.best.copy()
    generator = np.random.default_rng(0)
    total = np.zeros(8)
    for step in range(36):
        tried = env._slate[np.arange(8), actions := choose(env, generator)]
        assert not env._seen[np.arange(8), tried].any()
        _, rewards, ended, cut, info = env.step(actions)
        total += rewards
        assert ended.all() == (step == 35)
        assert not cut.any()
    optima = np.array([np.nanmin(one.logs) for one in LANDSCAPES])[info["space"]]
    known = np.isfinite(first)
    assert np.exp(optima - (first - total))[known] == pytest.approx(info["optimum_share"][known])


def test_an_ended_episode_begins_anew_in_the_same_step() -> None:
    env = SlateVectorEnv(LANDSCAPES, 3, budget=6)
    env.reset(seed=0)
    generator = np.random.default_rng(0)
    env.step(choose(env, generator))
    seen, _, ended, _, info = env.step(choose(env, generator))
    assert ended.all()
    assert (env.histories.trials == 4).all()
    for last, now in zip(info["final_obs"], seen, strict=True):
        assert last.shape == now.shape
        assert (last != now).any()


def test_a_small_space_is_emptied() -> None:
    whole = LANDSCAPES[0]
    keep = np.arange(30)
    small = Landscape.made("small", "k", "d", whole.space.parameters, whole.rows[keep], np.exp(whole.logs[keep]))
    env = SlateVectorEnv([small], 2, budget=100)
    env.reset(seed=0)
    generator = np.random.default_rng(0)
    steps = 0
    while not (ended := env.step(choose(env, generator))[2]).any():
        steps += 1
    assert ended.all()
    assert steps == 30 - 4 - 1


def test_the_same_seed_does_the_same() -> None:
    runs = []
    for _ in range(2):
        env = SlateVectorEnv(LANDSCAPES, 5, budget=(8, 20))
        env.reset(seed=7)
        generator = np.random.default_rng(3)
        runs.append([env.step(choose(env, generator))[:2] for _ in range(30)])
    for (seen, rewards), (seen_again, rewards_again) in zip(*runs, strict=True):
        assert (seen == seen_again).all()
        assert (rewards == rewards_again).all()


def test_observations_lie_in_their_space() -> None:
    env = SlateVectorEnv(LANDSCAPES, 16, budget=50, shape=SlateShape(3, 0, 2))
    seen, _ = env.reset(seed=0)
    generator = np.random.default_rng(0)
    for _ in range(60):
        assert env.observation_space.contains(seen)
        seen, *_ = env.step(choose(env, generator))


def test_an_action_that_is_closed_chooses_one_that_is_open() -> None:
    env = SlateVectorEnv(LANDSCAPES, 4, budget=30)
    env.reset(seed=0)
    for _ in range(40):
        *_, info = env.step((~env.open).argmax(axis=1))
    assert (info["optimum_share"] > 0).all()


def test_the_share_of_the_optimum_is_what_it_says() -> None:
    env = SlateVectorEnv(LANDSCAPES, 6, budget=20, reward=ShareOfOptimum(early=0, scale=1))
    env.reset(seed=2)
    before = np.exp(np.array([np.nanmin(one.logs) for one in LANDSCAPES])[env._space] - env.histories.best)
    generator = np.random.default_rng(0)
    total = np.zeros(6)
    for _ in range(16):
        _, rewards, _, _, info = env.step(choose(env, generator))
        total += rewards
    assert before + total == pytest.approx(info["optimum_share"])


def test_bad_requests() -> None:
    with pytest.raises(TunerError, match="no space to step through"):
        SlateVectorEnv([], 1)
    with pytest.raises(TunerError, match="leaves no step"):
        SlateVectorEnv(LANDSCAPES, 1, budget=4)


def test_neighbours_are_those_of_the_search_space() -> None:
    landscape = LANDSCAPES[2]
    space = landscape.recorded().space
    for place in (0, 17, len(landscape) - 1):
        near = {space.decode(landscape.rows[i]) for i in landscape.neighbours[place] if i >= 0}
        assert near == set(space.neighbours(space.decode(landscape.rows[place])))


def test_a_relative_shares_what_it_is_told_to() -> None:
    landscape, rng = LANDSCAPES[0], np.random.default_rng(0)
    works = np.isfinite(landscape.logs)
    shared = [
        float(np.corrcoef(landscape.logs[works], landscape.relative(rng, share).logs[works])[0][1])
        for share in (0.0, 0.3, 1.0)
    ]
    assert shared[0] > 0.999
    assert shared[0] > shared[1] > shared[2]
    source = landscape.relative(rng, 0.3).source(rng, 50)
    assert len(source.trials) == 50
    assert all(landscape.space.contains(trial.config) for trial in source.trials)
    assert source.task.device.name != landscape.device
