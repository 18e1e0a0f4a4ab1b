"""The scoring network in torch, and Stable-Baselines3's policies around it.

`tuner.agents.network` is the same in numpy, with the same names of weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import nn

from tuner.agents.network import CLOSED
from tuner.agents.policy_file import Policy
from tuner.agents.slate import SlateShape

__all__ = [
    "MaskableSlatePolicy",
    "ScoringModule",
    "SlateDqnPolicy",
    "SlatePolicy",
    "leaned",
    "loaded",
    "scoring_module",
    "weights_of",
]

_SMALL = 0.1
_LEANING = 3.0


class ScoringModule(nn.Module):
    """What `ScoringNetwork` computes, and what a critic reads: it has the interface of SB3's `MlpExtractor`."""

    def __init__(self, shape: SlateShape, hidden: int) -> None:
        super().__init__()
        self.shape = shape
        self.latent_dim_pi = shape.width
        self.latent_dim_vf = hidden
        search, config = shape.search_features, shape.config_features
        self.skip = nn.Linear(config, 1, bias=False)
        self.config = nn.Linear(search + config, hidden)
        self.joint = nn.Linear(3 * hidden, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.critic = nn.Linear(search + 2 * hidden, hidden)

    def soften(self) -> None:
        """Begin with scores that are nearly alike, so that all configs are tried."""
        with torch.no_grad():
            self.skip.weight.zero_()
            self.score.weight.mul_(_SMALL)

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scores, (searches, width), and what the critic reads, (searches, hidden)."""
        search, configs, units, pooled = self._pooled(observations)
        return self._scores(configs, units, pooled), self._value(search, pooled)

    def forward_actor(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the scores."""
        _, configs, units, pooled = self._pooled(observations)
        return self._scores(configs, units, pooled)

    def forward_critic(self, observations: torch.Tensor) -> torch.Tensor:
        """Return what the critic reads."""
        search, _, _, pooled = self._pooled(observations)
        return self._value(search, pooled)

    def _pooled(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        shape = self.shape
        search = observations[:, : shape.search_features]
        configs = observations[:, shape.search_features :].reshape(-1, shape.width, shape.config_features)
        is_open = configs[:, :, :1]
        around = search[:, None, :].expand(-1, shape.width, -1)
        units = torch.tanh(self.config(torch.cat([around, configs], dim=2))) * is_open
        mean = units.sum(dim=1) / is_open.sum(dim=1).clamp(min=1)
        highest = (units - 2 * (1 - is_open)).amax(dim=1)
        return search, configs, units, torch.cat([mean, highest], dim=1)

    def _scores(self, configs: torch.Tensor, units: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([units, pooled[:, None, :].expand(-1, units.shape[1], -1)], dim=2)
        scores: torch.Tensor = (self.skip(configs) + self.score(torch.tanh(self.joint(joined))))[:, :, 0]
        return scores.masked_fill(configs[:, :, 0] <= 0, CLOSED)

    def _value(self, search: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.critic(torch.cat([search, pooled], dim=1)))


class _Scored:
    """Replaces the layers of an actor-critic policy by a `ScoringModule`, whose scores are the logits."""

    mlp_extractor: Any
    action_net: Any

    def __init__(self, *arguments: Any, shape: SlateShape, hidden: int, **options: Any) -> None:
        self._shape, self._hidden = shape, hidden
        super().__init__(*arguments, **options)

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = ScoringModule(self._shape, self._hidden)

    def _build(self, schedule: Any) -> None:
        super()._build(schedule)  # type: ignore[misc]  # of the policy that this class is mixed into
        self.mlp_extractor.soften()
        leaned(self.mlp_extractor)
        self.action_net = nn.Identity()
        self.optimizer = self.optimizer_class(self.parameters(), lr=schedule(1), **self.optimizer_kwargs)  # type: ignore[attr-defined]


class SlatePolicy(_Scored, ActorCriticPolicy):
    """For PPO and A2C."""


class MaskableSlatePolicy(_Scored, MaskableActorCriticPolicy):
    """For MaskablePPO."""


class _SlateQNetwork(QNetwork):
    def __init__(self, *arguments: Any, shape: SlateShape, hidden: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        module = ScoringModule(shape, hidden)
        module.soften()
        leaned(module)
        self.q_net = nn.Sequential(_Actor(module))


class _Actor(nn.Module):
    """The scores alone, as the value of each action."""

    def __init__(self, module: ScoringModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.module.forward_actor(observations)
        return scores


class SlateDqnPolicy(DQNPolicy):
    """For DQN: a score is the value of choosing a config."""

    def __init__(self, *arguments: Any, shape: SlateShape, hidden: int, **options: Any) -> None:
        self._slate_shape, self._hidden = shape, hidden
        super().__init__(*arguments, **options)

    def make_q_net(self) -> QNetwork:
        """Return a network of scores."""
        options = self._update_features_extractor(self.net_args, features_extractor=None)
        return _SlateQNetwork(**options, shape=self._slate_shape, hidden=self._hidden).to(self.device)


def leaned(module: ScoringModule) -> None:
    """Let an advised module begin with what models advise: expected improvement, given what other tasks say if any do.

    It hardly ever stops at first.
    """
    names = module.shape.config_names
    informed = "informed_improvement" in names
    leaning = {"improvement": _LEANING / 2 if informed else _LEANING, "informed_improvement": _LEANING}
    with torch.no_grad():
        for name, weight in {**leaning, "from_stop": -2 * _LEANING}.items():
            if name in names:
                module.skip.weight[0, names.index(name)] = weight


def loaded(module: ScoringModule, policy: Policy) -> None:
    """Give a module the weights of a policy; a critic that the policy lacks stays as it is."""
    own = module.state_dict()
    kept = {name: torch.from_numpy(policy.weights[name].copy()) for name in own if name in policy.weights}
    module.load_state_dict({**own, **kept})


def scoring_module(policy: nn.Module) -> ScoringModule:
    """Return the scoring module of one of these policies."""
    return next(part for part in policy.modules() if isinstance(part, ScoringModule))


def weights_of(policy: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return the weights of the scoring module of one of these policies, and of its critic, by name."""
    state = dict(scoring_module(policy).state_dict())
    if isinstance(head := getattr(policy, "value_net", None), nn.Linear):
        state |= {f"value.{name}": tensor for name, tensor in head.state_dict().items()}
    return {name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in state.items()}
