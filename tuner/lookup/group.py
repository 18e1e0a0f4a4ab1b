"""Winners in columns: many of one kernel, version, device and environment, in little memory and quick to read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.errors import TunerError
from tuner.lookup.choice import Proof
from tuner.types import Config, Device, Scalar, State, Workload, canonical_json

__all__ = ["EVIDENCE", "Group", "grouped", "typed"]

EVIDENCE = ("speedup", "low", "high", "rounds", "id", "campaign", "measured_at", "origin")
"""The columns that follow those of workload and config; an end of the interval that is infinite is null."""

_EVIDENCE_TYPES: Mapping[str, frozenset[type]] = {
    "speedup": frozenset({int, float}),
    "low": frozenset({int, float, type(None)}),
    "high": frozenset({int, float, type(None)}),
    "rounds": frozenset({int}),
    "id": frozenset({int}),
    "campaign": frozenset({str}),
    "measured_at": frozenset({str}),
    "origin": frozenset({str}),
}
_LARGEST = 1 << 63
_HEADER = frozenset(
    {"kernel", "version", "device", "environment", "state", "default", "confidence", "fields", "parameters", "columns"}
)


def typed(value: Scalar) -> object:
    """Return what stands for `value` in a key: equal only where the canonical JSON is, though `1 == True == 1.0`."""
    kind = type(value)
    if kind is int or kind is str:
        return value
    return (kind.__name__, repr(value))


@dataclass(frozen=True, slots=True)
class Group:
    """Winners that differ in workload, config and evidence only.

    Attributes:
        kernel: The tunable's name or reference.
        version: The tunable's version.
        device: Where they were proven, with the environment of that time.
        state: Their state in the store.
        default: What all of them were compared with.
        confidence: Level of their intervals; 0 where they were not proven here.
        fields: Names of the workloads' fields, sorted.
        parameters: Names of the configs' parameters, sorted.
        columns: Values of each winner, by field, by parameter, by `EVIDENCE`.
    """

    kernel: str
    version: str
    device: Device
    state: State
    default: Config
    confidence: float
    fields: tuple[str, ...]
    parameters: tuple[str, ...]
    columns: tuple[tuple[Any, ...], ...]

    def __len__(self) -> int:
        return len(self.columns[-1])

    def workload(self, row: int) -> Workload:
        """Return the workload of a winner."""
        return Workload.trusted({name: column[row] for name, column in zip(self.fields, self.columns, strict=False)})

    def config(self, row: int) -> Config:
        """Return the config of a winner."""
        columns = self.columns[len(self.fields) :]
        return Config.trusted({name: column[row] for name, column in zip(self.parameters, columns, strict=False)})

    def identifier(self, row: int) -> int:
        """Return the store's identifier of a winner."""
        found: int = self.columns[len(self.fields) + len(self.parameters) + EVIDENCE.index("id")][row]
        return found

    def proof(self, row: int, config: Config | None = None) -> Proof:
        """Return a winner; `config`, where it is known, is what `config` returns."""
        start = len(self.fields) + len(self.parameters)
        speedup, low, high, rounds, identifier, campaign, measured_at, origin = (
            column[row] for column in self.columns[start:]
        )
        return Proof(
            id=identifier,
            campaign=campaign,
            kernel=self.kernel,
            version=self.version,
            workload=self.workload(row),
            device=self.device,
            config=self.config(row) if config is None else config,
            default=self.default,
            speedup=speedup,
            interval=(-math.inf if low is None else low, math.inf if high is None else high),
            confidence=self.confidence,
            rounds=rounds,
            measured_at=measured_at,
            origin=origin,
            state=self.state,
        )

    def keys(self) -> Iterator[tuple[object, ...]]:
        """Yield for each winner what its workload is found by: the `typed` values of its fields in order."""
        if not self.fields:
            return iter([()] * len(self))
        columns = self.columns[: len(self.fields)]
        return zip(*(_typed_column(column) for column in columns), strict=True)

    def to_json(self, device: int, environment: int) -> dict[str, Any]:
        """Return plain data that `from_json` reads back; the device and its environment by their numbers."""
        return {
            "kernel": self.kernel,
            "version": self.version,
            "device": device,
            "environment": environment,
            "state": self.state.value,
            "default": dict(self.default),
            "confidence": self.confidence,
            "fields": list(self.fields),
            "parameters": list(self.parameters),
            "columns": [list(column) for column in self.columns],
        }

    @classmethod
    def from_json(
        cls, data: Any, devices: Sequence[Mapping[str, Any]], environments: Sequence[Mapping[str, str]]
    ) -> Group:
        """Read back what `to_json` wrote, trusting nothing.

        Raises:
            TunerError: it is something else; the message says what.
        """
        if not isinstance(data, dict) or set(data) != _HEADER:
            raise TunerError(f"a group has the keys {', '.join(sorted(_HEADER))}, and nothing else")
        kernel = _text(data["kernel"], "kernel")
        fields, parameters = _names(data["fields"], "fields"), _names(data["parameters"], "parameters")
        confidence = data["confidence"]
        if not _is_number(confidence) or not 0 <= confidence < 1:
            raise TunerError(f"confidence={confidence!r} of {kernel} is neither 0, for what was told, nor below 1")
        if not isinstance(data["default"], dict):
            raise TunerError(f"the default of {kernel} is not a config")
        device = devices[_index(data["device"], len(devices), "device")]
        environment = environments[_index(data["environment"], len(environments), "environment")]
        group = cls(
            kernel=kernel,
            version=_version(data["version"]),
            device=_device({**device, "environment": environment}),
            state=_state(data["state"]),
            default=Config(data["default"]),
            confidence=confidence,
            fields=fields,
            parameters=parameters,
            columns=_columns(data["columns"], len(fields) + len(parameters) + len(EVIDENCE), kernel),
        )
        for name, column in zip((*fields, *parameters), group.columns, strict=False):
            _check_scalars(column, f"{name} of {kernel}")
        for name, column in zip(EVIDENCE, group.columns[len(fields) + len(parameters) :], strict=True):
            _check_evidence(column, name, kernel)
        return group


def grouped(proofs: Iterable[Proof]) -> list[Group]:
    """Return winners in groups, in an order that depends on nothing but them."""
    rows: dict[tuple[str, ...], list[tuple[tuple[str, ...], Proof]]] = {}
    for proof in proofs:
        header = (
            proof.kernel,
            proof.version,
            canonical_json(proof.device.to_json()),
            proof.state.value,
            proof.default.json,
            repr(proof.confidence),
            canonical_json(sorted(proof.workload)),
            canonical_json(sorted(proof.config)),
        )
        order = (proof.workload.json, f"{proof.id:020d}", proof.config.json, repr(proof))
        rows.setdefault(header, []).append((order, proof))
    return [_group([proof for _, proof in sorted(rows[header], key=lambda row: row[0])]) for header in sorted(rows)]


def _group(proofs: Sequence[Proof]) -> Group:
    first = proofs[0]
    fields, parameters = tuple(sorted(first.workload)), tuple(sorted(first.config))
    rows = [
        (
            *(proof.workload[name] for name in fields),
            *(proof.config[name] for name in parameters),
            proof.speedup,
            *(end if math.isfinite(end) else None for end in proof.interval),
            proof.rounds,
            proof.id,
            proof.campaign,
            proof.measured_at,
            proof.origin,
        )
        for proof in proofs
    ]
    return Group(
        kernel=first.kernel,
        version=first.version,
        device=first.device,
        state=first.state,
        default=first.default,
        confidence=first.confidence,
        fields=fields,
        parameters=parameters,
        columns=tuple(zip(*rows, strict=True)),
    )


def _typed_column(column: tuple[Any, ...]) -> Iterable[object]:
    # Types are few, values are many: this runs at the speed of C where nothing can be mistaken for something else.
    return column if set(map(type, column)) <= {int, str} else map(typed, column)


def _columns(columns: Any, width: int, kernel: str) -> tuple[tuple[Any, ...], ...]:
    if not isinstance(columns, list) or set(map(type, columns)) != {list} or len(columns) != width:
        raise TunerError(f"{kernel} has not {width} columns, one for each field, parameter and figure")
    if len(set(map(len, columns))) != 1 or not columns[0]:
        raise TunerError(f"the columns of {kernel} are not of one length, or empty")
    return tuple(map(_shared, columns))


def _shared(column: list[Any]) -> tuple[Any, ...]:
    """Return a column in which texts that are equal are one object: there are few different ones."""
    if set(map(type, column)) != {str}:
        return tuple(column)
    known: dict[str, str] = {}
    return tuple(map(known.setdefault, column, column))


def _check_scalars(column: tuple[Any, ...], what: str) -> None:
    kinds = set(map(type, column))
    if not kinds <= {bool, int, float, str}:
        raise TunerError(f"{what} is not always a bool, int, float or str")
    _check_range(column, kinds, what)


def _check_range(column: tuple[Any, ...], kinds: set[type], what: str) -> None:
    integers = column if kinds == {int} else [value for value in column if type(value) is int]
    if integers and (min(integers) < -_LARGEST or max(integers) >= _LARGEST):
        raise TunerError(f"{what} holds a number that does not fit into 64 bits")
    floats = column if kinds == {float} else [value for value in column if type(value) is float]
    if not all(map(math.isfinite, floats)):
        raise TunerError(f"{what} holds a number that is not finite")


def _check_evidence(column: tuple[Any, ...], name: str, kernel: str) -> None:
    kinds = set(map(type, column))
    allowed = _EVIDENCE_TYPES[name]
    if not kinds <= allowed:
        raise TunerError(f"{name} of {kernel} has a value of another type than it should")
    if str not in allowed:
        _check_range(column, kinds, f"{name} of {kernel}")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise TunerError(f"{name}={value!r} is not a text")
    return value


def _version(value: Any) -> str:
    if not isinstance(value, str):
        raise TunerError(f"version={value!r} is not a text")
    return value


def _names(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TunerError(f"{what} is not a list of names")
    if value != sorted(set(value)):
        raise TunerError(f"{what} is not sorted, or names one twice: {value!r}")
    return tuple(value)


def _index(value: Any, count: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise TunerError(f"{name}={value!r} is not the number of one of {count}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _state(value: Any) -> State:
    try:
        return State(value)
    except ValueError:
        raise TunerError(f"state={value!r} is none of {', '.join(State)}") from None


def _device(data: Mapping[str, Any]) -> Device:
    kinds = {
        "kind": str,
        "name": str,
        "arch": str,
        "count": int,
        "memory_bytes": int,
        "features": dict,
        "environment": dict,
    }
    if set(data) != set(kinds):
        raise TunerError(f"a device has {', '.join(kinds)}, and nothing else")
    for name, kind in kinds.items():
        if type(data[name]) is not kind:
            raise TunerError(f"{name}={data[name]!r} of a device is not a {kind.__name__}")
    Config(data["features"])  # scalars, and finite
    if not all(isinstance(value, str) for value in data["environment"].values()):
        raise TunerError("an environment holds texts only")
    return Device.from_json(data)
