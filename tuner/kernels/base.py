"""An operator says what is computed; a kernel is an operator with a source and a search space on one toolchain."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tuner.errors import WorkloadError
from tuner.kernels.arguments import Arguments, Place
from tuner.kernels.check import Case, Tolerance, Verdict, check
from tuner.kernels.clock import Elapsed
from tuner.kernels.distribution import GENERIC, Distribution, Unspecified, planted
from tuner.kernels.edge import edge_shapes
from tuner.kernels.option import OPTIONS, checked_options, without_options
from tuner.kernels.timing import Timing, interleave, joined
from tuner.search_spaces import SearchSpace
from tuner.types import Artifact, Build, Config, Device, Measurement, Sampling, Scalar, Status, Work, Workload, is_cold

__all__ = ["Array", "Field", "Kernel", "Launcher", "Operator", "Output", "Tolerance"]

Array = npt.NDArray[Any]

# An edge shape beyond either of these would take longer than some milliseconds to check.
_EDGE_FLOPS = 1 << 27
_EDGE_BYTES = 1 << 25


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an operator's workload.

    Attributes:
        name: Its name, as on the command line.
        default: Its value where the workload does not give one; None makes the field required.
        choices: The values it may take; empty for a positive integer.
        multiple_of: What an integer must be divisible by.
    """

    name: str
    default: int | str | None = None
    choices: tuple[str, ...] = ()
    multiple_of: int = 1

    def check(self, value: Scalar) -> Scalar:
        """Return `value` if it fits this field.

        Raises:
            WorkloadError: it does not; the message says what would.
        """
        if self.choices:
            if value not in self.choices:
                raise WorkloadError(f"{self.name}={value!r} is not taken; choose one of {', '.join(self.choices)}")
        elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise WorkloadError(f"{self.name}={value!r} is not a positive integer")
        elif value % self.multiple_of:
            raise WorkloadError(f"{self.name}={value} is not a multiple of {self.multiple_of}")
        return value


@dataclass(frozen=True, slots=True)
class Output:
    """Shape and dtype of one output; bfloat16 is stored as `uint16`."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Operator:
    """What a kernel computes, on every toolchain: the fields of its workload, its inputs, its true result.

    Attributes:
        name: The field's name for it, such as `softmax`.
        fields: The workload's fields.
        inputs: From a workload and a seeded generator to the input arrays, in the order of the kernel's arguments.
        outputs: From a workload to the outputs, in the order of the kernel's arguments after the inputs.
        reference: From a workload and the inputs to the true outputs, computed in float64.
        work: From a workload to the flops and bytes of one call.
        tolerance: From a workload to how far an output may be from the reference.
        workloads: Named workloads, from real models.
        valid: From a workload to why its fields do not fit together, or None.
        distributions: By name, what makes other inputs of the random ones; see `tuner.kernels.distribution`.
        unspecified: Inputs in which a NaN or an infinity may do anything, with the reason.
        edges: From a workload to edge shapes of it, the fields of other workloads; those that are not valid, or take
            long, are left out. By default every size is moved in turn.
    """

    name: str
    fields: Sequence[Field]
    inputs: Callable[[Workload, np.random.Generator], Mapping[str, Array]]
    outputs: Callable[[Workload], Mapping[str, Output]]
    reference: Callable[[Workload, Mapping[str, Array]], Mapping[str, Array]]
    work: Callable[[Workload], Work]
    tolerance: Callable[[Workload], Tolerance] = lambda _: Tolerance()
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    valid: Callable[[Workload], str | None] = lambda _: None
    distributions: Mapping[str, Distribution] = field(default_factory=lambda: GENERIC)
    unspecified: Sequence[Unspecified] = ()
    edges: Callable[[Workload], Iterable[Mapping[str, Scalar]]] | None = None

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the checked workload, defaults filled in; the options of `tuner.kernels.option` only where given.

        Raises:
            WorkloadError: a field is missing, unknown, or has a value that is not taken.
        """
        names = [field.name for field in self.fields]
        if unknown := [name for name in fields if name not in (*names, *OPTIONS)]:
            raise WorkloadError(
                f"{self.name} has no workload field {unknown[0]!r}; it has: {', '.join(names)}, "
                f"and takes {' and '.join(OPTIONS)}"
            )
        values: dict[str, Scalar] = {}
        for spec in self.fields:
            value = fields.get(spec.name, spec.default)
            if value is None:
                raise WorkloadError(f"{self.name} needs the workload field {spec.name!r}; give {spec.name}=VALUE")
            values[spec.name] = spec.check(value)
        workload = Workload({**values, **checked_options(fields)})
        if reason := self.valid(workload):
            raise WorkloadError(f"{self.name}: {reason}")
        return workload

    def allowed(self, workload: Workload) -> Tolerance:
        """Return how far an output may be from the reference: what the workload grants, or else the operator."""
        error = workload.get("rel_error")
        return Tolerance(rel_error=error) if isinstance(error, float) else self.tolerance(workload)

    def cases(self, workload: Workload, seed: int, *, thorough: bool = False) -> Iterator[Case]:
        """Yield random inputs with their true outputs, and then others that derive from them.

        Args:
            workload: What the inputs are for.
            seed: What they are drawn with.
            thorough: Whether every distribution is there; otherwise one, which the seed decides.
        """
        inputs = self.inputs(workload, np.random.default_rng(seed))
        yield Case("random", inputs, self._expected(workload, inputs))
        rng = np.random.default_rng((seed, 1))
        distributions = {**self.distributions, **planted(self.unspecified)}
        names = list(distributions)
        for name in names if thorough else names[rng.integers(len(names)) :][:1]:
            derived = distributions[name](inputs, rng)
            yield Case(name, derived, self._expected(workload, derived))

    def _expected(self, workload: Workload, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        # Some inputs hold a NaN or an infinity on purpose.
        with np.errstate(all="ignore"):
            return self.reference(workload, inputs)

    def edge_workloads(self, workload: Workload) -> list[Workload]:
        """Return valid workloads beside `workload` that a kernel may get wrong, each checked in milliseconds."""
        units = {field.name: field.multiple_of for field in self.fields if not field.choices}
        plain = without_options(workload)
        found = []
        for shape in self.edges(plain) if self.edges else edge_shapes(plain, units):
            try:
                edge = self.workload({**workload, **shape})
            except WorkloadError:
                continue
            work = self.work(edge)
            if work.flops <= _EDGE_FLOPS and work.bytes <= _EDGE_BYTES:
                found.append(edge)
        return found


class Launcher(Protocol):
    """A loaded artifact, bound to nothing: it takes the arguments at each call."""

    def call(self, arguments: Arguments) -> None:
        """Run the kernel once on `arguments` and wait for it."""

    def time(self, arguments: Arguments, calls: int) -> Elapsed:
        """Return what `calls` consecutive calls took."""

    def evict(self, arguments: Arguments) -> None:
        """Throw the arguments out of all caches.

        Raises:
            OSError: the device cannot do that.
        """


class Kernel(ABC):
    """A tunable kernel: an operator, a search space, and a toolchain that builds and loads its source.

    Subclasses are toolchains. They give `environment`, `build_key`, `build` and `load`; checking and timing are the
    same for all.
    """

    device_kinds: tuple[str, ...] = ()

    def __init__(self, operator: Operator, space: SearchSpace | Callable[[Workload, Device], SearchSpace]) -> None:
        self.operator = operator
        self._space = space

    @property
    def name(self) -> str:
        """The operator's name."""
        return self.operator.name

    @property
    @abstractmethod
    def version(self) -> str:
        """Hash of everything that decides results."""

    @property
    def workloads(self) -> Mapping[str, Workload]:
        """The operator's named workloads."""
        return MappingProxyType(dict(self.operator.workloads))

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the checked workload; see `Operator.workload`."""
        return self.operator.workload(fields)

    def search_space(self, workload: Workload, device: Device) -> SearchSpace:
        """Return the valid configs for `workload` on `device`."""
        return self._space if isinstance(self._space, SearchSpace) else self._space(workload, device)

    def default(self, workload: Workload, device: Device) -> Config:
        """Return the space's default config."""
        return self.search_space(workload, device).default

    def work(self, workload: Workload) -> Work:
        """Return the flops and bytes of one call."""
        return self.operator.work(workload)

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Return the versions of the tools that enter a result."""

    @abstractmethod
    def build_key(self, config: Config, workload: Workload, device: Device) -> str | None:
        """Return the hash of everything that enters the build."""

    @abstractmethod
    def build(self, config: Config, workload: Workload, device: Device) -> Artifact | None:
        """Return the artifact of `config`."""

    @abstractmethod
    def load(self, artifact: Artifact) -> Launcher:
        """Return `artifact`, loaded into this process."""

    def measure(self, builds: Sequence[Build], workload: Workload, sampling: Sampling) -> list[Measurement]:
        """Check each build on fresh inputs, then time the correct ones interleaved; see `Tunable.measure`."""
        started = time.perf_counter()
        launchers = self._load(builds)
        arguments, verdicts = self._check(launchers, workload, sampling)
        seconds = time.perf_counter() - started
        measurements = [_checked(build, verdict, seconds) for build, verdict in zip(builds, verdicts, strict=True)]
        if builds and verdicts[0].error:
            # Without its reference a config cannot be compared with the others.
            error = f"the reference config is wrong on these inputs: {verdicts[0].error}"
            others = [replace(one, status=Status.CORRECTNESS, error=error) for one in measurements[1:]]
            return [measurements[0], *others]
        correct = [i for i, measurement in enumerate(measurements) if measurement.status is Status.CORRECT]
        timed = self._time([builds[i] for i in correct], [launchers[i] for i in correct], arguments, workload, sampling)
        for i, timing in zip(correct, timed, strict=True):
            resources = {**measurements[i].resources, **timing.resources}
            measurements[i] = replace(measurements[i], samples=timing.samples, resources=resources)
        return measurements

    def _time(
        self,
        builds: Sequence[Build],
        launchers: Sequence[Launcher],
        arguments: Arguments,
        workload: Workload,
        sampling: Sampling,
    ) -> list[Timing]:
        """Time the builds side by side, in so many loads as are asked for and there is time for."""
        deadline = time.perf_counter() + sampling.seconds
        loads: list[list[Timing]] = []
        while builds and (not loads or (len(loads) < sampling.loads and time.perf_counter() < deadline)):
            if loads:
                launchers, arguments = self._load(builds), arguments.copy()
            share = replace(
                sampling,
                seed=sampling.seed + len(loads),
                rounds=math.ceil(sampling.rounds / sampling.loads),
                seconds=sampling.seconds / sampling.loads,
            )
            threaded = any(build.config.get("THREADS", 1) != 1 for build in builds)
            loads.append(interleave(launchers, arguments, share, cold=is_cold(workload), threaded=threaded))
        # One load of several tells so, or it would pass for all that was asked for.
        return loads[0] if sampling.loads == 1 and loads else [joined(timings) for timings in zip(*loads, strict=True)]

    def _load(self, builds: Sequence[Build]) -> list[Launcher]:
        artifacts = [build.artifact for build in builds]
        return [self.load(artifact) for artifact in artifacts if artifact is not None]

    def _check(
        self, launchers: Sequence[Launcher], workload: Workload, sampling: Sampling
    ) -> tuple[Arguments, list[Verdict]]:
        """Return a verdict on each launcher, and the arguments with the random inputs in them."""
        cases = self.operator.cases(workload, sampling.seed, thorough=sampling.thorough)
        first = next(cases)
        outputs = {name: (spec.shape, spec.dtype) for name, spec in self.operator.outputs(workload).items()}
        arguments = Arguments(first.inputs, outputs)
        calls = [launcher.call for launcher in launchers]
        places = (Place.LEFT, Place.RIGHT) if sampling.thorough else (Place.RIGHT,)
        return arguments, check(calls, arguments, chain([first], cases), self.operator.allowed(workload), places)

    def edges(self, workload: Workload) -> Sequence[Workload]:
        """Return the operator's edge shapes."""
        return self.operator.edge_workloads(workload)


def _checked(build: Build, verdict: Verdict, seconds: float) -> Measurement:
    """Return the measurement of a build that was checked and not yet timed."""
    assert build.artifact is not None, "kernels are always built"
    status = Status.CORRECTNESS if verdict.error else Status.CORRECT
    resources = {**build.artifact.metadata, **verdict.resources}
    return Measurement(status, measure_seconds=seconds, resources=resources, error=verdict.error)
