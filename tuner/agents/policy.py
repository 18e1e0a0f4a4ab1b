"""A trained policy as an agent: `policy:FILE` with frozen weights, `policy:FILE,adapt` where learning goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuner.agents.base import Agent, Source
from tuner.agents.policy_file import load_policy
from tuner.agents.slate_search import Slate, SlateSearch
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Trial

__all__ = ["PolicyAgent"]

# Random trials before the policy is asked: as many as in training.
_STARTS = 4
_ADAPT = "adapt"
# Step of adapting: how far a gain of one standard deviation moves a weight.
_LEARNING_RATE = 0.05


class PolicyAgent(Agent):
    """Proposes what a policy chooses that `tuner train` has trained.

    At each step a slate of configs is drawn as in training, neighbours of the best ones and random ones, and the one
    that the policy's network scores highest is proposed. What the network is told is free of scale and of the
    parameters' number, so that a policy works on spaces that it was not trained on. Torch is not needed.

    With `,adapt` behind the file, the linear part of the network goes on learning during the search, by the policy
    gradient of each trial's gain (REINFORCE: Williams, Machine Learning 8, 1992).
    """

    free_variant = "FILE[,adapt]"

    def __init__(
        self,
        space: SearchSpace,
        objective: Objective,
        *,
        seed: int,
        sources: Sequence[Source] = (),
        variant: str = "",
    ) -> None:
        super().__init__(space, objective, seed=seed, sources=sources, variant=variant)
        name, comma, word = self.variant.rpartition(",")
        if comma and word != _ADAPT:
            raise TunerError(f"policy:{self.variant} asks for {word!r}; write policy:FILE, or policy:FILE,{_ADAPT}")
        policy = load_policy(Path(name if comma else self.variant))
        self._network = policy.network
        self._search = SlateSearch(space, policy.shape, np.random.default_rng(seed), policy.budget)
        self._adapts = bool(comma)
        self._change = np.zeros(policy.shape.config_features)
        self._gradients: dict[Config, NDArray[np.float64]] = {}

    def ask(self, count: int) -> list[Config]:
        """Return up to `count` configs that were not proposed or told before."""
        configs: list[Config] = []
        while len(configs) < count and (config := self._propose()) is not None:
            self._search.known.add(config)
            configs.append(config)
        return configs

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from trials, also those that it did not propose; one outside the space says nothing about it."""
        for trial in trials:
            gradient = self._gradients.pop(trial.config, None)
            if not self.space.contains(trial.config):
                self._search.known.add(trial.config)
                continue
            history = self._search.history
            before = float(history.best[0])
            self._search.tell(trial.config, self.objective.score(trial))
            gain = before - float(history.best[0])
            if gradient is not None and math.isfinite(gain):
                self._change += _LEARNING_RATE * gain / float(history.deviation[0]) * gradient

    def _propose(self) -> Config | None:
        if len(self._search.known) < _STARTS:
            fresh = self._search.random(1)
            return fresh[0] if fresh else self._search.any()
        slate = self._search.draw()
        scores = self._network.scores(slate.observation[None])[0].astype(np.float64)
        features = self._features(slate)
        scores += features @ self._change
        place = int(scores.argmax())
        config = slate.chosen(place)
        if config is not None and self._adapts:
            chances = np.exp(scores - scores.max())
            self._gradients[config] = features[place] - chances @ features / chances.sum()
        return config

    def _features(self, slate: Slate) -> NDArray[np.float64]:
        shape = self._search.shape
        return slate.observation[shape.search_features :].reshape(shape.width, -1).astype(np.float64)
