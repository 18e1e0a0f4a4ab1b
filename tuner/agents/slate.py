"""The configs that a policy chooses from at each step, and what it is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.agents.history import CONFIG_FEATURES, EVERY, SEARCH_FEATURES, Histories
from tuner.errors import TunerError

__all__ = [
    "ADVICE_FEATURES",
    "ADVICE_SEARCH_FEATURES",
    "ADVISED",
    "INFORMED",
    "OBSERVATION_VERSION",
    "PRIOR_FEATURES",
    "PRIOR_SEARCH_FEATURES",
    "SlateShape",
    "observe",
]

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

PRIOR_FEATURES: tuple[str, ...] = (
    "prior",
    "prior_rank",
    "informed_improvement",
    "informed_rank",
    "informed_mean",
    "informed_deviation",
)
"""What is said of a config where slates hold what other tasks say; all 0 where there are no other tasks.

`prior`: what they find of it, less what they find of the best that was tried, in standard deviations of the scores.
`informed_*`: as `improvement`, `mean` and `deviation`, by a process of what the prior leaves of the scores. `*_rank`:
the logarithm of its place as a share of all, / 3.
"""

PRIOR_SEARCH_FEATURES: tuple[str, ...] = ("sources", "evidence", "informed_greatest", "informed_gap")
"""What is said of a search there: the number of other tasks / 4; by how much likelier the trials are with their prior
than without, a trial; and of the informed process what `greatest_improvement` and `first_gap` are of the other."""

OBSERVATION_VERSION = 1
"""Changes whenever the same trials give another observation: a policy of another version is refused."""


# Observations have a number for each of so many kinds of proposals, also where a slate has none of it.
_FIRST_ROLES = 7


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
        informed: Those of greatest expected improvement, given what other tasks say.
        prior: Those that other tasks find best.
        restart: The most promising of those that are far from all that was tried.
        stop: No config, but the end of the search; 0 or 1.

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
    informed: int = 0
    prior: int = 0
    restart: int = 0
    stop: int = 0

    def __post_init__(self) -> None:
        if min(self.counts) < 0 or self.random < 1:
            raise TunerError(f"{self} is no slate; give it one random config or more, and no negative number")
        if self.stop > 1:
            raise TunerError(f"{self} is no slate; a search can only stop once: stop=1, or 0")

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
        return any((self.improvement, self.likelihood, self.mean, self.bound, self.restart)) or self.asks_others

    @property
    def asks_others(self) -> bool:
        """Whether other tasks have a say, where there are some."""
        return bool(self.informed or self.prior)

    @property
    def advice_names(self) -> tuple[str, ...]:
        """The names of what is advised of a config."""
        return (*ADVICE_FEATURES, *(PRIOR_FEATURES if self.asks_others else ())) if self.advised else ()

    @property
    def roles(self) -> tuple[int, ...]:
        """Positions among `counts` of those that a config is told apart by: the first seven, and what else there is."""
        return tuple(i for i, count in enumerate(self.counts) if i < _FIRST_ROLES or count)

    @property
    def search_features(self) -> int:
        """How many numbers an observation begins with, which are about the search."""
        advice = len(ADVICE_SEARCH_FEATURES) if self.advised else 0
        return len(SEARCH_FEATURES) + advice + (len(PRIOR_SEARCH_FEATURES) if self.asks_others else 0)

    @property
    def config_names(self) -> tuple[str, ...]:
        """The names of the numbers that follow for each config; the first says whether it may be chosen."""
        names = [f"from_{field.name}" for field in fields(self)]
        return ("open", *(names[i] for i in self.roles), *CONFIG_FEATURES, *self.advice_names)

    @property
    def config_features(self) -> int:
        """How many numbers follow for each config."""
        return len(self.config_names)

    @property
    def length(self) -> int:
        """The length of an observation."""
        return self.search_features + self.width * self.config_features

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back; what came later is left out where there is none of it."""
        names = [field.name for field in fields(self)]
        return {names[i]: self.counts[i] for i in self.roles}

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

INFORMED = SlateShape(
    near_best=0,
    near_elite=0,
    random=1,
    improvement=5,
    likelihood=3,
    mean=2,
    bound=1,
    informed=6,
    prior=4,
    restart=1,
    stop=1,
)
"""The same with what other tasks say, a restart, and the end of the search."""


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
        advice: The shape's `advice_names` of the configs, where it is advised; 0 if None.
        search_advice: `ADVICE_SEARCH_FEATURES` of the searches, likewise; if it asks others, `PRIOR_SEARCH_FEATURES`.
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
    kinds = list(shape.roles)
    roles = np.repeat(np.eye(len(shape.counts), dtype=np.float32)[:, kinds], shape.counts, axis=0)
    first = 1 + len(kinds)
    configs[:, :, 0] = 1
    configs[:, :, 1:first] = roles
    configs[:, :, first : first + len(CONFIG_FEATURES)] = histories.describe(rows, which)
    if advice is not None:
        configs[:, :, first + len(CONFIG_FEATURES) :] = advice
    configs *= is_open[:, :, None]
    if shape.stop:
        # The end of a search is no config.
        configs[:, -shape.stop :, first:] = 0
    return seen
