"""An operator says what is computed; a kernel is an operator with a source and a search space on one toolchain."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tuner.kernels.arguments import Arguments, Place
from tuner.kernels.check import Case, Tolerance, Verdict, check
from tuner.kernels.clock import Elapsed
from tuner.kernels.distribution import GENERIC, Distribution, Unspecified, planted
from tuner.kernels.problem import Field, Problem
from tuner.kernels.timing import Timing, interleave, spread_over_loads
from tuner.search_spaces import SearchSpace
from tuner.types import Artifact, Build, Config, Device, Measurement, Sampling, Scalar, Status, Work, Workload, is_cold

__all__ = ["Array", "Field", "Kernel", "Launcher", "Operator", "Output", "ProblemKernel", "Tolerance", "judged"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Output:
    """Shape and dtype of one output; bfloat16 is stored as `uint16`."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Operator(Problem):
    """What a kernel computes on a CPU: the fields of its workload, its inputs as arrays, its true result.

    Attributes:
        inputs: From a workload and a seeded generator to the input arrays, in the order of the kernel's arguments.
        outputs: From a workload to the outputs, in the order of the kernel's arguments after the inputs.
        reference: From a workload and the inputs to the true outputs, computed in float64.
        distributions: By name, what makes other inputs of the random ones; see `tuner.kernels.distribution`.
        unspecified: Inputs in which a NaN or an infinity may do anything, with the reason.
    """

    inputs: Callable[[Workload, np.random.Generator], Mapping[str, Array]]
    outputs: Callable[[Workload], Mapping[str, Output]]
    reference: Callable[[Workload, Mapping[str, Array]], Mapping[str, Array]]
    distributions: Mapping[str, Distribution] = field(default_factory=lambda: GENERIC)
    unspecified: Sequence[Unspecified] = ()

    def cases(self, workload: Workload, seed: int, *, thorough: bool = False) -> Iterator[Case[Array]]:
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


class ProblemKernel(ABC):
    """A problem with a search space: what kernels of arrays and kernels of tensors share."""

    device_kinds: tuple[str, ...] = ()

    def __init__(self, problem: Problem, space: SearchSpace | Callable[[Workload, Device], SearchSpace]) -> None:
        self._problem = problem
        self._space = space

    @property
    def name(self) -> str:
        """The operator's name."""
        return self._problem.name

    @property
    @abstractmethod
    def version(self) -> str:
        """Hash of everything that decides results."""

    @property
    def workloads(self) -> Mapping[str, Workload]:
        """The operator's named workloads."""
        return MappingProxyType(dict(self._problem.workloads))

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the checked workload; see `Problem.workload`."""
        return self._problem.workload(fields)

    def search_space(self, workload: Workload, device: Device) -> SearchSpace:
        """Return the valid configs for `workload` on `device`."""
        return self._space if isinstance(self._space, SearchSpace) else self._space(workload, device)

    def default(self, workload: Workload, device: Device) -> Config:
        """Return the space's default config."""
        return self.search_space(workload, device).default

    def work(self, workload: Workload) -> Work:
        """Return the flops and bytes of one call."""
        return self._problem.work(workload)

    def edges(self, workload: Workload) -> Sequence[Workload]:
        """Return the operator's edge shapes."""
        return self._problem.edge_workloads(workload)

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
    def measure(self, builds: Sequence[Build], workload: Workload, sampling: Sampling) -> list[Measurement]:
        """Check each build on fresh inputs, then time the correct ones interleaved; see `Tunable.measure`."""


class Kernel(ProblemKernel):
    """A tunable kernel of arrays: an operator, a search space, and a toolchain that builds and loads its source.

    Subclasses are toolchains. They give `environment`, `build_key`, `build` and `load`; checking and timing are the
    same for all.
    """

    def __init__(self, operator: Operator, space: SearchSpace | Callable[[Workload, Device], SearchSpace]) -> None:
        super().__init__(operator, space)
        self.operator = operator

    @abstractmethod
    def load(self, artifact: Artifact) -> Launcher:
        """Return `artifact`, loaded into this process."""

    def measure(self, builds: Sequence[Build], workload: Workload, sampling: Sampling) -> list[Measurement]:
        """Check each build on fresh inputs, then time the correct ones interleaved; see `Tunable.measure`."""
        started = time.perf_counter()
        launchers = self._load(builds)
        arguments, verdicts = self._check(launchers, workload, sampling)
        seconds = time.perf_counter() - started

        def timed(correct: Sequence[int]) -> list[Timing]:
            racing = [builds[i] for i in correct]
            return self._time(racing, [launchers[i] for i in correct], arguments, workload, sampling)

        return judged(builds, verdicts, seconds, timed)

    def _time(
        self,
        builds: Sequence[Build],
        launchers: Sequence[Launcher],
        arguments: Arguments,
        workload: Workload,
        sampling: Sampling,
    ) -> list[Timing]:
        """Time the builds side by side, in so many loads as are asked for and there is time for."""
        threaded = any(build.config.get("THREADS", 1) != 1 for build in builds)

        def timed(load: int, share: Sampling) -> list[Timing]:
            here, there = (self._load(builds), arguments.copy()) if load else (launchers, arguments)
            return interleave(here, there, share, cold=is_cold(workload), threaded=threaded)

        return spread_over_loads(sampling, timed) if builds else []

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


def judged(
    builds: Sequence[Build],
    verdicts: Sequence[Verdict],
    seconds: float,
    timed: Callable[[Sequence[int]], Sequence[Timing]],
) -> list[Measurement]:
    """Return the measurements of builds that were checked, the correct ones timed; none where the reference is wrong.

    Args:
        builds: The first is the reference of the others.
        verdicts: What the check found, one for each.
        seconds: What the check took.
        timed: From the positions of the correct ones to their timings.
    """
    measurements = [_checked(build, verdict, seconds) for build, verdict in zip(builds, verdicts, strict=True)]
    if builds and verdicts[0].error:
        # Without its reference a config cannot be compared with the others.
        error = f"the reference config is wrong on these inputs: {verdicts[0].error}"
        others = [replace(one, status=Status.CORRECTNESS, error=error) for one in measurements[1:]]
        return [measurements[0], *others]
    correct = [i for i, measurement in enumerate(measurements) if measurement.status is Status.CORRECT]
    for i, timing in zip(correct, timed(correct), strict=True):
        resources = {**measurements[i].resources, **timing.resources}
        measurements[i] = replace(measurements[i], samples=timing.samples, resources=resources)
    return measurements


def _checked(build: Build, verdict: Verdict, seconds: float) -> Measurement:
    """Return the measurement of a build that was checked and not yet timed."""
    assert build.artifact is not None, "kernels are always built"
    status = Status.CORRECTNESS if verdict.error else Status.CORRECT
    resources = {**build.artifact.metadata, **verdict.resources}
    return Measurement(status, measure_seconds=seconds, resources=resources, error=verdict.error)
