"""Policy gradients from what every config of a slate would have given, as only recorded spaces can tell."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from tuner.agents.policy_file import Policy
from tuner.envs import Reward
from tuner.runners import Runner
from tuner.train.environment import default_reward, recorded_environment
from tuner.train.module import ScoringModule, leaned, loaded
from tuner.train.training import Training, TrainingProgress
from tuner.train.versions import versions

__all__ = ["ExactTrainer"]

_SEARCHES = 16
_LEARNING_RATE = 1e-3
_ENTROPY = 0.01
_BATCH = 256
# States of so many steps are kept: the gradient of a state does not depend on which policy came there.
_KEPT = 60_000
# Passes over what is kept for each step of an environment.
_REUSE = 16
# Share of steps that try any config, so that states of all kinds are seen.
_EXPLORING = 0.1
_RECENT_EPISODES = 100
# Steps between two entries of the logs.
_LOGGED = 256


class ExactTrainer:
    """Trains on recorded spaces with the policy gradient over all actions at once.

    Where the reward of every action is known, the gradient of the expected reward is a sum over all of them: nothing is
    sampled, and there is no critic (mean actor-critic: Allen et al., 2017). It looks one step ahead: rewards of later
    steps are left to PPO, which can go on from here (`Training.start`). Rewards are divided by their spread at their
    time of the search, since late gains are small and count as much.

    Args:
        training: What to do; on recorded and random spaces only.
        runner: Not used: nothing is measured.
        reward: What a step is worth; by default, what `default_reward` returns.
    """

    def __init__(self, training: Training, runner: Runner | None = None, *, reward: Reward | None = None) -> None:
        self.training = training
        self._reward = reward or default_reward(training)
        self._env, self._seen = recorded_environment(training, self._reward, _SEARCHES)
        torch.manual_seed(training.seed)
        self._generator = np.random.default_rng(training.seed)
        hidden = len(training.start.weights["config.bias"]) if training.start else training.hidden
        self._module = ScoringModule(training.shape, hidden)
        self._module.soften()
        leaned(self._module)
        if training.start:
            loaded(self._module, training.start)
        self._optimizer = torch.optim.Adam(self._module.parameters(), _LEARNING_RATE)
        self._observations: deque[NDArray[np.float32]] = deque(maxlen=max(1, _KEPT // self._env.num_envs))
        self._rewards: deque[NDArray[np.float32]] = deque(maxlen=self._observations.maxlen)
        self._scale = _Scale()
        self._steps = 0

    def run(
        self,
        watch: Callable[[TrainingProgress], None] = lambda _: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Policy:
        """Train, and return the policy; where it was stopped, the policy of then."""
        count, width = self._env.num_envs, self.training.shape.width
        seen, _ = self._env.reset(seed=self.training.seed)
        totals = np.zeros(count)
        episodes: deque[float] = deque(maxlen=_RECENT_EPISODES)
        shares: deque[float] = deque(maxlen=_RECENT_EPISODES)
        debt = 0.0
        logs = self.training.logs
        writer = SummaryWriter(str(logs / f"{self.training.algorithm.value}_1")) if logs else None
        while self._steps < self.training.steps and not stopping():
            rewards = self._scale(self._env.all_rewards(), seen[:, 0])
            self._observations.append(seen)
            self._rewards.append(rewards)
            chances = self._chances(seen)
            exploring = self._generator.random(count) < _EXPLORING
            noise = self._generator.gumbel(size=(count, width))
            is_open = self._env.action_masks()
            scores = np.where(exploring[:, None], 0.0, chances) + noise
            actions = np.where(is_open, scores, -np.inf).argmax(axis=1)
            seen, gained, ended, _, infos = self._env.step(actions)
            self._steps += count
            totals += gained
            for i in np.flatnonzero(ended).tolist():
                episodes.append(float(totals[i]))
                shares.append(float(infos["optimum_share"][i]))
            totals[ended] = 0
            debt += _REUSE * count / _BATCH
            # At first there is too little to learn from.
            if len(self._observations) * count >= 4 * _BATCH:
                while debt >= 1:
                    self._learn()
                    debt -= 1
            if writer and self._steps // _LOGGED > (self._steps - count) // _LOGGED:
                writer.add_scalar("rollout/ep_rew_mean", _mean(episodes), self._steps)
                writer.add_scalar("rollout/optimum_share", _mean(shares), self._steps)
            watch(TrainingProgress(self._steps, _mean(episodes), _mean(shares)))
        if writer:
            writer.close()
        return self.policy

    @property
    def policy(self) -> Policy:
        """What has been trained so far."""
        training = self.training
        weights = {name: tensor.detach().numpy().copy() for name, tensor in self._module.state_dict().items()}
        return Policy(
            algorithm=training.algorithm.value,
            shape=training.shape,
            weights=weights,
            budget=training.budget[1],
            training={
                "spaces": self._seen,
                "steps": self._steps,
                "seed": training.seed,
                "reward": repr(self._reward),
                "started_from": training.start.fingerprint if training.start else None,
            },
            versions=versions(),
        )

    def _chances(self, seen: NDArray[np.float32]) -> NDArray[np.float64]:
        with torch.no_grad():
            scores = torch.log_softmax(self._module.forward_actor(torch.from_numpy(seen)), dim=1)
        logs: NDArray[np.float64] = scores.numpy().astype(np.float64)
        return logs

    def _learn(self) -> None:
        """Take one step along the gradient, from a random batch of what is kept."""
        count = self._env.num_envs
        kept = self._generator.integers(len(self._observations) * count, size=_BATCH)
        seen = torch.from_numpy(np.stack([self._observations[i // count][i % count] for i in kept.tolist()]))
        rewards = torch.from_numpy(np.stack([self._rewards[i // count][i % count] for i in kept.tolist()]))
        logs = torch.log_softmax(self._module.forward_actor(seen), dim=1)
        chances = logs.exp()
        baseline = (chances * rewards).sum(dim=1, keepdim=True)
        gain = (chances * (rewards - baseline).detach()).sum(dim=1)
        entropy = -(chances * logs.clamp(min=-50)).sum(dim=1)
        loss = -(gain + _ENTROPY * entropy).mean()
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        self._optimizer.step()


class _Scale:
    """Divides rewards by their running spread, for each of eight stages of a search."""

    def __init__(self, stages: int = 8) -> None:
        self._squares = np.full(stages, math.nan)

    def __call__(self, rewards: NDArray[np.float64], spent: NDArray[np.float32]) -> NDArray[np.float32]:
        stages = (spent * len(self._squares)).astype(int).clip(0, len(self._squares) - 1)
        for stage in np.unique(stages).tolist():
            square = float(np.square(rewards[stages == stage]).mean())
            before = self._squares[stage]
            self._squares[stage] = square if math.isnan(before) else 0.99 * before + 0.01 * square
        spreads = np.sqrt(self._squares[stages]) + 1e-6
        scaled: NDArray[np.float32] = (rewards / spreads[:, None]).astype(np.float32)
        return scaled


def _mean(numbers: deque[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else math.nan
