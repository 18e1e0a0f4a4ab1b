"""Trains a policy with Stable-Baselines3; needs the extra `rl`."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from tuner.agents.policy_file import Policy
from tuner.envs import Reward
from tuner.runners import Runner
from tuner.train.bridge import VectorBridge
from tuner.train.environment import default_reward, live_environment, recorded_environment
from tuner.train.module import MaskableSlatePolicy, SlateDqnPolicy, SlatePolicy, loaded, scoring_module, weights_of
from tuner.train.training import Algorithm, Training, TrainingProgress
from tuner.train.versions import versions

__all__ = ["Trainer"]

_RECENT_EPISODES = 100
_SEARCHES, _ADVISED_SEARCHES = 64, 16
# Episodes are short and their ends matter as much as their beginnings.
_DISCOUNT = 0.98
_ROLLOUT = {"gamma": _DISCOUNT, "gae_lambda": 0.95, "ent_coef": 0.003}
_OPTIONS: dict[Algorithm, dict[str, Any]] = {
    Algorithm.PPO: {"learning_rate": 1e-3, "n_epochs": 4, **_ROLLOUT},
    Algorithm.MASKABLE_PPO: {"learning_rate": 1e-3, "n_epochs": 4, **_ROLLOUT},
    Algorithm.A2C: {"learning_rate": 1e-3, "n_steps": 16, **_ROLLOUT},
    Algorithm.DQN: {
        "learning_rate": 5e-4,
        "gamma": 0.9,
        "buffer_size": 50_000,
        "learning_starts": 1000,
        "batch_size": 256,
        "train_freq": 1,
        "gradient_steps": 4,
        "target_update_interval": 2000,
        "exploration_fraction": 0.3,
    },
}
# Steps between two updates of PPO; where models advise, steps are dear.
_ROLLOUT_STEPS, _ADVISED_ROLLOUT_STEPS, _FEWEST_ROLLOUT_STEPS = 4096, 1024, 128
_KINDS: dict[Algorithm, tuple[type[BaseAlgorithm], type[Any]]] = {
    Algorithm.PPO: (PPO, SlatePolicy),
    Algorithm.A2C: (A2C, SlatePolicy),
    Algorithm.DQN: (DQN, SlateDqnPolicy),
    Algorithm.MASKABLE_PPO: (MaskablePPO, MaskableSlatePolicy),
}


class Trainer:
    """Trains as a `Training` says.

    Args:
        training: What to do.
        runner: Who measures the training's tasks; the caller closes it. Not needed for recorded spaces.
        reward: What a step is worth; by default, what `default_reward` returns.

    Raises:
        StoreError: a recorded space cannot be read.
        TunableError: a task's kernel cannot be loaded.
    """

    def __init__(self, training: Training, runner: Runner | None = None, *, reward: Reward | None = None) -> None:
        self.training = training
        self._reward = reward or default_reward(training)
        env, self._seen = self._environment(runner)
        self._env = VectorBridge(env, training.seed)
        kind, policy = _KINDS[training.algorithm]
        options = dict(_OPTIONS[training.algorithm])
        if training.algorithm in (Algorithm.PPO, Algorithm.MASKABLE_PPO):
            # A short training on real measurements is to learn more than once.
            most = _ADVISED_ROLLOUT_STEPS if training.shape.advised else _ROLLOUT_STEPS
            rollout = min(most, max(_FEWEST_ROLLOUT_STEPS, training.steps // 4))
            options["n_steps"] = max(8, rollout // self._env.num_envs)
            options["batch_size"] = max(8, options["n_steps"] * self._env.num_envs // 4)
        if training.start:
            # What was learned is to be changed, not to be lost in the first steps.
            options["learning_rate"] /= 3
        self.model = kind(
            policy,
            self._env,
            seed=training.seed,
            device="cpu",
            policy_kwargs={"shape": training.shape, "hidden": self._hidden},
            tensorboard_log=str(training.logs) if training.logs else None,
            **options,
        )
        if training.start:
            self._begin_with(training.start)

    def run(
        self,
        watch: Callable[[TrainingProgress], None] = lambda _: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Policy:
        """Train, and return the policy; where it was stopped, the policy of then.

        Args:
            watch: Called often with the progress.
            stopping: Asked often whether to stop.
        """
        follower = _Follower(watch, stopping)
        self.model.learn(self.training.steps, callback=follower, tb_log_name=self.training.algorithm.value)
        return self.policy

    @property
    def policy(self) -> Policy:
        """What has been trained so far."""
        training = self.training
        return Policy(
            algorithm=training.algorithm.value,
            shape=training.shape,
            weights=weights_of(self.model.policy),
            budget=training.budget[1],
            training={
                "spaces": self._seen,
                "steps": int(self.model.num_timesteps),
                "seed": training.seed,
                "reward": repr(self._reward),
                "started_from": training.start.fingerprint if training.start else None,
            },
            versions=versions(),
        )

    @property
    def _hidden(self) -> int:
        start = self.training.start
        return len(start.weights["config.bias"]) if start else self.training.hidden

    def _environment(self, runner: Runner | None) -> tuple[VectorEnv[Any, Any, Any], list[dict[str, Any]]]:
        if not self.training.tasks:
            searches = _ADVISED_SEARCHES if self.training.shape.advised else _SEARCHES
            return recorded_environment(self.training, self._reward, searches)
        if runner is None:
            raise ValueError("tasks are measured by a runner, and none was given")
        return live_environment(self.training, self._reward, runner)

    def _begin_with(self, start: Policy) -> None:
        module = scoring_module(self.model.policy)
        loaded(module, start)
        head = getattr(self.model.policy, "value_net", None)
        if isinstance(head, nn.Linear) and "value.bias" in start.weights:
            kept = {name: torch.from_numpy(start.weights[f"value.{name}"].copy()) for name in head.state_dict()}
            head.load_state_dict(kept)
        if isinstance(self.model, DQN):
            self.model.q_net_target.load_state_dict(self.model.q_net.state_dict())


class _Follower(BaseCallback):
    """Tells who watches, asks whether to stop, and logs how near the optimum episodes come."""

    def __init__(self, watch: Callable[[TrainingProgress], None], stopping: Callable[[], bool]) -> None:
        super().__init__()
        self._watch, self._stopping = watch, stopping
        self._rewards: deque[float] = deque(maxlen=_RECENT_EPISODES)
        self._shares: deque[float] = deque(maxlen=_RECENT_EPISODES)

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if episode := info.get("episode"):
                self._rewards.append(episode["r"])
                if (share := info.get("optimum_share")) is not None:
                    self._shares.append(share)
        if self._shares:
            self.logger.record("rollout/optimum_share", _mean(self._shares))
        self._watch(TrainingProgress(self.num_timesteps, _mean(self._rewards), _mean(self._shares)))
        return not self._stopping()


def _mean(numbers: deque[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else math.nan
