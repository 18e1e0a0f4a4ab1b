from __future__ import annotations

import numpy as np
import pytest

from tuner.agents.slate import ADVISED, SlateShape
from tuner.envs import AdvisedVectorEnv, Landscape, LogSpeedup, ShareOfOptimum, SlateVectorEnv
from tuner.errors import TunerError

LANDSCAPES = [Landscape.random(np.random.default_rng(seed), f"random-{seed}") for seed in range(3)]
SMALL = SlateShape(2, 1, 2, 3, 2, 1, 1)


@pytest.mark.parametrize("shape", [SMALL, SlateShape()])
def test_rewards_of_all_actions_are_what_each_of_them_gives(shape: SlateShape) -> None:
    kind = AdvisedVectorEnv if shape.advised else SlateVectorEnv
    for reward in (LogSpeedup(failure=0.3, relative=False), ShareOfOptimum()):
        env = kind(LANDSCAPES, 4, shape=shape, budget=30, reward=reward)
        env.reset(seed=0)
        generator = np.random.default_rng(1)
        for _ in range(8):
            promised = env.all_rewards()
            actions = (generator.random(env.open.shape) * env.open).argmax(axis=1)
            _, rewards, *_ = env.step(actions)
            assert rewards == pytest.approx(promised[np.arange(4), actions], abs=1e-6)


def test_episodes_end_begin_anew_and_lie_in_the_space() -> None:
    env = AdvisedVectorEnv(LANDSCAPES, 3, shape=SMALL, budget=(8, 10))
    seen, _ = env.reset(seed=3)
    ends = 0
    for _ in range(14):
        assert env.observation_space.contains(seen)
        seen, _, ended, cut, info = env.step(np.zeros(3, dtype=np.int64))
        ends += int(ended.sum())
        assert not cut.any()
        assert not ended.any() or all(info["final_obs"][i].shape == seen[i].shape for i in np.flatnonzero(ended))
    assert ends >= 3 * 2


def test_the_same_seed_does_the_same() -> None:
    runs = []
    for _ in range(2):
        env = AdvisedVectorEnv(LANDSCAPES, 2, shape=SMALL, budget=20)
        env.reset(seed=9)
        runs.append(np.stack([env.step(np.array([1, 2]))[0] for _ in range(6)]))
    assert (runs[0] == runs[1]).all()


def test_a_small_space_is_emptied() -> None:
    whole = LANDSCAPES[0]
    keep = np.arange(25)
    small = Landscape.made("small", "k", "d", whole.space.parameters, whole.rows[keep], np.exp(whole.logs[keep]))
    env = AdvisedVectorEnv([small], 1, shape=SMALL, budget=100)
    env.reset(seed=0)
    ends = [bool(env.step(np.zeros(1, dtype=np.int64))[2][0]) for _ in range(25 - 4)]
    assert ends == [False] * 20 + [True]


def test_advice_is_asked_for_where_it_is_given() -> None:
    with pytest.raises(TunerError, match="asks for advice, which AdvisedVectorEnv gives"):
        SlateVectorEnv(LANDSCAPES, 1, shape=ADVISED)
