"""The way from a light request to the libraries that train."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from tuner.agents.policy_file import Policy
from tuner.errors import MissingDependencyError
from tuner.runners import Runner
from tuner.train.training import Algorithm, Training, TrainingProgress

__all__ = ["train_policy"]


def train_policy(
    training: Training,
    runner: Runner | None = None,
    *,
    watch: Callable[[TrainingProgress], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Policy:
    """Return the policy that was trained; see `tuner.train.trainer.Trainer`, which also takes other rewards.

    Args:
        training: What to train, on what.
        runner: Who measures the training's tasks; the caller closes it.
        watch: Called often with the progress.
        stopping: Asked often whether to stop, and keep what was learned.

    Raises:
        MissingDependencyError: the extra `rl` is not installed.
        TunerError: what to train on cannot be read or loaded.

    Example:
        >>> policy = train_policy(Training(random=2, steps=500, hidden=4))
        >>> policy.algorithm, policy.training["steps"] >= 500
        ('ppo', True)
    """
    exact = training.algorithm is Algorithm.EXACT
    try:
        module = importlib.import_module("tuner.train.exact" if exact else "tuner.train.trainer")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"training needs the package {error.name!r}; pip install 'rltuner[rl]'") from error
    kind = module.ExactTrainer if exact else module.Trainer
    policy: Policy = kind(training, runner).run(watch, stopping)
    return policy
