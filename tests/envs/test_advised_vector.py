from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tuner.agents.informant import Informant
from tuner.agents.prior import Prior
from tuner.agents.slate import ADVISED, INFORMED, SlateShape
from tuner.envs import AdvisedVectorEnv, Landscape, LogSpeedup, Priced, ShareOfOptimum, SlateVectorEnv
from tuner.errors import TunerError
from tuner.objective import Objective

LANDSCAPES = [Landscape.random(np.random.default_rng(seed), f"random-{seed}") for seed in range(3)]
SMALL = SlateShape(2, 1, 2, 3, 2, 1, 1)


@pytest.mark.parametrize("shape", [SMALL, SlateShape(), INFORMED])
def test_rewards_of_all_actions_are_what_each_of_them_gives(shape: SlateShape) -> None:
    kind = AdvisedVectorEnv if shape.advised else SlateVectorEnv
    for reward in (LogSpeedup(failure=0.3, relative=False), Priced(ShareOfOptimum(), 0.1)):
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


def trials_of(env: AdvisedVectorEnv) -> NDArray[np.float64]:
    """Return how many trials each search has made, from what is seen of it: log2(trials) / 8."""
    return np.round(2 ** (8 * env._seen()[:, 1])).astype(float)


def test_an_action_ends_the_search_and_is_free() -> None:
    env = AdvisedVectorEnv(LANDSCAPES, 2, shape=INFORMED, budget=30, reward=Priced(ShareOfOptimum(early=0), 0.5))
    env.reset(seed=0)
    stop = INFORMED.width - 1
    # Not before a search has seen something.
    assert not env.open[:, stop].any()
    for _ in range(6):
        env.step(np.zeros(2, dtype=np.int64))
    assert env.open[:, stop].all()
    before = trials_of(env)
    _, rewards, ended, *_ = env.step(np.array([stop, 0]))
    assert before.tolist() == [10, 10]
    assert ended.tolist() == [True, False]
    assert rewards[0] == 0
    assert trials_of(env).tolist() == [4, 11]


def test_what_others_say_is_on_the_slate_where_there_are_others() -> None:
    landscape = LANDSCAPES[0]
    rng = np.random.default_rng(0)
    source = landscape.relative(rng, 0.0).source(rng, 150)
    informant = Informant(Prior(landscape.recorded().space, Objective(), [source], rng))
    roles = [INFORMED.config_names.index(f"from_{name}") for name in ("prior", "informed")]
    first = INFORMED.config_names.index("prior_rank")
    for informants, told in (([[informant]], True), ([], False)):
        env = AdvisedVectorEnv([landscape], 24, shape=INFORMED, budget=30, informants=informants)
        seen, _ = env.reset(seed=1)
        configs = seen[:, INFORMED.search_features :].reshape(24, INFORMED.width, -1)
        by_others = configs[:, :, roles].sum(axis=(1, 2))
        # Some episodes are told nothing, so that a policy knows both.
        assert (by_others > 0).any() == told
        assert (by_others == 0).any()
        assert bool(configs[:, :, first].any()) == told
