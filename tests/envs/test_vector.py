from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from tuner.devices import detect
from tuner.envs import NeighbourEnv, Problem, RunnerVectorEnv, SlateEnv, TuningEnv
from tuner.errors import TunerError
from tuner.runners import LocalRunner, ReplayRunner
from tuner.tunable import load, make_task
from tuner.types import Config, Measurement, Sampling, Status, Task

TOY = "tuner.testing.toys:FRAGILE"


@pytest.fixture(scope="module")
def task() -> Task:
    tunable = load(TOY)
    return make_task(TOY, tunable, tunable.workload({"N": 3}), detect("cpu"))


def test_a_batch_is_measured_by_a_real_runner(task: Task) -> None:
    runner = LocalRunner(builders=2)
    try:
        problem = Problem.of_task(task, runner)
        env = RunnerVectorEnv([TuningEnv(problem, budget=4) for _ in range(3)])
        seen, _ = env.reset(seed=0)
        assert seen["config"].shape == (3, 2)
        # X = 3 is the fastest; the second fails to compile, and the third is the first's.
        seen, rewards, ended, _, infos = env.step(np.array([[3, 0], [1, 1], [3, 0]]))
        assert rewards.tolist() == pytest.approx([np.log(10), -0.05, np.log(10)])
        assert infos["status"].tolist() == ["correct", "compile", "correct"]
        assert infos["trials"].tolist() == [1, 1, 1]
        assert not ended.any()
        assert seen["status"].tolist() == [0, 2, 0]
    finally:
        runner.close()


class Batches(ReplayRunner):
    """Answers when as many are in flight as a batch has: whoever submits one after another would wait for ever."""

    def __init__(self, size: int) -> None:
        super().__init__({})
        self._size = size
        self._waiting: list[tuple[Config, Future[Measurement]]] = []
        self._lock = threading.Lock()
        self.largest = 0

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        future: Future[Measurement] = Future()
        with self._lock:
            self._waiting.append((config, future))
            self.largest = max(self.largest, len(self._waiting))
            ready = self._waiting if len(self._waiting) >= self._size or config["X"] == 0 else []
            if ready:
                self._waiting = []
        for waiting, promise in ready:
            promise.set_result(Measurement(Status.CORRECT, {"seconds": (1.0 + waiting.integer("X"),)}))
        return future


def test_all_configs_of_a_step_are_in_flight_together(task: Task) -> None:
    runner = Batches(4)
    problem = Problem.of_task(task, runner)
    env = RunnerVectorEnv([TuningEnv(problem, budget=4) for _ in range(4)])
    env.reset(seed=0)
    env.step(np.array([[x, 0] for x in (1, 2, 3, 4)]))
    assert runner.largest == 4


def test_an_ended_episode_begins_anew_in_the_same_step() -> None:
    env = RunnerVectorEnv([SlateEnv(budget=6) for _ in range(2)])
    env.reset(seed=0)
    env.step(np.array([0, 0]))
    seen, _, ended, _, infos = env.step(np.array([0, 0]))
    assert ended.all()
    assert infos["trials"].tolist() == [4, 4]
    assert infos["final_info"]["trials"].tolist() == [6, 6]
    assert infos["final_obs"][0].shape == seen[0].shape
    assert env.action_masks().shape == (2, 16)


@pytest.mark.parametrize(
    ("envs", "message"),
    [
        (list[Any](), "no environment"),
        ([TuningEnv(), NeighbourEnv()], "NeighbourEnv of .* has other observations or actions than TuningEnv"),
    ],
)
def test_environments_that_do_not_go_together_are_refused(envs: list[Any], message: str) -> None:
    with pytest.raises(TunerError, match=message):
        RunnerVectorEnv(envs)
