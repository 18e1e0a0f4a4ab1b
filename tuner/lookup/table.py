"""All that a lookup knows at one time, indexed. A table is made beside the requests, and never changed."""

from __future__ import annotations

import itertools
import operator
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tuner.lookup.choice import Choice, Source
from tuner.lookup.group import EVIDENCE, Group, typed
from tuner.lookup.guard import Guard
from tuner.lookup.neighbour import Neighbours
from tuner.lookup.policy import Policy, Stale
from tuner.lookup.report import Once
from tuner.lookup.snapshot import Snapshot
from tuner.staleness import VERSION, Change, since
from tuner.types import Config, Device, Scalar, State, Workload

__all__ = ["Table"]

_MOST_TRIED = 32
"""So many near workloads are looked at; where the configs of all are invalid, the default it is."""

_PLAIN = {bool, int, float, str}

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Sources:
    """What choices from one device are called."""

    exact: Source
    exact_stale: Source
    near: Source
    near_stale: Source


_HERE = _Sources(Source.EXACT, Source.EXACT_STALE, Source.NEAREST, Source.NEAREST_STALE)
_THERE = _Sources(Source.COMPATIBLE, Source.COMPATIBLE_STALE, Source.COMPATIBLE, Source.COMPATIBLE_STALE)


@dataclass(frozen=True, slots=True)
class _Part:
    """A group with what has changed since; nothing where it is fresh."""

    group: Group
    changed: tuple[Change, ...]

    @property
    def version_changed(self) -> bool:
        return any(change.name == VERSION for change in self.changed)


class _Shelf:
    """The winners of one kernel on one device whose workloads have the same fields.

    Args:
        parts: Groups of them, the freshest first: where two have a workload, the first is served.
    """

    def __init__(self, parts: Sequence[_Part]) -> None:
        self._parts = tuple(parts)
        self._starts: list[int] = []
        self._rows: dict[Key, int] = {}
        start = 0
        for part in parts:
            self._starts.append(start)
            keys, rows = list(part.group.keys()), range(start, start + len(part.group))
            if not self._rows:
                # Of one workload twice in a group, the one that was stored last.
                self._rows = dict(zip(keys, rows, strict=True))
            else:
                for key, row in zip(keys, rows, strict=True):
                    self._rows.setdefault(key, row)
            start += len(part.group)
        width = range(len(parts[0].group.fields))
        kept = sorted(self._rows.values()) if len(self._rows) < start else range(start)
        if len(parts) == 1 and len(kept) == start:
            self._near = Neighbours([parts[0].group.columns[at] for at in width], kept)
        else:
            self._near = Neighbours([[self._value(row, at) for row in kept] for at in width], kept)

    def __len__(self) -> int:
        return len(self._rows)

    def exact(self, key: Key) -> tuple[_Part, int] | None:
        """Return the winner of a workload, as its part and its place in it."""
        row = self._rows.get(key)
        return None if row is None else self._at(row)

    def nearest(self, values: Sequence[Scalar]) -> Iterator[tuple[float, _Part, int]]:
        """Yield winners of other workloads, the nearest first."""
        for distance, row in self._near.nearest(values):
            part, place = self._at(row)
            yield distance, part, place

    def _at(self, row: int) -> tuple[_Part, int]:
        at = bisect_right(self._starts, row) - 1
        return self._parts[at], row - self._starts[at]

    def _value(self, row: int, column: int) -> Scalar:
        part, place = self._at(row)
        value: Scalar = part.group.columns[column][place]
        return value


Fields = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Tier:
    """One device's winners of a kernel, by the names of the workloads' fields."""

    sources: _Sources
    shelves: Mapping[Fields, _Shelf]


class Table:
    """Answers for every workload, from winners, guards and a policy.

    Args:
        snapshot: The winners; those that are not promoted are left out.
        device: The device that asks, with its environment now.
        guards: What to ask of a kernel, by its reference.
        policy: What may be served.
        once: Where to tell of what went wrong.

    Example:
        >>> from tuner.lookup.guard import Rules
        >>> from tuner.lookup.snapshot import snapshot_of
        >>> device = Device("cpu", "a processor", "x86_64", 1, 1 << 30)
        >>> table = Table(snapshot_of([]), device, {"softmax": Rules({"LANES": 16})})
        >>> table.find("softmax", {"M": 4}).source, table.find("matmul", {"M": 4}).source
        (<Source.DEFAULT: 'default'>, <Source.UNKNOWN: 'unknown'>)
    """

    def __init__(
        self,
        snapshot: Snapshot,
        device: Device,
        guards: Mapping[str, Guard] | None = None,
        policy: Policy = Policy(),
        once: Once | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.device = device
        self.guards = dict(guards or {})
        self._policy = policy
        self._once = once
        self._tiers = self._indexed(snapshot.groups)
        self._names = _short_names({*self._tiers, *self.guards})
        self._defaults = _defaults(snapshot.groups, device)

    def __len__(self) -> int:
        """The number of workloads that have a winner here or on a compatible device."""
        return sum(len(shelf) for tiers in self._tiers.values() for tier in tiers for shelf in tier.shelves.values())

    def knows(self, kernel: str) -> bool:
        """Return whether there is anything to answer for a kernel."""
        return self._names.get(kernel, kernel) in self._tiers or self._names.get(kernel, kernel) in self.guards

    def find(self, kernel: str, fields: Mapping[str, Scalar]) -> Choice:
        """Return the choice for a workload: what to use of what is known, in the order of `Source`; never raises."""
        try:
            return self._found(self._names.get(kernel, kernel), _plain(fields))
        except Exception as error:
            self._warn(f"find {type(error).__name__}", f"lookup of {kernel!r} failed: {type(error).__name__}: {error}")
            return Choice(Config(), Source.UNKNOWN)

    def _found(self, kernel: str, fields: Mapping[str, Scalar]) -> Choice:
        tiers, guard = self._tiers.get(kernel, ()), self.guards.get(kernel)
        if not tiers and guard is None:
            self._warn(f"kernel {kernel}", f"kernel {kernel!r} has no winner and no default; known: {self._known()}")
            return Choice(Config(), Source.UNKNOWN)
        # Whole workloads are asked for most: a guard, which takes longer, need not be asked.
        if tiers and tiers[0].sources is _HERE and (choice := self._exact(tiers[0], guard, fields)):
            return choice
        workload = self._whole(kernel, guard, fields)
        if workload is None:
            return Choice(Config(), Source.UNKNOWN)
        for tier in tiers:
            asked = tier.sources is _HERE and len(workload) == len(fields)  # nothing was filled in
            if not asked and (choice := self._exact(tier, guard, workload)):
                return choice
            if choice := self._near(tier, guard, workload):
                return choice
        return self._default(kernel, guard, workload)

    def _exact(self, tier: _Tier, guard: Guard | None, workload: Mapping[str, Scalar]) -> Choice | None:
        names = tuple(sorted(workload))
        shelf = tier.shelves.get(names)
        found = shelf.exact(tuple([typed(workload[name]) for name in names])) if shelf else None
        if found is None:
            return None
        part, row = found
        config = part.group.config(row)
        # On this device and of this version, it is the very thing that was proven.
        if (tier.sources is not _HERE or part.version_changed) and not self._allows(guard, config, workload):
            return None
        source = tier.sources.exact_stale if part.changed else tier.sources.exact
        return Choice(config, source, part.group.proof(row, config), 0.0)

    def _near(self, tier: _Tier, guard: Guard | None, workload: Workload) -> Choice | None:
        names = tuple(sorted(workload))
        shelf = tier.shelves.get(names)
        # Nobody here can tell whether the config of another workload is valid for this one.
        if shelf is None or guard is None:
            return None
        refused: set[tuple[object, ...]] = set()
        near = shelf.nearest([workload[name] for name in names])
        for distance, part, row in itertools.islice(near, _MOST_TRIED):
            if distance > self._policy.doublings:
                break
            config = part.group.config(row)
            if refused and tuple(config.items()) in refused:
                continue
            if self._allows(guard, config, workload):
                source = tier.sources.near_stale if part.changed else tier.sources.near
                return Choice(config, source, part.group.proof(row, config), distance)
            refused.add(tuple(config.items()))
        return None

    def _default(self, kernel: str, guard: Guard | None, workload: Workload) -> Choice:
        if guard is not None:
            try:
                return Choice(guard.default(workload), Source.DEFAULT)
            except Exception as error:
                self._warn(f"default {kernel}", f"{kernel} has no default for {workload}: {error}")
        elif (default := self._defaults.get(kernel)) is not None:
            return Choice(default, Source.DEFAULT)
        return Choice(Config(), Source.UNKNOWN)

    def _whole(self, kernel: str, guard: Guard | None, fields: Mapping[str, Scalar]) -> Workload | None:
        """Return the workload with what was left out; None where it is not one."""
        try:
            return Workload(fields) if guard is None else guard.workload(fields)
        except Exception as error:
            self._warn(f"workload {kernel}", f"{kernel} does not take the workload {dict(fields)!r}: {error}")
            return None

    def _allows(self, guard: Guard | None, config: Config, workload: Mapping[str, Scalar]) -> bool:
        if guard is None:
            return False
        try:
            return guard.allows(config, workload if isinstance(workload, Workload) else Workload(workload))
        except Exception as error:
            self._warn("allows", f"whether {config} is valid for {dict(workload)} cannot be told: {error}")
            return False

    def _indexed(self, groups: Sequence[Group]) -> dict[str, tuple[_Tier, ...]]:
        """Return by kernel the winners of this device, then those of compatible ones, the most alike first."""
        here = self.device.fingerprint
        devices: dict[str, dict[str, dict[Fields, list[_Part]]]] = {}
        likeness: dict[str, tuple[bool, bool, str]] = {}
        for group in groups:
            place = group.device.fingerprint
            if group.state is not State.PROMOTED or not (
                place == here or self._policy.admits(group.device, self.device)
            ):
                continue
            part = _Part(group, self._changes(group))
            if part.changed and self._policy.stale is Stale.SKIP:
                continue
            shelves = devices.setdefault(group.kernel, {}).setdefault(place, {})
            shelves.setdefault(group.fields, []).append(part)
            likeness[place] = (place != here, group.device.arch != self.device.arch, group.device.name)
        return {
            kernel: tuple(
                _Tier(
                    _HERE if place == here else _THERE,
                    {names: _Shelf(sorted(parts, key=_freshness)) for names, parts in by_device[place].items()},
                )
                for place in sorted(by_device, key=likeness.__getitem__)
            )
            for kernel, by_device in devices.items()
        }

    def _changes(self, group: Group) -> tuple[Change, ...]:
        guard = self.guards.get(group.kernel)
        now = dict(self.device.environment)
        if guard is not None:
            now |= guard.environment
        return since(group.version, group.device.environment, guard.version if guard else None, now)

    def _known(self) -> str:
        known = sorted({*self._tiers, *self.guards})
        return ", ".join(known[:12]) + (", ..." if len(known) > 12 else "") or "none"

    def _warn(self, cause: str, message: str) -> None:
        if self._once is not None:
            self._once.warn(cause, message)


def _plain(fields: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    """Return `fields` with numbers of numpy and members of enums as what they stand for."""
    if set(map(type, fields.values())) <= _PLAIN:
        return fields
    return {name: _scalar(value) for name, value in fields.items()}


def _scalar(value: Scalar) -> Scalar:
    if type(value) in _PLAIN:
        return value
    for kind in (str, float):
        if isinstance(value, kind):
            return kind(value)
    return operator.index(value) if hasattr(value, "__index__") else value


def _freshness(part: _Part) -> tuple[bool, bool, int]:
    """Return what parts are sorted by: what has changed least, and of equals what was stored last."""
    return part.version_changed, bool(part.changed), -max(part.group.columns[_id_column(part.group)])


def _id_column(group: Group) -> int:
    return len(group.fields) + len(group.parameters) + EVIDENCE.index("id")


def _short_names(kernels: set[str]) -> dict[str, str]:
    """Return by operator (`softmax`) the reference (`cpp:softmax`), where there is but one."""
    found: dict[str, str | None] = {}
    for kernel in kernels:
        head, _, operator = kernel.rpartition(":")
        if head and operator and "." not in head:
            found[operator] = None if operator in found else kernel
    return {operator: kernel for operator, kernel in found.items() if kernel is not None and operator not in kernels}


def _defaults(groups: Sequence[Group], here: Device) -> dict[str, Config]:
    """Return the default of each kernel that has the same one for all its workloads on this device."""
    found: dict[str, Config | None] = {}
    place = here.fingerprint
    for group in groups:
        if group.device.fingerprint == place:
            same = group.kernel not in found or found[group.kernel] == group.default
            found[group.kernel] = group.default if same else None
    return {kernel: config for kernel, config in found.items() if config is not None}
