"""What related tasks say of a config before it was tried here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tuner.agents.base import Source
from tuner.agents.encoding import alignment
from tuner.agents.forest import Forest
from tuner.objective import Objective
from tuner.search_spaces import SearchSpace
from tuner.types import Scalar

__all__ = ["Prior"]

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Row = tuple[int, ...]

# Trees for each source, and the most of its trials that they learn from.
_TREES = 60
_MOST_TRIALS = 1500
# A source of fewer usable trials says too little.
_FEWEST_TRIALS = 5
# The best are looked for among so many configs of the space, drawn at random where it has more.
_POOL = 20_000


class Prior:
    """Says for each source how slow it finds a config, as the logarithm of its time over the source's best.

    Where the source tried that very config, it is what was measured; elsewhere trees over the parameters that both
    tasks have predict it. A failed trial counts as the source's worst.

    Args:
        space: The configs that are asked about.
        objective: How the sources' trials are scored.
        sources: Where the trials come from; those that share no parameter, or tell too little, are left out.
        rng: Where chance comes from.

    Attributes:
        sources: The sources that are used.

    Example:
        >>> from tuner.search_spaces import Parameter
        >>> from tuner.types import Config, Device, Measurement, Status, Task, Trial, Workload
        >>> space = SearchSpace([Parameter.integer("A", 1, 9)])
        >>> took = {a: Measurement(Status.CORRECT, {"seconds": (1.0 + abs(a - 7),)}) for a in range(1, 10)}
        >>> task = Task("mine.py:KERNEL", "1", Workload(), Device("cpu", "other", "x86_64", 1, 0))
        >>> source = Source(task, tuple(Trial(Config(A=a), one) for a, one in took.items()))
        >>> prior = Prior(space, Objective(), [source], np.random.default_rng(0))
        >>> prior(np.array([[6], [8]])).round(2).tolist()
        [[0.0], [1.1]]
        >>> prior.best(2)
        [(6,), (5,)]
    """

    def __init__(
        self, space: SearchSpace, objective: Objective, sources: Sequence[Source], rng: np.random.Generator
    ) -> None:
        self._space = space
        self._rng = rng
        self.sources: list[Source] = []
        self._views: list[_View] = []
        for source in sources:
            if (view := _view(space, objective, source, rng)) is not None:
                self.sources.append(source)
                self._views.append(view)

    def __len__(self) -> int:
        return len(self._views)

    def __call__(self, rows: Rows) -> Floats:
        """Return what each source says of configs, given by their index vectors; (rows, sources)."""
        return np.column_stack([view(rows) for view in self._views])

    def best(self, count: int) -> list[Row]:
        """Return the configs that the sources find best on average, the very best first."""
        rows = self._space.draw(self._rng, _POOL)
        known = {row for view in self._views for row in view.ranked[:count]}
        rows = np.unique(np.vstack((rows, np.array(sorted(known), dtype=np.int64).reshape(-1, rows.shape[1]))), axis=0)
        order = np.argsort(self(rows).mean(axis=1), kind="stable")[:count]
        return list(map(tuple, rows[order].tolist()))

    def best_of_each(self) -> list[Row]:
        """Return for each source the best config that it measured and that is valid here; none where none is."""
        return [view.ranked[0] for view in self._views if view.ranked]


class _View:
    """One source, seen from another space.

    Args:
        tables: For each shared parameter its axis in the space, and the columns of each of its values there.
        forest: What predicts the source's logarithms from these columns.
        known: What was measured of configs of the space.
    """

    def __init__(self, tables: Sequence[tuple[int, Floats]], forest: Forest, known: Mapping[Row, float]) -> None:
        self._tables = tables
        self._forest = forest
        self._known = known
        self.ranked = sorted(known, key=lambda row: known[row])

    def __call__(self, rows: Rows) -> Floats:
        columns = np.concatenate([table[rows[:, axis]] for axis, table in self._tables], axis=1)
        predicted = self._forest.predict(columns)
        if self._known:
            for i, row in enumerate(map(tuple, rows.tolist())):
                if row in self._known:
                    predicted[i] = self._known[row]
        return predicted


def _view(space: SearchSpace, objective: Objective, source: Source, rng: np.random.Generator) -> _View | None:
    trials = source.trials
    logs = np.array([objective.log_score(trial) for trial in trials])
    works = np.isfinite(logs)
    if works.sum() < _FEWEST_TRIALS:
        return None
    logs = np.where(works, logs, logs[works].max()) - logs[works].min()
    tables: list[tuple[int, Floats]] = []
    inputs: list[Floats] = []
    for axis, parameter in enumerate(space.parameters):
        there = [trial.config.get(parameter.name) for trial in trials]
        if len(parameter.values) > 1 and None not in there:
            columns = _columns([*parameter.values, *(value for value in there if value is not None)])
            tables.append((axis, columns[: len(parameter.values)]))
            inputs.append(columns[len(parameter.values) :])
    if not tables:
        return None
    chosen = _chosen(logs, rng)
    forest = Forest.fit(np.concatenate(inputs, axis=1)[chosen], logs[chosen], rng, trees=_TREES, tried=len(tables) * 2)
    known = {
        tuple(space.encode(trial.config).tolist()): log
        for trial, log in zip(trials, logs.tolist(), strict=True)
        if space.contains(trial.config)
    }
    return _View(tables, forest, known)


def _columns(values: Sequence[Scalar]) -> Floats:
    """Return numbers as they are, with their alignment; else one column for each different value."""
    if all(isinstance(value, int | float) for value in values):
        return np.array([(float(value), alignment(value)) for value in values])
    texts = [repr(value) for value in values]
    return np.array([[float(text == other) for other in sorted(set(texts))] for text in texts])


def _chosen(logs: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which trials to learn from: the best tell most, and there are few of them."""
    everything = np.arange(len(logs))
    if len(logs) <= _MOST_TRIALS:
        return everything
    best = np.argsort(logs, kind="stable")[: _MOST_TRIALS // 3]
    rest = rng.permutation(np.setdiff1d(everything, best))[: _MOST_TRIALS - len(best)]
    return np.sort(np.concatenate((best, rest)))
