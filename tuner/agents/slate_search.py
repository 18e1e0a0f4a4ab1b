"""One search by slates over a search space: what a policy's agent and its live environment share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tuner.agents.history import MOST_ELITES, Histories, cards_of
from tuner.agents.slate import SlateShape, observe
from tuner.errors import TunerError
from tuner.search_spaces import SearchSpace
from tuner.types import Config

__all__ = ["Slate", "SlateSearch"]

_SMALLEST_SCORE = 1e-12
# A few draws more than wanted, since some were tried.
_DRAWS = 2


class Slate:
    """Configs to choose from, with what a policy sees of them.

    Attributes:
        configs: The configs; None in a place that is not open.
        is_open: Which places may be chosen.
        observation: What `tuner.agents.slate.observe` returns for them, (length,).
    """

    def __init__(
        self, configs: Sequence[Config | None], is_open: NDArray[np.bool_], observation: NDArray[np.float32]
    ) -> None:
        self.configs = list(configs)
        self.is_open = is_open
        self.observation = observation

    def chosen(self, place: int) -> Config | None:
        """Return the config at `place`, the first that is open where that one is not, None where none is."""
        if not self.is_open.any():
            return None
        return self.configs[place if self.is_open[place] else int(self.is_open.argmax())]


class SlateSearch:
    """Keeps what was tried in a space, and draws slates of what was not.

    Args:
        space: The valid configs.
        shape: What a slate holds.
        rng: What draws.
        budget: Trials that the search is to make, as far as is known.

    Attributes:
        history: What was told.
        known: Configs that are not offered any more; whoever proposes one adds it.
    """

    def __init__(self, space: SearchSpace, shape: SlateShape, rng: np.random.Generator, budget: int) -> None:
        self.space = space
        self.shape = shape
        self.history = Histories(1, len(space.names), max(space.shape))
        self.known: set[Config] = set()
        self._rng = rng
        self._told: list[Config] = []
        self._around: dict[Config, list[Config]] = {}
        cards, ordered = cards_of(space)
        self.history.restart(
            [0], cards=cards[None], ordered=ordered[None], sizes=[_size_of(space)], budgets=[max(budget, 1)]
        )

    def tell(self, config: Config, score: float) -> None:
        """Learn the score of a config of the space, infinite where it failed."""
        self.known.add(config)
        log = math.log(max(score, _SMALLEST_SCORE)) if math.isfinite(score) else math.nan
        tag = np.array([len(self._told)])
        self._told.append(config)
        self.history.add([0], self.space.encode(config)[None], np.array([log]), tag)

    def draw(self) -> Slate:
        """Return a new slate; nothing on it is open only when the whole space is known."""
        shape = self.shape
        rank = int(self._rng.integers(1, MOST_ELITES))
        configs = [
            *_padded(self._near(self._elite(0))[: shape.near_best], shape.near_best),
            *_padded(self._near(self._elite(rank))[: shape.near_elite], shape.near_elite),
            *_padded(self.random(shape.random), shape.random),
        ]
        if not any(config is not None for config in configs):
            configs[-1] = self.any()
        is_open = np.array([config is not None for config in configs])
        rows = np.zeros((len(configs), len(self.space.names)), dtype=np.int64)
        if is_open.any():
            rows[is_open] = self.space.encode_many([config for config in configs if config is not None])
        return Slate(configs, is_open, observe(shape, self.history, rows[None], is_open[None])[0])

    def random(self, count: int) -> list[Config]:
        """Return up to `count` random configs that are not known."""
        drawn = self.space.sample(self._rng, _DRAWS * count)
        return [config for config in drawn if config not in self.known][:count]

    def any(self) -> Config | None:
        """Return a config that is not known, None where there is none."""
        return self.space.nearest(self.space.encode(self.space.default), exclude=self.known)

    def _elite(self, rank: int) -> Config | None:
        """Return the best config, or, for other ranks, one of the other four best; the best where there are fewer."""
        best = int(self.history.elite_logs[0].argmin())
        tags = self.history.elite_tags[0]
        tag = tags[(best + rank) % MOST_ELITES]
        tag = tags[best] if tag < 0 else tag
        return self._told[tag] if tag >= 0 else None

    def _near(self, config: Config | None) -> list[Config]:
        """Return the neighbours of `config` that are not known, in random order."""
        if config is None:
            return []
        if config not in self._around:
            self._around[config] = self.space.neighbours(config)
        fresh = [near for near in self._around[config] if near not in self.known]
        return [fresh[i] for i in self._rng.permutation(len(fresh))]


def _padded(configs: list[Config], count: int) -> list[Config | None]:
    return [*configs, *[None] * (count - len(configs))]


def _size_of(space: SearchSpace) -> int:
    """Return how many configs there are; of a space that cannot tell, how many combinations."""
    try:
        return space.size
    except TunerError:
        return space.product_size
