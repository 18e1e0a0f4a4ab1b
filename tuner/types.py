"""The values that cross every boundary: frozen, comparable by their canonical JSON, free of code.

Nothing here imports more than the standard library, so that serving code stays light.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self

from tuner.errors import TunerError

__all__ = [
    "Artifact",
    "Build",
    "Cache",
    "Config",
    "Device",
    "Evidence",
    "GraphMode",
    "Measurement",
    "MemoryLevel",
    "Miss",
    "Peaks",
    "Sampling",
    "Scalar",
    "State",
    "Status",
    "Task",
    "Trial",
    "Winner",
    "Work",
    "Workload",
    "canonical_json",
    "digest",
    "is_cold",
]

Scalar = bool | int | float | str


def canonical_json(value: object) -> str:
    """Return the one JSON text of `value`: keys sorted, no spaces, no NaN or infinity.

    Raises:
        ValueError: `value` holds a float that JSON cannot carry.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """Return 16 hexadecimal digits (64 bits of SHA-256) that identify `value` by its canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


class _Frozen(Mapping[str, Scalar]):
    """A frozen mapping of names to scalars, equal to another exactly when their canonical JSON is equal.

    Python holds that `1 == True == 1.0`; JSON tells them apart, and so does this.
    """

    __slots__ = ("_data", "_json")

    def __init__(self, values: Mapping[str, Scalar] | None = None, /, **fields: Scalar) -> None:
        data: dict[str, Scalar] = {**(values or {}), **fields}
        for name, value in data.items():
            if not isinstance(name, str):
                raise TunerError(f"{name!r} is not a name; names are strings")
            if not isinstance(value, bool | int | float | str):
                raise TunerError(f"{name}={value!r} is a {type(value).__name__}; use a bool, int, float or str")
            if isinstance(value, float) and not math.isfinite(value):
                raise TunerError(f"{name}={value} is not finite; JSON cannot carry it")
        self._data = data
        self._json = ""

    @classmethod
    def trusted(cls, data: dict[str, Scalar]) -> Self:
        """Return an instance over `data` itself, unchecked, for whoever has checked it and will not change it."""
        self = cls.__new__(cls)
        self._data = data
        self._json = ""
        return self

    def __getitem__(self, name: str) -> Scalar:
        return self._data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    # What a mapping has anyway, at the speed of a dictionary.
    def __contains__(self, name: object) -> bool:
        return name in self._data

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self._data.keys()

    def values(self) -> ValuesView[Scalar]:
        """Return the values."""
        return self._data.values()

    def items(self) -> ItemsView[str, Scalar]:
        """Return the names with their values."""
        return self._data.items()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.json == other.json

    def __hash__(self) -> int:
        return hash(self.json)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._data.items())})"

    @property
    def json(self) -> str:
        """The canonical JSON text: what equality, hashing and storage go by. Made when first asked for."""
        if not self._json:
            self._json = canonical_json(self._data)
        return self._json

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that identify this value; short enough to index and to print."""
        return hashlib.sha256(self.json.encode()).hexdigest()[:16]

    def integer(self, name: str) -> int:
        """Return field `name`, which must be an integer (a bool is not)."""
        value = self._data[name]
        if type(value) is int:
            return value
        if isinstance(value, bool) or not isinstance(value, int):
            raise TunerError(f"{name}={value!r} is not an integer")
        return value

    def text(self, name: str) -> str:
        """Return field `name`, which must be a string."""
        value = self._data[name]
        if not isinstance(value, str):
            raise TunerError(f"{name}={value!r} is not a string")
        return value


class Config(_Frozen):
    """One choice for every parameter of a search space.

    Example:
        >>> Config(UNROLL=4, PREFETCH=False) == Config({"PREFETCH": False, "UNROLL": 4})
        True
        >>> Config(UNROLL=1) == Config(UNROLL=True)
        False
    """

    __slots__ = ()


class Workload(_Frozen):
    """What is asked of a tunable: shapes, dtypes, a request pattern.

    Example:
        >>> Workload(M=4, N=4096, dtype="bf16").integer("N")
        4096
    """

    __slots__ = ()


class Cache(StrEnum):
    """Where a call finds its data: where the call before it left them, or, thrown out of all caches, in memory."""

    WARM = "warm"
    COLD = "cold"


class GraphMode(StrEnum):
    """How launches on a GPU were timed: as a graph, with events as nodes of it or around it, or one by one.

    With events around it, the time of submitting a graph is in it.
    """

    INSIDE = "events inside"
    AROUND = "events around"
    NONE = "none"


def is_cold(workload: Workload) -> bool:
    """Return whether calls of `workload` find their data in memory; unless it says so, they do not."""
    return workload.get("cache") == Cache.COLD


def _frozen_mapping(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(values))


@dataclass(frozen=True, slots=True)
class Device:
    """What a task runs on, as data.

    Attributes:
        kind: `cpu`, `cuda` or `hip`.
        name: The maker's name for it.
        arch: What a compiler is told: `x86_64`, `sm_90`, `gfx942`.
        count: How many of them a trial uses (cores of a CPU, GPUs).
        memory_bytes: Its memory.
        features: Limits that search spaces read, such as `l2_bytes` and `vector_bytes`.
        environment: What can change under the device and make old results stale: compiler, driver, versions.
    """

    kind: str
    name: str
    arch: str
    count: int
    memory_bytes: int
    features: Mapping[str, Scalar] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", _frozen_mapping(self.features))
        object.__setattr__(self, "environment", _frozen_mapping(self.environment))

    def __hash__(self) -> int:
        return hash((self.fingerprint, self.environment_fingerprint))

    @property
    def fingerprint(self) -> str:
        """Identifies the hardware model; memory size and environment do not enter."""
        return digest([self.kind, self.name, self.arch, self.count, dict(self.features)])

    @property
    def environment_fingerprint(self) -> str:
        """Identifies compiler, driver and versions; a winner found under another one is stale."""
        return digest(dict(self.environment))

    def feature(self, name: str) -> int:
        """Return the integer limit `name`, for search spaces.

        Raises:
            TunerError: the device does not know it.
        """
        value = self.features.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TunerError(f"device {self.name!r} does not know its {name}; known: {', '.join(self.features)}")
        return value

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        return {
            "kind": self.kind,
            "name": self.name,
            "arch": self.arch,
            "count": self.count,
            "memory_bytes": self.memory_bytes,
            "features": dict(self.features),
            "environment": dict(self.environment),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Device:
        """Read back what `to_json` wrote, in this version or an older one."""
        return cls(**{name: value for name, value in data.items() if name not in _FORMER_DEVICE_FIELDS})


# What older versions wrote into a device, always empty; measured values are `Peaks`.
_FORMER_DEVICE_FIELDS = frozenset({"peak_flops", "peak_bytes_per_second"})


@dataclass(frozen=True, slots=True)
class MemoryLevel:
    """One level of a device's memory, with the highest bandwidth that was seen from it.

    Attributes:
        name: `L1`, `L2`, `L3` or `memory`.
        capacity_bytes: What it holds, over all cores of the device.
        working_set_bytes: The size of the data that were read and written to measure it, over all cores.
        bytes_per_second: Bytes loaded and stored a second, over all cores.
        pattern: The loop that reached it: `read` (loads only), `prefetch` (loads of what was prefetched), `triad` (two
            loads and a store) or `stream` (the same, stored past the caches).
    """

    name: str
    capacity_bytes: int
    working_set_bytes: int
    bytes_per_second: float
    pattern: str


@dataclass(frozen=True, slots=True)
class Peaks:
    """The highest rates that were seen on a device: the roofs of its roofline.

    Attributes:
        flops_per_second: Floating-point operations a second, in fused multiply-adds of float32 in the widest vectors.
        levels: The levels of memory, the nearest first, main memory last.
        measured_at: UTC, ISO 8601.
        load: The 1-minute load average of the machine before measuring.
        dtype_flops_per_second: By dtype, operations a second of units for products of matrices, where there are such.
    """

    flops_per_second: float
    levels: tuple[MemoryLevel, ...]
    measured_at: str
    load: float
    dtype_flops_per_second: Mapping[str, float] = field(default_factory=dict)

    def of(self, dtype: str) -> Peaks:
        """Return these peaks with the operations a second of arithmetic in `dtype`, where those are known.

        Example:
            >>> peaks = Peaks(1e11, (), "2026-01-01T00:00:00+00:00", 0.0, {"bf16": 1e12})
            >>> peaks.of("bf16").flops_per_second, peaks.of("fp64").flops_per_second
            (1000000000000.0, 100000000000.0)
        """
        return replace(self, flops_per_second=self.dtype_flops_per_second.get(dtype, self.flops_per_second))

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        levels = [asdict(level) for level in self.levels]
        return {**asdict(self), "levels": levels, "dtype_flops_per_second": dict(self.dtype_flops_per_second)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Peaks:
        """Read back what `to_json` wrote."""
        return cls(**{**data, "levels": tuple(MemoryLevel(**level) for level in data["levels"])})


@dataclass(frozen=True, slots=True)
class Task:
    """A tunable at one version, on one workload, on one device: the store's key and what travels to workers.

    Attributes:
        tunable: A name or reference that `tuner.tunable.load` resolves, such as `cpp:add_rmsnorm`.
        version: The tunable's hash of its own source.
    """

    tunable: str
    version: str
    workload: Workload
    device: Device

    @property
    def key(self) -> str:
        """Identifies the task in a store; the device's environment does not enter."""
        return digest([self.tunable, self.version, dict(self.workload), self.device.fingerprint])

    @property
    def place(self) -> str:
        """Identifies what a winner is for: the tunable, whatever its version, its workload, and the hardware model."""
        return digest([self.tunable, dict(self.workload), self.device.fingerprint])

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        return {
            "tunable": self.tunable,
            "version": self.version,
            "workload": dict(self.workload),
            "device": self.device.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        """Read back what `to_json` wrote."""
        return cls(data["tunable"], data["version"], Workload(data["workload"]), Device.from_json(data["device"]))


class Status(StrEnum):
    """How a trial ended; the names are those of the T4 exchange format."""

    CORRECT = "correct"
    CONSTRAINTS = "constraints"
    COMPILE = "compile"
    RUNTIME = "runtime"
    CORRECTNESS = "correctness"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a build leaves behind, as data that can travel between machines.

    Attributes:
        key: Hash of everything that entered the build; the same key means the same artifact.
        payload: The compiled binary.
        metadata: What a device worker needs to load and launch it, and what the compiler reported.
    """

    key: str
    payload: bytes
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Build:
    """A config and the artifact that was built from it (None where nothing needs building)."""

    config: Config
    artifact: Artifact | None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to measure: with which inputs, and when enough has been sampled.

    Attributes:
        seed: Seed of the random inputs.
        rounds: Most samples of each build; sample `i` of every build belongs to the same interleaved round.
        seconds: Timing ends after so long even if rounds are left, so that one slow config cannot hold the device.
        thorough: Whether a result is checked on every distribution of inputs, not on the random ones and one other.
        loads: How often everything is loaded and laid out in memory anew; the rounds are spread over the loads. With
            more than one, the metric `load` says of each sample in which it was taken.
        devices: How many devices are lent for this measurement; 0 where nobody counts them.
        precision: Sampling ends when the interval of log(config / reference) is within so much of its middle, for every
            build; None to go on. At 0.01, the ratio is known to 1 %.
        incumbent: A build that is clearly slower than so many times the reference's time is not sampled any longer; of
            several builds, the best of them counts too. None to sample all alike.
        error: The chance, at most, that such an interval misses the truth, and that one comparison wrongly calls a
            build slower.
    """

    seed: int
    rounds: int
    seconds: float = 5.0
    precision: float | None = None
    incumbent: float | None = None
    error: float = 0.05
    thorough: bool = False
    loads: int = 1
    devices: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """What evaluating one config gave.

    Attributes:
        status: How it ended; only `Status.CORRECT` carries samples to be scored.
        samples: Raw samples by metric. `seconds` is the time of one call; `reference_seconds`, where present, is the
            time of the reference config in the same round. Where a device has several clocks, these are by the one that
            decides (see `clock` among the resources), and `wall_seconds` and `cpu_seconds` stand beside them.
        build_seconds: Wall time of the build; a few milliseconds where it came from the cache.
        measure_seconds: Wall time on the device, checking included.
        resources: What else was seen: code bytes, the outputs' error, the conditions of the measurement.
        error: Why it failed, in one or a few lines; empty when correct.
    """

    status: Status
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    build_seconds: float = 0.0
    measure_seconds: float = 0.0
    resources: Mapping[str, Scalar] = field(default_factory=dict)
    error: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", _frozen_mapping({k: tuple(v) for k, v in self.samples.items()}))
        object.__setattr__(self, "resources", _frozen_mapping(self.resources))

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        return {
            "status": self.status.value,
            "samples": {name: list(values) for name, values in self.samples.items()},
            "build_seconds": self.build_seconds,
            "measure_seconds": self.measure_seconds,
            "resources": dict(self.resources),
            "error": self.error,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """Read back what `to_json` wrote."""
        return cls(**{**data, "status": Status(data["status"])})


@dataclass(frozen=True, slots=True)
class Trial:
    """One config with its measurement: the unit that agents learn from and stores keep.

    Attributes:
        campaign: The campaign's identifier.
        number: Position in the order of proposal within the campaign's task, from 0.
    """

    config: Config
    measurement: Measurement
    campaign: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """What one call has to do at least, for the roofline.

    Attributes:
        flops: Floating-point operations.
        bytes: Compulsory memory traffic: every input read once, every output written once.
    """

    flops: float
    bytes: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """How a config was proven against the default, re-timed interleaved on fresh inputs in a fresh worker.

    Attributes:
        default: The config it was compared with.
        default_seconds: Median time of a call of the default; 0 where no times were measured.
        config_seconds: Median time of a call of the config, likewise.
        speedup: Exponential of the median of the paired log-ratios default / config (config / default of a metric that
            is maximised), each load counting by its own median; above 1 is better.
        interval: Confidence interval of `speedup`, over loads; see `grouped_interval`. Of what is not loaded several
            times, over pairs; see `median_interval`. From 0 to infinity where there was too little to tell.
        confidence: Level of the interval.
        threshold: What the interval's lower end had to clear.
        rounds: Number of pairs.
        seed: Seed of the inputs.
        samples: The raw pairs: `seconds` of the config and `reference_seconds` of the default, and the `load` of each.
        resources: What the check saw, such as the largest relative error.
        environment: Compiler, driver and versions at the time.
        measured_at: UTC, ISO 8601.
        estimate: The search's own speed-up of the config, as much too high as the search was lucky; None if unknown.
        sign_p: Two-sided p-value of the sign test that both are equally good, true whenever the sampling stopped.
        seeds: Seeds of all inputs that the config was checked on, by stage: `semifinal`, `final`, `edges`.
        edge_shapes: The held-out workloads on which the config was built and checked too.
        source_hash: The tunable's hash of its own source.
        origin: Where the config comes from, if it was not proven by finals here: a file, another program. Nothing was
            measured then: there are no samples, and whatever times there are were told.
        objective: What was compared, and under which limits, as `Objective.to_json`; empty for the time of a call.
        default_value: The objective's metric of the default, in its own unit; `default_seconds` unless told otherwise.
        config_value: The objective's metric of the config, likewise.
    """

    default: Config
    default_seconds: float
    config_seconds: float
    speedup: float
    interval: tuple[float, float]
    confidence: float
    threshold: float
    rounds: int
    seed: int
    samples: Mapping[str, tuple[float, ...]]
    resources: Mapping[str, Scalar]
    environment: Mapping[str, str]
    measured_at: str
    estimate: float | None = None
    sign_p: float | None = None
    seeds: Mapping[str, int] = field(default_factory=dict)
    edge_shapes: tuple[Workload, ...] = ()
    source_hash: str = ""
    origin: str = ""
    objective: Mapping[str, Any] = field(default_factory=dict)
    default_value: float | None = None
    config_value: float | None = None

    def __post_init__(self) -> None:
        if not self.objective:
            object.__setattr__(self, "default_value", self.default_seconds)
            object.__setattr__(self, "config_value", self.config_seconds)

    @classmethod
    def told(
        cls,
        origin: str,
        default: Config,
        *,
        measured_at: str,
        environment: Mapping[str, str] | None = None,
        resources: Mapping[str, Scalar] | None = None,
        default_seconds: float = 0.0,
        config_seconds: float = 0.0,
    ) -> Evidence:
        """Return the evidence of a config that somebody else found, of which nothing was measured here.

        Args:
            origin: Who says so: a file, another program and its version.
            default: The config that it would be compared with.
            measured_at: When it was found, or imported where that is not known: UTC, ISO 8601.
            environment: Compiler, driver and versions under which it was found, as far as they are told.
            resources: What else is told.
            default_seconds: What is told of the default's time; 0 if nothing is.
            config_seconds: What is told of the config's time; 0 if nothing is.

        Example:
            >>> evidence = Evidence.told("E=8,N=512.json", Config(BLOCK=16), measured_at="2026-01-01T00:00:00+00:00")
            >>> evidence.origin, evidence.rounds, evidence.interval
            ('E=8,N=512.json', 0, (0.0, inf))
        """
        if not origin:
            raise TunerError("a config that was not proven here needs an origin; say which file or program tells of it")
        known = default_seconds > 0 and config_seconds > 0
        return cls(
            default=default,
            default_seconds=default_seconds,
            config_seconds=config_seconds,
            speedup=default_seconds / config_seconds if known else 1.0,
            interval=(0.0, math.inf),
            confidence=0.0,
            threshold=1.0,
            rounds=0,
            seed=0,
            samples={},
            resources=resources or {},
            environment=environment or {},
            measured_at=measured_at,
            origin=origin,
        )

    @property
    def largest_error(self) -> float | None:
        """The largest absolute error of an output over its largest true value; None if nobody looked, or it was NaN."""
        error = self.resources.get("rel_error")
        return float(error) if isinstance(error, int | float) else None

    @property
    def tolerance(self) -> str | None:
        """How far outputs were allowed to be from the truth, in words; None if it was not kept."""
        tolerance = self.resources.get("tolerance")
        return tolerance if isinstance(tolerance, str) else None

    @property
    def conditions(self) -> dict[str, Scalar]:
        """Under which conditions the final was measured: clocks, other processes, graphs, caches, discarded rounds."""
        return {name: value for name, value in self.resources.items() if name in _CONDITIONS}

    @property
    def metric(self) -> str:
        """What was compared, such as `seconds`."""
        return str(self.objective.get("metric", "seconds"))

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        return {
            "default": dict(self.default),
            "default_seconds": self.default_seconds,
            "config_seconds": self.config_seconds,
            "speedup": self.speedup,
            # Of too few pairs an end is infinite, which JSON cannot carry.
            "interval": [end if math.isfinite(end) else None for end in self.interval],
            "confidence": self.confidence,
            "threshold": self.threshold,
            "rounds": self.rounds,
            "seed": self.seed,
            "samples": {name: list(values) for name, values in self.samples.items()},
            "resources": dict(self.resources),
            "environment": dict(self.environment),
            "measured_at": self.measured_at,
            "estimate": self.estimate,
            "sign_p": self.sign_p,
            "seeds": dict(self.seeds),
            "edge_shapes": [dict(shape) for shape in self.edge_shapes],
            "source_hash": self.source_hash,
            "origin": self.origin,
            "objective": dict(self.objective),
            "default_value": self.default_value,
            "config_value": self.config_value,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evidence:
        """Read back what `to_json` wrote, in this version, an older or a newer one: what it does not know it leaves."""
        low, high = data["interval"]
        samples: dict[str, Sequence[float]] = data["samples"]
        return cls(
            **{
                **{name: value for name, value in data.items() if name in _EVIDENCE_FIELDS},
                "default": Config(data["default"]),
                "interval": (-math.inf if low is None else low, math.inf if high is None else high),
                "samples": {name: tuple(values) for name, values in samples.items()},
                "edge_shapes": tuple(Workload(shape) for shape in data.get("edge_shapes", ())),
            }
        )


_EVIDENCE_FIELDS = frozenset(one.name for one in fields(Evidence))

# The resources of a final that tell of the device and of how it was timed, whichever kind of device it was.
_CONDITIONS = frozenset(
    {
        "cache",
        "clock",
        "clock_hz",
        "clock_reason",
        "copies",
        "discarded_rounds",
        "flushed_bytes",
        "frequency_hz",
        "graph",
        "graph_calls",
        "joules",
        "load",
        "memory_clock_hz",
        "nvml",
        "other_processes",
        "power_watts",
        "slowdown_reasons",
        "stopped",
        "temperature_celsius",
    }
)


class State(StrEnum):
    """Where a winner stands; only a promoted one is served."""

    CANDIDATE = "candidate"
    PROMOTED = "promoted"
    QUARANTINED = "quarantined"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Winner:
    """A config that was proven on a task, with its evidence and its state.

    Attributes:
        id: The store's identifier; 0 before it is stored.
        campaign: The campaign that found it.
    """

    task: Task
    config: Config
    evidence: Evidence
    state: State
    campaign: str = ""
    id: int = 0


@dataclass(frozen=True, slots=True)
class Miss:
    """What serving code asked for and had no winner for: a campaign to come.

    Attributes:
        kernel: The tunable's name or reference, as it was asked for.
        workload: The workload that was asked for.
        device: The device on which it was asked.
        count: How often, at least once.
        source: What was served instead, such as `nearest` or `default`; of several, the last.
        last_at: When it was asked for last: UTC, ISO 8601.

    Example:
        >>> device = Device("cpu", "a processor", "x86_64", 8, 16 << 30)
        >>> miss = Miss("cpp:softmax", Workload(M=4, N=512), device, 3, "default", "2026-11-28T00:00:00+00:00")
        >>> Miss.from_json(miss.to_json()) == miss
        True
    """

    kernel: str
    workload: Workload
    device: Device
    count: int
    source: str
    last_at: str

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise TunerError(f"count={self.count!r} of a miss of {self.kernel} is not a number of times; use 1 or more")

    @property
    def key(self) -> str:
        """Identifies what was asked for, as `Task.place` does; environment, count and time do not enter."""
        return digest([self.kernel, dict(self.workload), self.device.fingerprint])

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        return {
            "kernel": self.kernel,
            "workload": dict(self.workload),
            "device": self.device.to_json(),
            "count": self.count,
            "source": self.source,
            "last_at": self.last_at,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Miss:
        """Read back what `to_json` wrote."""
        return cls(
            kernel=data["kernel"],
            workload=Workload(data["workload"]),
            device=Device.from_json(data["device"]),
            count=data["count"],
            source=data["source"],
            last_at=data["last_at"],
        )
