"""The configs that a policy chooses from at each step, and what it is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.agents.history import CONFIG_FEATURES, SEARCH_FEATURES, Histories
from tuner.errors import TunerError

__all__ = ["OBSERVATION_VERSION", "SlateShape", "observe"]

OBSERVATION_VERSION = 1
"""Changes whenever the same trials give another observation: a policy of another version is refused."""

# Of a config: whether it may be chosen, and where it comes from.
_ROLES = ("open", "near_best", "near_elite", "random")


@dataclass(frozen=True, slots=True)
class SlateShape:
    """How many configs are on a slate, by where they come from; the best's neighbours come first.

    Attributes:
        near_best: Neighbours of the best config that were not tried.
        near_elite: Neighbours of one of the other four best.
        random: Others, drawn uniformly.

    Example:
        >>> SlateShape(near_best=2, near_elite=1, random=1).width
        4
    """

    near_best: int = 8
    near_elite: int = 4
    random: int = 4

    def __post_init__(self) -> None:
        if min(self.near_best, self.near_elite) < 0 or self.random < 1:
            raise TunerError(f"{self} is no slate; give it one random config or more, and no negative number")

    @property
    def width(self) -> int:
        """The number of configs: the actions of a policy."""
        return self.near_best + self.near_elite + self.random

    @property
    def search_features(self) -> int:
        """How many numbers an observation begins with, which are about the search."""
        return len(SEARCH_FEATURES)

    @property
    def config_features(self) -> int:
        """How many numbers follow for each config."""
        return len(_ROLES) + len(CONFIG_FEATURES)

    @property
    def length(self) -> int:
        """The length of an observation."""
        return self.search_features + self.width * self.config_features

    @property
    def roles(self) -> NDArray[np.float32]:
        """Where the configs come from, (width, 3), one of the three numbers being 1."""
        counts = (self.near_best, self.near_elite, self.random)
        return np.repeat(np.eye(3, dtype=np.float32), counts, axis=0)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SlateShape:
        """Read back what `to_json` wrote.

        Raises:
            TunerError: `data` is something else.
        """
        try:
            return cls(**{name: int(count) for name, count in data.items()})
        except (TypeError, ValueError) as error:
            raise TunerError(f"{dict(data)} is no slate: {error}") from error


def observe(
    shape: SlateShape, histories: Histories, rows: NDArray[np.integer], is_open: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return what a policy sees of each search: the search, then each config of its slate.

    Args:
        shape: The slate's shape.
        histories: The searches.
        rows: The configs' index vectors, (searches, width, parameters).
        is_open: Which of them may be chosen, (searches, width).

    Returns:
        (searches, length), every number between -4 and 16 and most between -1 and 1. The numbers of a config that may
        not be chosen are 0.
    """
    count = histories.count
    seen = np.empty((count, shape.length), dtype=np.float32)
    seen[:, : shape.search_features] = histories.overview()
    configs = seen[:, shape.search_features :].reshape(count, shape.width, shape.config_features)
    configs[:, :, 0] = 1
    configs[:, :, 1 : len(_ROLES)] = shape.roles
    configs[:, :, len(_ROLES) :] = histories.describe(rows)
    configs *= is_open[:, :, None]
    return seen
