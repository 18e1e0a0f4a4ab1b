"""From what is to be trained on to an environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tuner.agents.informant import Informant
from tuner.agents.prior import Prior
from tuner.db.kernel_tuner import read_cache_file
from tuner.envs import (
    AdvisedVectorEnv,
    Landscape,
    LogSpeedup,
    Priced,
    Problem,
    Reward,
    RunnerVectorEnv,
    ShareOfOptimum,
    SlateEnv,
    SlateVectorEnv,
)
from tuner.objective import Objective
from tuner.runners import Runner
from tuner.train.training import Algorithm, Training

__all__ = ["default_reward", "live_environment", "recorded_environment"]

# Draws of what other tasks say of a space, each of other records.
_VARIANTS = 2
# How many relatives a random space has, what they share with another space at most, and how often all.
_MOST_RELATIVES, _MOST_SHARE, _MISLEADING = 4, 0.6, 0.15
# In the unit of `ShareOfOptimum`, a tenth of the optimum.
_PRICE = 0.005


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
    count = training.searches or searches
    if not training.shape.advised:
        return SlateVectorEnv(landscapes, count, shape=training.shape, budget=training.budget, reward=reward), seen
    informants = [_informants(i, landscapes, training) for i in range(len(landscapes))]
    return AdvisedVectorEnv(
        landscapes, count, shape=training.shape, budget=training.budget, reward=reward, informants=informants
    ), seen


def _informants(i: int, landscapes: Sequence[Landscape], training: Training) -> list[Informant]:
    """Return what other tasks may say of a landscape: the same kernel on other devices; of a random one, its relatives.

    Relatives share between all and nothing with it, so that a policy learns to see which prior misleads.
    """
    if not training.shape.asks_others:
        return []
    landscape, found = landscapes[i], []
    recorded = landscape.recorded()
    for variant in range(_VARIANTS):
        rng = np.random.default_rng([training.seed, i, variant])
        others = [other for other in landscapes if other.kernel == landscape.kernel and other is not landscape]
        if not others:
            count = int(rng.integers(1, _MOST_RELATIVES + 1))
            misleads = rng.random(count) < _MISLEADING
            shares = np.where(misleads, 1.0, rng.uniform(0, _MOST_SHARE, size=count))
            others = [landscape.relative(rng, share) for share in shares.tolist()]
        sources = [other.source(rng, training.records) for other in others]
        prior = Prior(recorded.space, Objective(), sources, rng)
        if len(prior):
            found.append(Informant(prior))
    return found


def default_reward(training: Training) -> Reward:
    """Return the share of the optimum, where it is known and models advise or exact gradients are asked for.

    Where a search may stop, it is the share of the optimum at its end, less a price of a two-thousandth a trial: what
    `--patience 0.005` weighs ten more trials by. Elsewhere it is the speed-up over the best, in standard deviations of
    the search.
    """
    if training.shape.stop:
        return Priced(ShareOfOptimum(early=0.0), _PRICE)
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
