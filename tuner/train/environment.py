"""From what is to be trained on to an environment."""

from __future__ import annotations

from typing import Any

import numpy as np

from tuner.db.kernel_tuner import read_cache_file
from tuner.envs import (
    AdvisedVectorEnv,
    Landscape,
    LogSpeedup,
    Problem,
    Reward,
    RunnerVectorEnv,
    ShareOfOptimum,
    SlateEnv,
    SlateVectorEnv,
)
from tuner.runners import Runner
from tuner.train.training import Algorithm, Training

__all__ = ["default_reward", "live_environment", "recorded_environment"]


def recorded_environment(
    training: Training, reward: Reward, searches: int
) -> tuple[SlateVectorEnv | AdvisedVectorEnv, list[dict[str, Any]]]:
    """Return an environment over the training's recorded and random spaces, and what identifies these.

    Raises:
        StoreError: a recorded space cannot be read.
    """
    landscapes = [Landscape.of(read_cache_file(path)) for path in training.recorded]
    generator = np.random.default_rng(training.seed)
    landscapes += [Landscape.random(generator, f"random-{i}") for i in range(training.random)]
    seen = [{"name": one.name, "kernel": one.kernel, "device": one.device, "digest": one.digest} for one in landscapes]
    kind = AdvisedVectorEnv if training.shape.advised else SlateVectorEnv
    count = training.searches or searches
    return kind(landscapes, count, shape=training.shape, budget=training.budget, reward=reward), seen


def default_reward(training: Training) -> Reward:
    """Return the share of the optimum, where it is known and models advise or exact gradients are asked for.

    Elsewhere it is the speed-up over the best, in standard deviations of the search.
    """
    known = not training.tasks and (training.shape.advised or training.algorithm is Algorithm.EXACT)
    return ShareOfOptimum() if known else LogSpeedup(relative=True)


def live_environment(
    training: Training, reward: Reward, runner: Runner
) -> tuple[RunnerVectorEnv, list[dict[str, Any]]]:
    """Return an environment over the training's tasks, and what identifies these; each trial is measured.

    Raises:
        TunableError: a task's kernel cannot be loaded.
    """
    problems = [Problem.of_task(task, runner, seed=training.seed) for task in training.tasks]
    count = max(training.searches or runner.capacity, len(problems))
    envs = [
        SlateEnv(problems[i % len(problems)], budget=training.budget[1], reward=reward, shape=training.shape)
        for i in range(count)
    ]
    return RunnerVectorEnv(envs), [{"task": problem.task.key, "tunable": problem.task.tunable} for problem in problems]
