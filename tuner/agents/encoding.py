"""Configs as numbers: what surrogates see of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.search_spaces import Parameter, SearchSpace

__all__ = ["Encoding", "alignment"]

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

# Two different values of an unordered parameter are as far apart as the ends of an ordered one.
_ONE_HOT = 1 / np.sqrt(2)
# Beyond 2^7 bytes, a cache line, alignment gains nothing more.
_MOST_ALIGNMENT = 7


class Encoding:
    """Turns index vectors of a space into columns between 0 and 1.

    An ordered parameter, or one of two values, is one column, index / (values - 1); any other is one column for each
    value. Where the values of an ordered parameter are integers of mixed alignment, such as 16, 32, 48 and 64, how
    often 2 divides them is a column of its own: hardware cares for it, and it jumps from one value to the next. A
    parameter of one value is no column.

    Args:
        space: Whose configs.

    Attributes:
        owners: For each column, which feature it belongs to; (columns,).
        groups: How many features there are.

    Example:
        >>> space = SearchSpace([Parameter.integer("A", 1, 3), Parameter.categorical("B", ("x", "y", "z"))])
        >>> Encoding(space)(np.array([[1, 2]])).round(2).tolist()
        [[0.5, 1.0, 0.0, 0.0, 0.71]]
    """

    def __init__(self, space: SearchSpace) -> None:
        owners: list[int] = []
        self._tables: list[tuple[int, Floats]] = []
        for axis, parameter in enumerate(space.parameters):
            for table in _features(parameter):
                group = owners[-1] + 1 if owners else 0
                owners += [group] * table.shape[1]
                self._tables.append((axis, table))
        self.owners = np.array(owners, dtype=np.int64)
        self.groups = len(self._tables)

    def __call__(self, rows: Rows) -> Floats:
        """Return the columns of index vectors; (rows, columns)."""
        if not self._tables:
            return np.empty((len(rows), 0))
        return np.concatenate([table[rows[:, axis]] for axis, table in self._tables], axis=1)


def _features(parameter: Parameter) -> list[Floats]:
    """Return a table for each feature of a parameter; (values, columns)."""
    count = len(parameter.values)
    if count < 2:
        return []
    if not parameter.ordered and count > 2:
        return [_ONE_HOT * np.eye(count)]
    features = [np.linspace(0, 1, count)[:, None]]
    alignments = np.array([alignment(value) for value in parameter.values])
    steps = np.diff(alignments)
    if (steps > 0).any() and (steps < 0).any():
        features.append((alignments / alignments.max())[:, None])
    return features


def alignment(value: object) -> int:
    """Return how often 2 divides an integer, up to a limit; 0 for everything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value == 0:
        return 0
    return min((value & -value).bit_length() - 1, _MOST_ALIGNMENT)
