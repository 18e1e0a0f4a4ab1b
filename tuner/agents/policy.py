"""A trained policy as an agent: `policy:FILE`, or with words behind it, as in `policy:FILE,adapt`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from tuner.agents.base import Agent, Source
from tuner.agents.imagination import Imagination
from tuner.agents.informant import Informant
from tuner.agents.policy_file import load_policy
from tuner.agents.pool import Pool, Row
from tuner.agents.prior import Prior
from tuner.agents.slate_search import STOP, Slate, SlateSearch
from tuner.errors import SpaceError, TunerError
from tuner.objective import Objective
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Trial

__all__ = ["PolicyAgent"]

# Random trials before the policy is asked: as many as in training.
_STARTS = 4
_ADAPT, _GREEDY, _IMAGINE = "adapt", "greedy", "imagine"
# Step of adapting: how far a gain of one standard deviation moves a weight.
_LEARNING_RATE = 0.05
# How far a policy strays from its highest score: 1 as in training, 0 never. On 32 random spaces that were in no
# training 0.3, 0.6 and 1 did alike, and 0 did worse.
_TEMPERATURE = 0.6


class PolicyAgent(Agent):
    """Proposes what a policy chooses that `tuner train` has trained.

    At each step a slate of configs is drawn as in training, such as neighbours of the best ones, random ones, or what
    models of the scores advise, and the one that the policy's network scores highest is proposed. What the network is
    told is free of scale and of the parameters' number, so that a policy works on spaces that it was not trained on.
    Torch is not needed.

    Policies that were trained to draw by their scores do so, which keeps them from insisting; with `,greedy` behind the
    file, the highest score always decides, as it does for DQN. With `,adapt`, the linear part of the network goes on
    learning during the search, by the policy gradient of each trial's gain (REINFORCE: Williams, Machine Learning 8,
    1992). With `,imagine`, it goes on learning from landscapes that the Gaussian process of the advice finds likely,
    between the trials: see `Imagination`; only for policies over advice. Policies that were trained with what other
    tasks say take notice of sources, and may end the search.
    """

    free_variant = "FILE[,adapt][,greedy][,imagine]"

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
        name, *words = self.variant.split(",")
        if unknown := set(words) - {_ADAPT, _GREEDY, _IMAGINE}:
            raise TunerError(f"policy:{self.variant} asks for {min(unknown)!r}; write policy:{self.free_variant}")
        policy = load_policy(Path(name))
        self._draws = policy.draws and _GREEDY not in words
        self._network = policy.network
        generator = np.random.default_rng(seed)
        self._libraries = ThreadpoolController()
        self._pool = Pool(space, generator)
        prior = Prior(space, objective, sources if policy.shape.asks_others else (), generator)
        self._search = SlateSearch(
            space,
            policy.shape,
            self._pool,
            generator,
            budget=policy.budget,
            size=_size_of(space),
            informant=Informant(prior) if len(prior) else None,
        )
        self._adapts = _ADAPT in words
        self._budget = policy.budget
        self._imagination: Imagination | None = None
        if _IMAGINE in words:
            if not policy.shape.advised:
                raise TunerError(
                    f"{name} models no scores to imagine by; train a policy with --advised, or drop ,imagine"
                )
            self._imagination = Imagination(policy.network, _TEMPERATURE, generator)
        self._rng = generator
        self._change = np.zeros(policy.shape.config_features)
        self._stopped = False
        # Trials of which was imagined last.
        self._dreamt = 0
        self._gradients: dict[Row, NDArray[np.float64]] = {}

    @classmethod
    def asks_sources(cls, variant: str) -> bool:
        """Return whether the policy was trained with what other tasks say.

        Raises:
            TunerError: its file cannot be read.
        """
        return load_policy(Path(variant.partition(",")[0])).shape.asks_others

    def ask(self, count: int) -> list[Config]:
        """Return up to `count` configs that were not proposed or told before; none once the policy has stopped."""
        configs: list[Config] = []
        # As for other models: threads of small matrices wait for each other longer than they compute.
        with self._libraries.limit(limits=1, user_api="blas"):
            while len(configs) < count and (row := self._propose()) is not None:
                self._search.take(row)
                configs.append(self.space.decode(row))
        return configs

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from trials, also those that it did not propose; one outside the space says nothing about it."""
        for trial in trials:
            if not self.space.contains(trial.config):
                continue
            row = self._pool.row(trial.config)
            gradient = self._gradients.pop(row, None)
            history = self._search.history
            before = float(history.best[0])
            self._search.tell(row, self.objective.log_score(trial))
            gain = before - float(history.best[0])
            if gradient is not None and math.isfinite(gain):
                self._change += _LEARNING_RATE * gain / float(history.deviation[0]) * gradient

    def _propose(self) -> Row | None:
        if self._stopped:
            return None
        if self._search.known < _STARTS:
            return self._search.first()
        slate = self._search.draw()
        trials = int(self._search.history.trials[0])
        if self._imagination and self._dreamt < trials and self._imagination.due(trials):
            self._dreamt = trials
            self._change = self._imagination.learn(self._search, self._change, max(self._budget - trials, 1))
        scores = self._network.scores(slate.observation[None])[0].astype(np.float64)
        features = self._features(slate)
        scores += features @ self._change
        # The greatest of scores with Gumbel noise is a draw from their softmax.
        noise = _TEMPERATURE * self._rng.gumbel(size=len(scores)) if self._draws else 0.0
        place = int((scores + noise).argmax())
        row = slate.chosen(place)
        if row == STOP:
            self._stopped = True
            return None
        if row is not None and self._adapts:
            chances = np.exp(scores - scores.max())
            self._gradients[row] = features[place] - chances @ features / chances.sum()
        return row

    def _features(self, slate: Slate) -> NDArray[np.float64]:
        shape = self._search.shape
        return slate.observation[shape.search_features :].reshape(shape.width, -1).astype(np.float64)


def _size_of(space: SearchSpace) -> int:
    """Return how many configs there are; of a space that cannot tell, how many combinations."""
    try:
        return space.size
    except SpaceError:
        return space.product_size
