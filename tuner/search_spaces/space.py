"""The search space: which configs there are, and every question an agent asks about them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tuner.errors import SpaceError
from tuner.search_spaces.component import Component, ListedComponent, components
from tuner.search_spaces.constraint import Constraint
from tuner.search_spaces.nearest import ascending, combined
from tuner.search_spaces.parameter import Parameter
from tuner.search_spaces.rank import places
from tuner.search_spaces.rule import truth_table
from tuner.search_spaces.wide import WideComponent
from tuner.types import Config, Scalar, canonical_json, digest

__all__ = ["SearchSpace"]

Row = tuple[int, ...]

# `table` holds up to so many configs; beyond, iterate or sample.
MOST_TABLE_ROWS = 5_000_000
# `nearest` scans the table of a space of up to so many configs: about a millisecond.
MOST_ROWS_SCANNED = 50_000
# Configs are made in blocks of so many rows: enough for numpy to be quick, few enough to start at once.
BLOCK = 4096
# Up to so many joint values, a constraint enters the fingerprint by its truth table, else by its text, or by the
# truth at so many places.
LARGEST_FINGERPRINT_TABLE = 2**18
FINGERPRINT_PLACES = 4096
# An odd number near 2^64 divided by the golden ratio: its multiples spread evenly (Knuth's multiplicative hashing).
STRIDE = 0x9E3779B97F4A7C15


class SearchSpace:
    """The configs that give each parameter one of its values and meet every constraint.

    A space is immutable, and lazy: constructing one checks the default config only, and `contains`, `violated` and
    `neighbours` look at single configs. Parameters that no constraint connects are independent, so that a space of
    10^12 configs is counted, sampled and searched through its parts.

    Args:
        parameters: At least one, their names distinct.
        constraints: What must hold between them.

    Raises:
        SpaceError: names clash, a constraint reads an unknown parameter, or the default config is not valid.

    Example:
        >>> space = SearchSpace(
        ...     [Parameter.powers_of_two("BLOCK", 16, 128), Parameter.integer("WARPS", 1, 4)],
        ...     [Constraint.parse("BLOCK >= 32 * WARPS", "every warp needs 32 elements")],
        ... )
        Traceback (most recent call last):
        tuner.errors.SpaceError: the default config is not valid: every warp needs 32 elements (BLOCK=16, WARPS=1)
        >>> space = SearchSpace(
        ...     [Parameter.powers_of_two("BLOCK", 16, 128, default=64), Parameter.integer("WARPS", 1, 4)],
        ...     [Constraint.parse("BLOCK >= 32 * WARPS", "every warp needs 32 elements")],
        ... )
        >>> space.size, space.product_size
        (7, 16)
        >>> Config(BLOCK=64, WARPS=4) in space
        False
        >>> space.nearest([2, 3])
        Config(BLOCK=128, WARPS=4)
    """

    def __init__(self, parameters: Sequence[Parameter], constraints: Sequence[Constraint] = ()) -> None:
        self._assemble(parameters, constraints)
        default = {parameter.name: parameter.default for parameter in self._parameters}
        self._default = Config.trusted(default)
        broken = self._broken(default)
        if broken is not None:
            raise SpaceError(f"the default config is not valid: {broken}")

    def _assemble(self, parameters: Sequence[Parameter], constraints: Sequence[Constraint]) -> None:
        """Set all but the default."""
        self._parameters = tuple(parameters)
        self._constraints = tuple(constraints)
        self._axis = {parameter.name: axis for axis, parameter in enumerate(self._parameters)}
        self._listed: ListedComponent | None = None
        if not self._parameters:
            raise SpaceError("a search space needs a parameter; give it one or more")
        if len(self._axis) < len(self._parameters):
            names = [parameter.name for parameter in self._parameters]
            twice = next(name for name in names if names.count(name) > 1)
            raise SpaceError(f"two parameters are called {twice!r}; give each its own name")
        activations = [parameter.activation for parameter in self._parameters if parameter.when is not None]
        self._rules = (*(rule for rule in activations if rule), *self._constraints)
        for rule in self._rules:
            if not self._axis.keys() >= set(rule.parameters):
                unknown = next(name for name in rule.parameters if name not in self._axis)
                raise SpaceError(
                    f"the constraint ({rule.reason}) reads {unknown!r}, which is no parameter of this space; "
                    f"there are {', '.join(self.names)}"
                )

    @classmethod
    def anchored(cls, parameters: Sequence[Parameter], constraints: Sequence[Constraint] = ()) -> Self:
        """Return the space, its default the first valid config where that of the parameters is not valid.

        For spaces that others wrote down, who may have no defaults.

        Raises:
            SpaceError: names clash, a constraint reads an unknown parameter, or no config is valid.

        Example:
            >>> parameters = [Parameter("BLOCK", (16, 32, 64)), Parameter("WARPS", (1, 2))]
            >>> SearchSpace.anchored(parameters, [Constraint.parse("BLOCK >= 32 * WARPS")]).default
            Config(BLOCK=32, WARPS=1)
        """
        space = cls.__new__(cls)
        space._assemble(parameters, constraints)
        default = Config({parameter.name: parameter.default for parameter in parameters})
        if space._broken(default) is not None:
            first = next(space.iterate(), None)
            if first is None:
                raise SpaceError("no config is valid: the constraints contradict each other")
            default = first
        moved = [Parameter(one.name, one.values, default[one.name], one.ordered, one.when) for one in parameters]
        return cls(moved, constraints)

    @classmethod
    def from_configs(cls, parameters: Sequence[Parameter], configs: Sequence[Mapping[str, Scalar]]) -> Self:
        """Return the space whose valid configs are exactly `configs`, such as those of a recorded tuning run.

        Their order does not matter but for the default config: where that of the parameters is not among them, it is
        the first one. A config that stands twice counts once.

        Raises:
            SpaceError: there is no config, one is not made of the parameters' values, or a parameter has a condition.
        """
        space = cls([_unconditional(parameter) for parameter in parameters])
        if not configs:
            raise SpaceError("a search space needs a config; give it one or more")
        rows = space.encode_many(configs)
        table = np.unique(rows, axis=0).astype(np.min_scalar_type(max(space.shape)))
        space._listed = ListedComponent(tuple(range(len(space.parameters))), table)
        if not space.contains(space.default):
            space._default = space.decode(rows[0])
        return space

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in the order of `shape` and of index vectors."""
        return self._parameters

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """The constraints as given; those that conditional parameters imply are not among them."""
        return self._constraints

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return tuple(self._axis)

    @property
    def default(self) -> Config:
        """The config of the parameters' defaults; it is valid."""
        return self._default

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of values of each parameter."""
        return tuple(len(parameter) for parameter in self._parameters)

    @property
    def product_size(self) -> int:
        """The number of combinations of values, valid or not."""
        return math.prod(self.shape)

    @cached_property
    def size(self) -> int:
        """The exact number of valid configs.

        Raises:
            SpaceError: constraints read so much at once that the configs cannot be counted in reasonable time.
        """
        return math.prod(component.count for component in self._components)

    @cached_property
    def table(self) -> NDArray[Any]:
        """The index vectors of all valid configs, (size, parameters), in the order of `iterate`; read-only.

        Raises:
            SpaceError: there are more than five million; iterate or sample instead.
        """
        if self.size > MOST_TABLE_ROWS:
            raise SpaceError(
                f"{self.size} configs are too many for a table, {MOST_TABLE_ROWS} are the most; iterate or sample"
            )
        table = np.concatenate(list(self._blocks(MOST_TABLE_ROWS)))
        table.flags.writeable = False
        return table

    def contains(self, config: Mapping[str, Scalar]) -> bool:
        """Return whether `config` is valid, more quickly than `violated` says why it is not."""
        if len(config) != len(self._parameters):
            return False
        values = dict(config.items())
        for parameter in self._parameters:
            name = parameter.name
            if name not in values or parameter.find(values[name]) is None:
                return False
        if self._listed is not None:
            return self._broken(values) is None
        return all(rule.check(values) for rule in self._rules)

    def violated(self, config: Mapping[str, Scalar]) -> str | None:
        """Return the first reason why `config` is not valid, with the values that matter; None where it is valid."""
        malformed = self._malformed(config)
        return malformed if malformed is not None else self._broken(dict(config.items()))

    def require(self, config: Mapping[str, Scalar]) -> None:
        """Do nothing where `config` is valid.

        Raises:
            SpaceError: it is not; the message is what `violated` returns.
        """
        reason = self.violated(config)
        if reason is not None:
            raise SpaceError(reason)

    def iterate(self) -> Iterator[Config]:
        """Yield every valid config once, in an order that depends on nothing but the space."""
        for block in self._blocks(BLOCK):
            for row in block.tolist():
                yield self._config(row)

    def __iter__(self) -> Iterator[Config]:
        return self.iterate()

    def __contains__(self, config: object) -> bool:
        return isinstance(config, Mapping) and self.contains(config)

    def __repr__(self) -> str:
        return f"<SearchSpace of {', '.join(self.names)}: {self.product_size} combinations>"

    def sample(self, rng: np.random.Generator, count: int) -> list[Config]:
        """Return `count` distinct valid configs, uniform over the valid ones; all of them, shuffled, if they are fewer.

        Raises:
            SpaceError: `count` is negative, or valid configs are too rare to be found (see `size`).
        """
        return [self._config(row) for row in self.draw(rng, count).tolist()]

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Return the index vectors of what `sample` returns, quicker; (configs, parameters).

        Raises:
            SpaceError: as `sample`.
        """
        if count < 0:
            raise SpaceError(f"count={count} is negative; ask for 0 configs or more")
        found: dict[Row, None] = {}
        # Where most of the space is asked for, draws would mostly repeat. A space that cannot tell its size is drawn
        # from until it clearly repeats.
        draws_left = 32 * count + 1024 if self._has_wide else 0 if 2 * count >= self.size else math.inf
        while len(found) < count and draws_left > 0:
            # A wide component evaluates a block of proposals whatever it is asked for.
            draws = max(count - len(found), 256 if self._has_wide else 16)
            draws_left -= draws
            rows = np.empty((draws, len(self._parameters)), dtype=np.int64)
            for component in self._components:
                rows[:, component.axes] = component.draw(rng, draws)
            found.update(dict.fromkeys(map(tuple, rows.tolist())))
        if len(found) >= count:
            return np.array(list(found)[:count], dtype=np.int64).reshape(count, len(self._parameters))
        order = rng.permutation(self.size)[:count]
        return self.table[order].astype(np.int64)

    def neighbours(self, config: Mapping[str, Scalar], *, adjacent: bool = False) -> list[Config]:
        """Return the valid configs that differ from `config` in one parameter.

        Where changing it makes conditional parameters inactive, these go back to their defaults.

        Args:
            config: Any config of the parameters' values; it need not be valid.
            adjacent: Let ordered parameters move by one step only.

        Raises:
            SpaceError: `config` is not made of the parameters' values.
        """
        return [self._config(row) for row in self.near(self._row(config), adjacent=adjacent)]

    def near(self, indices: Sequence[int], *, adjacent: bool = False) -> list[tuple[int, ...]]:
        """Return the index vectors of what `neighbours` returns, quicker.

        Args:
            indices: The position of each parameter's value.
            adjacent: As `neighbours`.
        """
        start: Row = tuple(indices)
        found: dict[Row, None] = {}
        for axis, parameter in enumerate(self._parameters):
            here = start[axis]
            around = (here - 1, here + 1) if adjacent and parameter.ordered else range(len(parameter))
            for index in around:
                if index != here and 0 <= index < len(parameter):
                    row = self._settled((*start[:axis], index, *start[axis + 1 :]))
                    if row != start and self._valid(row):
                        found[row] = None
        return list(found)

    def encode(self, config: Mapping[str, Scalar]) -> NDArray[np.int64]:
        """Return the position of each parameter's value among its values; `config` need not meet the constraints.

        Raises:
            SpaceError: a parameter is missing or unknown, or a value is not one of its parameter's.
        """
        return np.array(self._row(config), dtype=np.int64)

    def encode_many(self, configs: Sequence[Mapping[str, Scalar]]) -> NDArray[np.int64]:
        """Return what `encode` returns for each config, as a (configs, parameters) array."""
        rows = [self._row(config) for config in configs]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self._parameters))

    def decode(self, indices: Sequence[int] | NDArray[Any]) -> Config:
        """Return the config at an index vector, valid or not.

        Raises:
            SpaceError: it has another length than the parameters, or an index is out of range.
        """
        return self._config(self._checked(indices))

    def nearest(self, indices: Sequence[int] | NDArray[Any], exclude: Collection[Config] = ()) -> Config | None:
        """Return the valid config nearest to an index vector, so that an optimiser's invalid proposal can be used.

        The distance is the sum over the parameters of |difference of index| / (values - 1) for ordered ones, and of 0
        or 1 for others. Among equals, the same one is returned each time. Where constraints read so much at once that
        the space cannot tell its size, it is the nearest of a few hundred drawn and improved ones.

        Args:
            indices: The position of each parameter's value.
            exclude: Configs not to return.

        Returns:
            The config; None where `exclude` leaves none.

        Raises:
            SpaceError: the index vector has another length than the parameters, or an index is out of range.
        """
        costs = [
            _distances(parameter, index)
            for parameter, index in zip(self._parameters, self._checked(indices), strict=True)
        ]
        taken = {config.json for config in exclude}
        for row in self._by_distance(costs):
            if not taken or self._json(row) not in taken:
                return self._config(row)
        return None

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back.

        Raises:
            SpaceError: a constraint or a condition is a Python function.
        """
        data: dict[str, Any] = {"parameters": [parameter.to_json() for parameter in self._parameters]}
        if self._listed is None:
            return {**data, "constraints": [constraint.to_json() for constraint in self._constraints]}
        return {**data, "configs": self._listed.table.tolist(), "default": self._row(self._default)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_json` wrote.

        Raises:
            SpaceError: `data` is something else.
        """
        try:
            parameters = [Parameter.from_json(parameter) for parameter in data["parameters"]]
            if "configs" not in data:
                return cls(parameters, [Constraint.from_json(constraint) for constraint in data["constraints"]])
            plain = cls(parameters)
            # The default comes first, as it is the one that from_configs falls back to.
            return cls.from_configs(parameters, [plain.decode(row) for row in (data["default"], *data["configs"])])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SpaceError(f"this is not the JSON of a search space: {type(error).__name__}: {error}") from error

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the parameters and what is valid; the same in every process.

        The order of the constraints does not enter. A constraint enters by its truth table where the parameters it
        reads have up to 2^18 joint values, so that a function equals the expression that says the same; a larger
        one enters by its text, or, for a function, by its reason and its answers at 4096 places.
        """
        parameters = [[own.name, list(own.values), own.default, own.ordered] for own in self._parameters]
        if self._listed is not None:
            listing = hashlib.sha256(self._listed.table.astype("<i8", order="C").tobytes()).hexdigest()
            return digest({"parameters": parameters, "configs": listing})
        rules = sorted(canonical_json(self._rule_fingerprint(rule)) for rule in self._rules)
        return digest({"parameters": parameters, "constraints": rules})

    def _rule_fingerprint(self, rule: Constraint) -> dict[str, Any]:
        names = sorted(rule.parameters)
        read = [self._parameters[self._axis[name]] for name in names]
        sizes = [len(parameter) for parameter in read]
        total = math.prod(sizes)
        if total <= LARGEST_FINGERPRINT_TABLE:
            truth = truth_table(rule, read)
            return {"reads": names, "truth": hashlib.sha256(np.packbits(truth).tobytes()).hexdigest()}
        if rule.text is not None:
            return {"reads": names, "text": rule.text}
        answers = []
        for number in range(FINGERPRINT_PLACES):
            place = number * STRIDE % total
            values = {}
            for parameter in read:
                place, index = divmod(place, len(parameter))
                values[parameter.name] = parameter.values[index]
            answers.append(rule.check(values))
        return {"reads": names, "reason": rule.reason, "answers": hashlib.sha256(bytes(answers)).hexdigest()}

    @cached_property
    def _components(self) -> list[Component]:
        return [self._listed] if self._listed is not None else components(self._parameters, self._rules)

    @property
    def _has_wide(self) -> bool:
        return any(isinstance(component, WideComponent) for component in self._components)

    @cached_property
    def _value_lists(self) -> list[tuple[str, tuple[Scalar, ...]]]:
        return [(parameter.name, parameter.values) for parameter in self._parameters]

    @cached_property
    def _fragments(self) -> list[tuple[int, list[str]]]:
        """For each parameter by name, its axis and the JSON text of each of its values with the name before it."""
        return [
            (axis, [f"{canonical_json(name)}:{canonical_json(value)}" for value in self._parameters[axis].values])
            for name, axis in sorted(self._axis.items())
        ]

    def _config(self, row: Sequence[int]) -> Config:
        return Config.trusted(
            {name: values[index] for (name, values), index in zip(self._value_lists, row, strict=True)}
        )

    def _json(self, row: Sequence[int]) -> str:
        # What Config.json would be, ten times quicker than making the Config.
        return "{" + ",".join([texts[row[axis]] for axis, texts in self._fragments]) + "}"

    def _row(self, config: Mapping[str, Scalar]) -> list[int]:
        row = [own.find(config[own.name]) if own.name in config else None for own in self._parameters]
        found = [index for index in row if index is not None]
        if len(found) < len(row) or len(config) > len(row):
            raise SpaceError(self._malformed(config))
        return found

    def _malformed(self, config: Mapping[str, Scalar]) -> str | None:
        for parameter in self._parameters:
            if parameter.name not in config:
                return f"{parameter.name} is missing; choose one of its values, such as {parameter.default!r}"
            if parameter.find(config[parameter.name]) is None:
                return parameter.refusal(config[parameter.name])
        if len(config) > len(self._parameters):
            unknown = next(name for name in config if name not in self._axis)
            return f"{unknown!r} is not a parameter of this space; there are {', '.join(self.names)}"
        return None

    def _broken(self, config: Mapping[str, Scalar]) -> str | None:
        if self._listed is not None:
            row = tuple(parameter.find(config[parameter.name]) for parameter in self._parameters)
            return None if row in self._listed.members else f"it is not one of the {self.size} configs of this space"
        return next((rule.explain(config) for rule in self._rules if not rule.check(config)), None)

    def _valid(self, row: Row) -> bool:
        if self._listed is not None:
            return row in self._listed.members
        values = {name: values[index] for (name, values), index in zip(self._value_lists, row, strict=True)}
        return all(rule.check(values) for rule in self._rules)

    def _settled(self, row: Row) -> Row:
        """Return `row` with inactive parameters at their defaults."""
        conditional = [(axis, own, own.when) for axis, own in enumerate(self._parameters) if own.when is not None]
        settled = list(row)
        # One parameter's reset may make the next one inactive; a chain is no longer than the conditional parameters.
        for _ in conditional:
            values = {name: values[index] for (name, values), index in zip(self._value_lists, settled, strict=True)}
            for axis, parameter, when in conditional:
                if not when.check(values):
                    settled[axis] = parameter.index(parameter.default)
        return tuple(settled)

    def _by_distance(self, costs: Sequence[NDArray[np.float64]]) -> Iterator[Sequence[int]]:
        # One table is the quickest where it is small; combining the components needs no table of the whole.
        if not self._has_wide and self.size <= MOST_ROWS_SCANNED:
            yield from (row for _, row in ascending(self.table, costs))
            return
        streams = [component.nearest([costs[axis] for axis in component.axes]) for component in self._components]
        for parts in combined(streams):
            row = [0] * len(costs)
            for component, part in zip(self._components, parts, strict=True):
                for axis, index in zip(component.axes, part, strict=True):
                    row[axis] = index
            yield row

    def _checked(self, indices: Sequence[int] | NDArray[Any]) -> list[int]:
        row = np.asarray(indices)
        if row.shape != (len(self._parameters),) or not np.issubdtype(row.dtype, np.integer):
            raise SpaceError(f"{indices!r} is not an index vector; give {len(self._parameters)} whole numbers")
        for index, parameter in zip(row, self._parameters, strict=True):
            if not 0 <= index < len(parameter):
                raise SpaceError(f"index {index} of {parameter.name} is out of range; use 0 to {len(parameter) - 1}")
        checked: list[int] = row.tolist()
        return checked

    def _blocks(self, length: int) -> Iterator[NDArray[Any]]:
        """Yield the rows of all valid configs, up to `length` at a time: wide components slowest, the last fastest."""
        wide = [component for component in self._components if isinstance(component, WideComponent)]
        rest = [component for component in self._components if not isinstance(component, WideComponent)]
        counts = [component.count for component in rest]
        total = math.prod(counts)
        dtype = np.min_scalar_type(max(self.shape) - 1)
        for outer in _walked(wide):
            for start in range(0, total, length):
                ranks = places(start, min(length, total - start), counts)
                block = np.empty((len(ranks[0]) if ranks else 1, len(self._parameters)), dtype=dtype, order="F")
                for component, part in zip(wide, outer, strict=True):
                    block[:, component.axes] = part
                for own, rank in zip(rest, ranks, strict=True):
                    block[:, own.axes] = own.rows(rank)
                yield block


def _walked(wide: Sequence[WideComponent]) -> Iterator[tuple[NDArray[Any], ...]]:
    if not wide:
        yield ()
        return
    for block in wide[0].walk():
        for row in block:
            for after in _walked(wide[1:]):
                yield (row, *after)


def _distances(parameter: Parameter, index: int) -> NDArray[np.float64]:
    away = np.abs(np.arange(len(parameter)) - index)
    if parameter.ordered:
        return away / max(len(parameter) - 1, 1)
    return (away > 0).astype(np.float64)


def _unconditional(parameter: Parameter) -> Parameter:
    if parameter.when is not None:
        raise SpaceError(f"{parameter.name} has a condition, but the configs are listed; remove the condition")
    return parameter
