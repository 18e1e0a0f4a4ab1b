"""The configs that a policy chooses from at each step, and what it is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.agents.history import CONFIG_FEATURES, EVERY, SEARCH_FEATURES, Histories
from tuner.errors import TunerError

__all__ = ["ADVICE_FEATURES", "ADVICE_SEARCH_FEATURES", "ADVISED", "OBSERVATION_VERSION", "SlateShape", "observe"]

ADVICE_FEATURES: tuple[str, ...] = (
    "near",
    "improvement",
    "mean",
    "deviation",
    "gap",
    "likelihood",
    "improvement_rank",
    "likelihood_rank",
    "works",
)
"""What is said of a config.

`near`: whether it is a neighbour of one of the five best (1), of what the process advises first (0.5), or of none.
`improvement`: the logarithm of its expected improvement less the greatest, / 3. `mean` (less the best score) and
`deviation`: the process's, in standard deviations of the scores. `gap`: by how many of the process's own deviations the
mean is below the best. `likelihood`: how like the best quarter the trees find it, as a share of the most alike.
`*_rank`: the logarithm of its place as a share of all, / 3. `works`: the chance that it does not fail.
"""

ADVICE_SEARCH_FEATURES: tuple[str, ...] = ("greatest_improvement", "first_gap", "first_deviation")
"""What is said of a search, in standard deviations of the scores.

The logarithm of the greatest expected improvement, / 4; by how much that config's mean is below the best score, and
its deviation.
"""

OBSERVATION_VERSION = 1
"""Changes whenever the same trials give another observation: a policy of another version is refused."""


@dataclass(frozen=True, slots=True)
class SlateShape:
    """How many configs are on a slate, by who put them there; they stand in this order.

    Attributes:
        near_best: Untried neighbours of the best config.
        near_elite: Untried neighbours of one of the other four best.
        random: Others, drawn uniformly.
        improvement: Those of greatest expected improvement under a Gaussian process.
        likelihood: Those that trees find most like the best quarter.
        mean: Those of lowest mean under the process.
        bound: Those of lowest mean less two deviations.

    Example:
        >>> SlateShape(near_best=2, near_elite=1, random=1).width
        4
        >>> ADVISED.width, ADVISED.advised
        (24, True)
    """

    near_best: int = 8
    near_elite: int = 4
    random: int = 4
    improvement: int = 0
    likelihood: int = 0
    mean: int = 0
    bound: int = 0

    def __post_init__(self) -> None:
        if min(self.counts) < 0 or self.random < 1:
            raise TunerError(f"{self} is no slate; give it one random config or more, and no negative number")

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of configs, in order."""
        return tuple(getattr(self, field.name) for field in fields(self))

    @property
    def width(self) -> int:
        """The number of configs: the actions of a policy."""
        return sum(self.counts)

    @property
    def advised(self) -> bool:
        """Whether models of the scores have a say: a proposal then takes milliseconds."""
        return any((self.improvement, self.likelihood, self.mean, self.bound))

    @property
    def search_features(self) -> int:
        """How many numbers an observation begins with, which are about the search."""
        return len(SEARCH_FEATURES) + (len(ADVICE_SEARCH_FEATURES) if self.advised else 0)

    @property
    def config_names(self) -> tuple[str, ...]:
        """The names of the numbers that follow for each config; the first says whether it may be chosen."""
        roles = tuple(f"from_{field.name}" for field in fields(self))
        return ("open", *roles, *CONFIG_FEATURES, *(ADVICE_FEATURES if self.advised else ()))

    @property
    def config_features(self) -> int:
        """How many numbers follow for each config."""
        return len(self.config_names)

    @property
    def length(self) -> int:
        """The length of an observation."""
        return self.search_features + self.width * self.config_features

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


ADVISED = SlateShape(near_best=0, near_elite=0, random=2, improvement=10, likelihood=6, mean=4, bound=2)
"""What a Gaussian process and trees propose: a policy chooses whose advice to take, and when."""


def observe(
    shape: SlateShape,
    histories: Histories,
    rows: NDArray[np.integer],
    is_open: NDArray[np.bool_],
    advice: NDArray[np.float32] | None = None,
    search_advice: NDArray[np.float32] | None = None,
    *,
    which: slice | NDArray[np.int64] = EVERY,
) -> NDArray[np.float32]:
    """Return what a policy sees of each search: the search, then each config of its slate.

    Args:
        shape: The slate's shape.
        histories: The searches.
        rows: The configs' index vectors, (searches, width, parameters).
        is_open: Which of them may be chosen, (searches, width).
        advice: `ADVICE_FEATURES` of the configs, where the shape is advised; 0 if None.
        search_advice: `ADVICE_SEARCH_FEATURES` of the searches, likewise.
        which: The positions of the searches among `histories`.

    Returns:
        (searches, length), every number between -4 and 16 and most between -1 and 1. The numbers of a config that may
        not be chosen are 0.
    """
    count, own = len(rows), len(SEARCH_FEATURES)
    seen = np.zeros((count, shape.length), dtype=np.float32)
    seen[:, :own] = histories.overview(which)
    if search_advice is not None:
        seen[:, own : shape.search_features] = search_advice
    configs = seen[:, shape.search_features :].reshape(count, shape.width, shape.config_features)
    roles = np.repeat(np.eye(len(shape.counts), dtype=np.float32), shape.counts, axis=0)
    first = 1 + len(shape.counts)
    configs[:, :, 0] = 1
    configs[:, :, 1:first] = roles
    configs[:, :, first : first + len(CONFIG_FEATURES)] = histories.describe(rows, which)
    if advice is not None:
        configs[:, :, first + len(CONFIG_FEATURES) :] = advice
    configs *= is_open[:, :, None]
    return seen
