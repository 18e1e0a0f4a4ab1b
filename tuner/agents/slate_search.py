"""One search by slates: what a policy's agent and environments share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tuner.agents.advice import Advisor
from tuner.agents.history import MOST_ELITES, Histories, cards_of
from tuner.agents.informant import Informant
from tuner.agents.pool import Row
from tuner.agents.slate import SlateShape, observe
from tuner.search_spaces import SearchSpace

__all__ = ["STOP", "Slate", "SlateSearch", "Untried"]

STOP: Row = ()
"""What stands on a slate for the end of the search."""

# Fewer trials than this are no search that one could stop.
_FEWEST_TO_STOP = 8

# What is advised: neighbours of so many of the best configs, and so many random ones.
_TOP = 5
_RANDOM = 300


class Untried(Protocol):
    """The configs of a space that were not taken, as index vectors; `Pool` is one."""

    def take(self, row: Row) -> None:
        """Do not hand out `row` any more."""

    def random(self, count: int) -> list[Row]:
        """Return up to `count` rows, uniform over what is left; none only if nothing is left."""

    def near(self, rows: list[Row]) -> list[Row]:
        """Return what is left of the neighbours of `rows`, each once."""


@dataclass(frozen=True, slots=True, eq=False)
class Slate:
    """Configs to choose from, with what a policy sees of them.

    Attributes:
        rows: Their index vectors; None in a place that is not open, `STOP` where the search would end.
        is_open: Which places may be chosen.
        observation: What `tuner.agents.slate.observe` returns for them, (length,).
    """

    rows: Sequence[Row | None]
    is_open: NDArray[np.bool_]
    observation: NDArray[np.float32]

    def chosen(self, place: int) -> Row | None:
        """Return the config at `place`, the first that is open where that one is not, None where none is."""
        if not self.is_open.any():
            return None
        return self.rows[place if self.is_open[place] else int(self.is_open.argmax())]


class SlateSearch:
    """Keeps what was tried in a space, and draws slates of what was not.

    Args:
        space: The parameters; which configs are valid is known by `untried`.
        shape: What a slate holds.
        untried: What is left to try.
        rng: What draws.
        budget: Trials that the search is to make, as far as is known.
        size: The number of configs, as far as is known.
        informant: What other tasks say of the configs; None where there are none.

    Attributes:
        history: What was told.
    """

    def __init__(
        self,
        space: SearchSpace,
        shape: SlateShape,
        untried: Untried,
        rng: np.random.Generator,
        *,
        budget: int,
        size: int,
        informant: Informant | None = None,
    ) -> None:
        self.shape = shape
        self.untried = untried
        self.history = Histories(1, len(space.names), max(space.shape))
        self._rng = rng
        self._informant = informant if shape.asks_others else None
        self._advisor = (
            Advisor(space, rng, asks_others=shape.asks_others, informant=informant) if shape.advised else None
        )
        # The prior's best are always looked at, where this search is not an imagined one.
        self._looks_up = True
        self._rows: list[Row] = []
        self._logs: list[float] = []
        self._pending: list[Row] = []
        cards, ordered = cards_of(space)
        self.history.restart([0], cards=cards[None], ordered=ordered[None], sizes=[size], budgets=[max(budget, 1)])

    @property
    def known(self) -> int:
        """How many configs were tried or are being tried."""
        return len(self._rows) + len(self._pending)

    def take(self, row: Row) -> None:
        """Say that a config is being tried; it will not be offered again."""
        self.untried.take(row)
        self._pending.append(row)

    def tell(self, row: Row, log: float) -> None:
        """Learn the logarithm of the score of a config of the space, not finite where it failed."""
        if row in self._pending:
            self._pending.remove(row)
        else:
            self.untried.take(row)
        tag = np.array([len(self._rows)])
        self._rows.append(row)
        self._logs.append(log if math.isfinite(log) else math.inf)
        self.history.add([0], np.array([row]), np.array([log]), tag)

    def fork(self, untried: Untried, budget: int) -> SlateSearch:
        """Return a search that goes on from here by itself, with other configs left; nothing is pending there.

        Args:
            untried: What is left to try there.
            budget: Trials that it is to make in all.
        """
        other = copy(self)
        other.untried = untried
        other.history = self.history.fork(budget)
        other._advisor = self._advisor and self._advisor.fork()
        other._looks_up = False
        other._rows, other._logs, other._pending = [*self._rows], [*self._logs], []
        return other

    @property
    def told(self) -> tuple[Sequence[Row], Sequence[float]]:
        """The configs that were tried, and the logarithms of their scores, infinite where they failed."""
        return self._rows, self._logs

    def imagine(self, asked: Sequence[Row], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what models of the scores find likely of untried configs, as `Advisor.imagine` does.

        Only of an advised search, after a slate was drawn by advice.
        """
        assert self._advisor is not None, "without advice there is no model to imagine by"
        return self._advisor.imagine(asked, count)

    @property
    def leaders(self) -> list[Row]:
        """The best configs so far, the very best first."""
        order = np.argsort(self._logs, kind="stable")[:_TOP]
        return [self._rows[i] for i in order if math.isfinite(self._logs[i])]

    def first(self) -> Row | None:
        """Return what to try before there is anything to go by: what other tasks find best, or something at random."""
        known = {*self._rows, *self._pending}
        others = self._informant.first if self._informant else []
        found = next((row for row in others if row not in known), None)
        return found if found is not None else next(iter(self.untried.random(1)), None)

    def draw(self) -> Slate:
        """Return a new slate; nothing on it is open only when the whole space is known."""
        if self._advisor and math.isfinite(self.history.best[0]):
            return self._advised(self._advisor)
        shape = self.shape
        random = self.untried.random(shape.random)
        near = self._shuffled(self._elite(0))[: shape.near_best]
        others = self._shuffled(self._elite(int(self._rng.integers(1, MOST_ELITES))))[: shape.near_elite]
        return self._slate([near, others, random], {}, None)

    def _advised(self, advisor: Advisor) -> Slate:
        near = self.untried.near(self.leaders)
        asked = list(dict.fromkeys([*near, *self._best_of_others(), *self.untried.random(_RANDOM)]))
        if not asked:
            return self._slate([], {}, None)
        advice = advisor.advise(self._rows, self._logs, self._pending, asked, len(near), self.untried.near)
        rows = advice.rows
        shape = self.shape
        rankings = {
            "improvement": (-advice.improvement, shape.improvement),
            "likelihood": (-advice.likelihood, shape.likelihood),
            "mean": (advice.mean, shape.mean),
            "bound": (advice.bound, shape.bound),
            "informed": (None if advice.informed is None else -advice.informed, shape.informed),
            "prior": (advice.prior, shape.prior),
            "restart": (advice.restart, shape.restart),
            "random": (self._rng.random(len(rows)), shape.random),
        }
        taken: dict[int, None] = {}
        groups: dict[str, list[Row]] = {}
        for name, (ranking, count) in rankings.items():
            groups[name] = []
            if ranking is not None and count:
                order = np.argsort(ranking, kind="stable")[: count + len(taken)].tolist()
                best = [i for i in order if i not in taken and ranking[i] < math.inf][:count]
                taken.update(dict.fromkeys(best))
                groups[name] = [rows[i] for i in best]
        stop = [STOP] if shape.stop and len(self._rows) >= _FEWEST_TO_STOP else []
        near_best = self._shuffled(self._elite(0))[: self.shape.near_best]
        near_elite = self._shuffled(self._elite(1))[: self.shape.near_elite]
        features = dict(zip(rows, advice.features, strict=True))
        own = ("random", "improvement", "likelihood", "mean", "bound", "informed", "prior", "restart")
        return self._slate([near_best, near_elite, *(groups[name] for name in own), stop], features, advice.search)

    def _best_of_others(self) -> list[Row]:
        """Return the configs that other tasks find best and that were not tried."""
        if self._informant is None or not self._looks_up:
            return []
        known = {*self._rows, *self._pending}
        return [row for row in self._informant.best if row not in known]

    def _slate(
        self,
        groups: Sequence[Sequence[Row]],
        features: dict[Row, NDArray[np.float32]],
        search: NDArray[np.float32] | None,
    ) -> Slate:
        shape = self.shape
        rows: list[Row | None] = []
        given = [*groups, *[()] * (len(shape.counts) - len(groups))]
        for group, count in zip(given, shape.counts, strict=True):
            rows += [*group[:count], *[None] * (count - len(group))]
        is_open = np.array([row is not None for row in rows])
        empty = (0,) * self.history.elite_rows.shape[2]
        indices = np.array([row or empty for row in rows])
        advice = None
        if features:
            nothing = np.zeros(len(shape.advice_names), dtype=np.float32)
            advice = np.stack([nothing if row is None else features.get(row, nothing) for row in rows])[None]
        seen = observe(
            shape, self.history, indices[None], is_open[None], advice, None if search is None else search[None]
        )
        return Slate(rows, is_open, seen[0])

    def _elite(self, rank: int) -> Row | None:
        """Return the best config, or, for other ranks, one of the other four best; the best where there are fewer."""
        best = int(self.history.elite_logs[0].argmin())
        tags = self.history.elite_tags[0]
        tag = tags[(best + rank) % MOST_ELITES]
        tag = tags[best] if tag < 0 else tag
        return self._rows[tag] if tag >= 0 else None

    def _shuffled(self, row: Row | None) -> list[Row]:
        """Return the untried neighbours of `row` in random order."""
        near = [] if row is None else self.untried.near([row])
        return [near[i] for i in self._rng.permutation(len(near))]
