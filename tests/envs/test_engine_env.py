from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from tuner.engines import EngineError, LiveEngine
from tuner.envs import EngineEnv, ServedEngine
from tuner.envs.engine_env import SHOWN, FormulaEngine
from tuner.errors import TunerError
from tuner.objective import Direction, Limit, Objective
from tuner.search_spaces import Parameter, SearchSpace
from tuner.testing.engine import FAULTY, TOY
from tuner.types import Config, Device, Workload

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
DEVICE = Device("cpu", "a processor", "x86_64", 1, 0)
RATE = Objective("request_per_second", Direction.MAXIMIZE)


class StubEngine:
    """A = 1 doubles the rate and needs a restart of five seconds; A = 2 does not start, A = 3 fails while it serves."""

    def __init__(self) -> None:
        self.space = SearchSpace([Parameter.integer("A", 0, 3)])
        self.default = Config(A=0)
        self.seeds: list[int] = []
        self._now: Config | None = None

    def apply(self, config: Config) -> float:
        if config["A"] == 2:
            raise EngineError("no room for the cache")
        before, self._now = self._now, config
        return 5.0 if before is not None and before != config else 0.0

    def measure(self, seed: int) -> Mapping[str, tuple[float, ...]]:
        assert self._now is not None
        self.seeds.append(seed)
        if self._now["A"] == 3:
            raise EngineError("it ended: out of memory")
        rate = 2.0 if self._now["A"] == 1 else 1.0
        return {"goodput_per_second": (rate,), "ttft_seconds": (math.e - 1, math.e - 1)}


def test_a_restart_is_paid_for_and_a_better_config_earns_it_back() -> None:
    env = EngineEnv(StubEngine(), windows=3, window_seconds=10.0, restart_weight=1.0)
    seen, _ = env.reset(seed=0)
    assert seen["shown"][SHOWN.index("ttft_seconds")] == pytest.approx(1.0)
    seen, reward, ended, _, info = env.step(np.array([1]))
    assert reward == pytest.approx(math.log(2) - 0.5)
    assert (info["apply_seconds"], info["restarts"], info["value"], ended) == (5.0, 1, 2.0, False)
    assert seen["progress"].tolist() == pytest.approx([math.log(2), math.log(2), 2 / 3, 0.5, 0.5, 0.0])
    seen, reward, ended, _, _ = env.step(np.array([1]))
    assert reward == pytest.approx(math.log(2))
    assert seen["progress"][3:5].tolist() == [0.0, 0.5]
    *_, ended, cut, _ = env.step(np.array([0]))
    assert (ended, cut) == (True, False)


@pytest.mark.parametrize(("action", "error"), [(2, "no room for the cache"), (3, "it ended: out of memory")])
def test_a_config_that_fails_costs_and_does_not_end_the_episode(action: int, error: str) -> None:
    env = EngineEnv(StubEngine(), failure=2.0, restart_weight=0.0)
    env.reset(seed=0)
    seen, reward, ended, _, info = env.step(np.array([action]))
    assert (reward, info["error"], info["value"], ended) == (-2.0, error, None, False)
    assert seen["progress"][5] == 1.0
    assert not seen["shown"].any()
    assert env.step(np.array([1]))[1] == pytest.approx(math.log(2))


def test_a_window_that_breaks_a_limit_is_worth_as_little_as_a_failure() -> None:
    limited = Objective("goodput_per_second", Direction.MAXIMIZE, (Limit("goodput_per_second", 1.5),))
    env = EngineEnv(StubEngine(), objective=limited, restart_weight=0.0)
    env.reset(seed=0)
    assert env.step(np.array([1]))[1] == -1.0


def test_traffic_is_drawn_by_the_seed() -> None:
    drawn = []
    for seed in (1, 1, 2):
        engine = StubEngine()
        env = EngineEnv(engine)
        env.reset(seed=seed)
        env.step(np.array([0]))
        drawn.append(engine.seeds)
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(TunerError, match="windows=0 of an episode are none"):
        EngineEnv(windows=0)
    with pytest.raises(TunerError, match=r"window_seconds=0\.0 has to be positive"):
        EngineEnv(window_seconds=0.0)
    with pytest.raises(TunerError, match="give one objective"):
        EngineEnv(objective=Objective(beside=(Objective("joules"),)))
    with pytest.raises(TunerError, match="the engine's default serves nothing"):
        EngineEnv(StubEngine(), objective=Objective("goodput_per_second", limits=(Limit("ttft_seconds", 0.1),))).reset(
            seed=0
        )


def test_an_engine_tunable_is_an_environment() -> None:
    engine: ServedEngine = LiveEngine(TOY, Workload(N=3), DEVICE)
    # What a restart costs is measured, and never twice the same.
    env = EngineEnv(engine, objective=RATE, windows=8, restart_weight=0.0)
    check_env(env, skip_render_check=True)
    check_env_for_sb3(env)
    env.reset(seed=0)
    best = engine.space.encode(Config(BATCH=3, THREADS=1, FAULT="none"))
    _, reward, *_, info = env.step(best)
    # BATCH changes while it runs: ten times as fast, and nobody waited.
    assert reward == pytest.approx(math.log(10))
    assert info["apply_seconds"] == 0.0
    *_, info = env.step(engine.space.encode(Config(BATCH=3, THREADS=2, FAULT="none")))
    assert info["apply_seconds"] > 0


def test_an_engine_that_fails_starts_again() -> None:
    engine = LiveEngine(FAULTY, Workload(N=3), DEVICE)
    try:
        env = EngineEnv(engine, objective=RATE, restart_weight=0.0)
        env.reset(seed=0)
        for fault in ("start", "late", "serve"):
            *_, info = env.step(engine.space.encode(Config(BATCH=0, THREADS=1, FAULT=fault)))
            assert info["error"]
        _, reward, *_ = env.step(engine.space.encode(engine.default))
        assert reward == pytest.approx(0.0)
    finally:
        engine.close()


def test_the_formula_rewards_a_change_at_run_time() -> None:
    env = EngineEnv(FormulaEngine(), windows=10)
    env.reset(seed=0)
    rewards = [env.step(env.engine.space.encode(Config(BATCH=8, THREADS=1)))[1] for _ in range(5)]
    assert min(rewards) > 0
