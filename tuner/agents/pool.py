"""The configs of a space that were not proposed yet, a few at a time: what surrogates choose from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from tuner.search_spaces import SearchSpace
from tuner.types import Config

__all__ = ["Pool", "index_vectors"]

Row = tuple[int, ...]
Rows = NDArray[np.int64]


def index_vectors(rows: Sequence[Row]) -> Rows:
    """Return rows, one at least, as one array; several times quicker than numpy finds out what they are."""
    width = len(rows[0])
    return np.fromiter(chain.from_iterable(rows), np.int64, len(rows) * width).reshape(-1, width)


class Pool:
    """Hands out index vectors of configs that were not taken.

    Args:
        space: The configs.
        rng: Where chance comes from.

    Example:
        >>> from tuner.search_spaces import Parameter
        >>> space = SearchSpace([Parameter.integer("A", 1, 3), Parameter.boolean("B")])
        >>> pool = Pool(space, np.random.default_rng(0))
        >>> pool.take((0, 0))
        >>> len(pool.random(10)), sorted(pool.near([(0, 0)]))
        (5, [(0, 1), (1, 0), (2, 0)])
    """

    def __init__(self, space: SearchSpace, rng: np.random.Generator) -> None:
        self._space = space
        self._rng = rng
        self._taken: set[Row] = set()
        self._neighbours: dict[Row, list[Row]] = {}

    def __contains__(self, row: Row) -> bool:
        return row not in self._taken

    def take(self, row: Row) -> None:
        """Do not hand out `row` any more."""
        self._taken.add(row)

    def row(self, config: Config) -> Row:
        """Return the index vector of a config."""
        return tuple(self._space.encode(config).tolist())

    def random(self, count: int) -> list[Row]:
        """Return up to `count` rows, uniform over what is left; none only if nothing is left."""
        rows = self._left(self._space.draw(self._rng, count))
        if rows:
            return rows
        left = self._left(self._space.table)
        return [left[i] for i in self._rng.permutation(len(left))[:count]]

    def near(self, rows: list[Row]) -> list[Row]:
        """Return what is left of the configs that differ from one of `rows` in one parameter, each once."""
        found: dict[Row, None] = {}
        for row in rows:
            found.update(dict.fromkeys(one for one in self._around(row) if one not in self._taken))
        return list(found)

    def _left(self, rows: Rows) -> list[Row]:
        return [row for row in map(tuple, rows.tolist()) if row not in self._taken]

    def _around(self, row: Row) -> list[Row]:
        if row not in self._neighbours:
            self._neighbours[row] = self._space.near(row)
        return self._neighbours[row]
