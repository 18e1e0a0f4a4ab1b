"""A recorded space as arrays, and random ones that are like them: what replay environments step through."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.agents import Source
from tuner.db.kernel_tuner import RecordedSpace
from tuner.objective import Objective
from tuner.search_spaces import Parameter, SearchSpace
from tuner.types import Device, Measurement, Status, Task, Trial, Workload

__all__ = ["Landscape"]

Integers = NDArray[np.int64]

# What a random space is made of: the numbers of values that tile sizes, unrolls and switches have.
_CARDS = (2, 2, 2, 3, 3, 4, 4, 5, 6, 8, 11, 16)
_FEWEST_PARAMETERS, _MOST_PARAMETERS = 4, 12
_MOST_COMBINATIONS = 200_000
_MOST_CONFIGS = 6000
# The share of combinations that constraints leave, and of configs that fail.
_VALID = (0.05, 0.9)
_FAILING = (0.0, 0.3)
# log(slowest / fastest) of a random space.
_SPREAD = (0.8, 4.0)


@dataclass(frozen=True, slots=True, eq=False)
class Landscape:
    """All configs of a space with their scores, and which of them are neighbours.

    Attributes:
        name: The space's name.
        kernel: The kernel's name: what leave-one-kernel-out leaves out.
        device: The device's name.
        space: The parameters; which of their combinations are configs is told by `rows`.
        rows: The configs' index vectors, (configs, parameters), in lexicographic order.
        logs: Logarithm of each config's score; NaN where it failed.
        neighbours: For each config the positions of those that differ in one parameter, filled up with -1.

    Example:
        >>> landscape = Landscape.random(np.random.default_rng(0))
        >>> bool(landscape.logs[landscape.best] == np.nanmin(landscape.logs))
        True
    """

    name: str
    kernel: str
    device: str
    space: SearchSpace
    rows: Integers
    logs: NDArray[np.float64]
    neighbours: NDArray[np.int32]

    @classmethod
    def of(cls, recorded: RecordedSpace, objective: Objective = Objective()) -> Landscape:
        """Return the landscape of a recorded space."""
        space = recorded.space
        configs = list(recorded.measurements)
        rows = space.encode_many(configs)
        scores = np.array([objective.score(Trial(c, recorded.measurements[c])) for c in configs])
        return cls.made(recorded.name, recorded.kernel, recorded.device, space.parameters, rows, scores)

    @classmethod
    def random(cls, rng: np.random.Generator, name: str = "random") -> Landscape:
        """Return a random space: smooth effects of some parameters, interactions of two and three, cliffs and failures.

        The logarithm of the time is a sum of random cosines, each over one to three parameters, so that it is a draw
        of an additive Gaussian process (random Fourier features: Rahimi and Recht, NeurIPS 2007). Isolated optima are
        made by a bonus to the configs that have certain values of two or three parameters.
        """
        while True:
            cards = _random_cards(rng)
            ordered = (cards > 2) & (rng.random(len(cards)) < 0.85)
            rows = _valid_rows(rng, cards)
            if len(rows) >= 200:
                break
        logs = _random_logs(rng, rows, cards, ordered)
        logs[_random_failures(rng, rows, cards)] = np.nan
        if not np.isfinite(logs).any():
            return cls.random(rng, name)
        parameters = [
            Parameter(f"P{axis}", tuple(range(card)), ordered=is_ordered)
            for axis, (card, is_ordered) in enumerate(zip(cards.tolist(), ordered.tolist(), strict=True))
        ]
        return cls.made(name, name, "random", parameters, rows, np.exp(logs))

    @classmethod
    def made(
        cls,
        name: str,
        kernel: str,
        device: str,
        parameters: Sequence[Parameter],
        rows: Integers,
        scores: NDArray[np.float64],
    ) -> Landscape:
        """Return the landscape of configs with these scores, which are not finite where they failed."""
        order = np.lexsort(rows.T[::-1])
        rows, scores = rows[order], scores[order]
        usable = np.isfinite(scores) & (scores > 0)
        logs = np.where(usable, np.log(np.where(usable, scores, 1.0)), np.nan)
        space = SearchSpace(parameters)
        return cls(name, kernel, device, space, rows, logs, _neighbours(rows, np.array(space.shape, dtype=np.int64)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def digest(self) -> str:
        """Identifies the configs and their scores."""
        content = hashlib.sha256(self.rows.astype("<i8").tobytes())
        content.update(self.logs.astype("<f8").tobytes())
        return content.hexdigest()[:16]

    @property
    def best(self) -> int:
        """The position of the best config."""
        return int(np.nanargmin(self.logs))

    def recorded(self) -> RecordedSpace:
        """Return the landscape as a recorded space."""
        measurements = {trial.config: trial.measurement for trial in self._trials(np.arange(len(self)))}
        space = SearchSpace.from_configs(self.space.parameters, list(measurements))
        return RecordedSpace(self.name, self.kernel, self.device, space, measurements, self._task)

    def source(self, rng: np.random.Generator, records: int) -> Source:
        """Return so many random records, failures included, as what is known of a related task."""
        places = rng.permutation(len(self))[:records]
        return Source(self._task, tuple(self._trials(places)))

    def relative(self, rng: np.random.Generator, share: float) -> Landscape:
        """Return the same configs on another device, as it were: a share of another random space's effects.

        Args:
            rng: Where chance comes from.
            share: 0 for the same scores but for their noise, 1 for scores that tell nothing of these.
        """
        cards = np.array(self.space.shape, dtype=np.int64)
        ordered = np.array([parameter.ordered for parameter in self.space.parameters])
        other = _random_logs(rng, self.rows, cards, ordered)
        own = self.logs - np.nanmin(self.logs)
        other = (other - other.min()) * np.nanmax(own) / max(np.ptp(other), 1e-9)
        logs = (1 - share) * own + share * other
        return Landscape(
            self.name, self.kernel, f"{self.device}-relative", self.space, self.rows, logs, self.neighbours
        )

    @property
    def _task(self) -> Task:
        return Task(self.kernel, "", Workload(), Device("recorded", self.device, "", 1, 0))

    def _trials(self, places: Integers) -> Iterator[Trial]:
        for row, log in zip(self.rows[places].tolist(), self.logs[places].tolist(), strict=True):
            yield Trial(
                self.space.decode(row),
                Measurement(Status.CORRECT, {"seconds": (float(np.exp(log)),)})
                if np.isfinite(log)
                else Measurement(Status.RUNTIME, error="it fails in this recorded space"),
            )


def _neighbours(rows: Integers, cards: Integers) -> NDArray[np.int32]:
    """Return for each row the positions of the rows that differ in one index; `rows` are in lexicographic order."""
    # The number of a row in the product of all values: exact in 64 bits up to 9e18 combinations.
    strides = np.concatenate([np.cumprod(cards[::-1])[::-1][1:], [1]]).astype(np.int64)
    keys = rows @ strides
    columns = []
    for axis, card in enumerate(cards.tolist()):
        for change in range(1, card):
            moved = (rows[:, axis] + change) % card
            wanted = keys + (moved - rows[:, axis]) * strides[axis]
            places = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
            columns.append(np.where(keys[places] == wanted, places, -1))
    table = np.stack(columns, axis=1) if columns else np.full((len(rows), 1), -1)
    # Those that there are come first, so that the table is no wider than it has to be.
    table = -np.sort(-table, axis=1)
    widest = max(1, int((table >= 0).sum(axis=1).max()))
    return table[:, :widest].astype(np.int32)


def _random_cards(rng: np.random.Generator) -> Integers:
    cards = rng.choice(_CARDS, size=rng.integers(_FEWEST_PARAMETERS, _MOST_PARAMETERS + 1))
    # Too many combinations could only be thinned out at random, which leaves no neighbours.
    while np.prod(cards) > _MOST_COMBINATIONS:
        cards[cards.argmax()] -= 1
    return cards.astype(np.int64)


def _valid_rows(rng: np.random.Generator, cards: Integers) -> Integers:
    """Return the rows that random bounds on sums of two parameters leave, and not too many of them."""
    total = int(np.prod(cards))
    rows = np.stack(np.unravel_index(np.arange(total), tuple(cards.tolist())), axis=1)
    wanted = min(_MOST_CONFIGS, int(rng.uniform(*_VALID) * total))
    while len(rows) > max(wanted, 400):
        one, other = rng.choice(len(cards), size=2, replace=False)
        load = rows[:, one] / (cards[one] - 1) + rows[:, other] / (cards[other] - 1)
        keeps = load <= rng.uniform(0.8, 1.9)
        if keeps.mean() > 0.95:
            # Bounds that no longer bind: leave out a value of one parameter instead.
            keeps = rows[:, one] != rng.integers(cards[one])
        if keeps.sum() < 400:
            break
        rows = rows[keeps]
    return rows.astype(np.int64)


def _places(
    rng: np.random.Generator, rows: Integers, cards: Integers, ordered: Sequence[bool] | NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return rows as places in the unit cube; the values of unordered parameters lie in a random order."""
    columns = []
    for axis, card in enumerate(cards.tolist()):
        scale = np.arange(card) / max(card - 1, 1)
        # Powers of two and the like: equal steps of index are not equal steps of effect.
        scale = scale ** rng.uniform(0.5, 2.0)
        columns.append((scale if ordered[axis] else rng.permutation(scale))[rows[:, axis]])
    return np.stack(columns, axis=1)


def _random_logs(
    rng: np.random.Generator, rows: Integers, cards: Integers, ordered: NDArray[np.bool_]
) -> NDArray[np.float64]:
    places = _places(rng, rows, cards, ordered)
    # A few parameters matter, most hardly do.
    weight = rng.dirichlet(np.full(len(cards), 0.7))
    logs = np.zeros(len(rows))
    for width, share, terms in ((1, 1.0, 24), (2, rng.uniform(0.3, 1.2), 32), (3, rng.uniform(0.0, 0.8), 32)):
        part = np.zeros(len(rows))
        for _ in range(terms):
            axes = rng.choice(
                len(cards), size=min(width, len(cards)), replace=False, p=(weight + 0.02) / (weight + 0.02).sum()
            )
            frequency = rng.normal(size=len(axes)) * rng.uniform(0.5, 4.0)
            part += (
                rng.normal()
                * np.sqrt(weight[axes].mean())
                * np.cos(places[:, axes] @ frequency + rng.uniform(0, 2 * np.pi))
            )
        logs += share * part / max(part.std(), 1e-9)
    for _ in range(rng.integers(0, 4)):
        axes = rng.choice(len(cards), size=min(int(rng.integers(2, 4)), len(cards)), replace=False)
        inside = (rows[:, axes] == rows[rng.integers(len(rows)), axes]).all(axis=1)
        logs -= inside * rng.exponential(1.0)
    logs = (logs - logs.min()) / max(np.ptp(logs), 1e-9)
    # Slow configs are much slower, fast ones are close together, more or less.
    logs = logs ** rng.uniform(0.6, 1.6) * rng.uniform(*_SPREAD)
    noise: NDArray[np.float64] = logs + rng.normal(scale=rng.uniform(0.001, 0.03), size=len(rows))
    return noise


def _random_failures(rng: np.random.Generator, rows: Integers, cards: Integers) -> NDArray[np.bool_]:
    """Return which configs fail: those beyond a random bound on a sum of parameters, as registers or memory run out."""
    share = rng.uniform(*_FAILING) * (rng.random() < 0.6)
    load = (rows / np.maximum(cards - 1, 1)) @ (rng.exponential(size=len(cards)) * (rng.random(len(cards)) < 0.4))
    failing: NDArray[np.bool_] = load > np.quantile(load, 1 - share) if share else np.zeros(len(rows), dtype=np.bool_)
    return failing
