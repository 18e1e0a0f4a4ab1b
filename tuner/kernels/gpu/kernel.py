"""A GPU kernel of any toolchain: built and pruned without a device, checked and timed on one."""

from __future__ import annotations

import hashlib
import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.gpus import limits_of, target_of
from tuner.kernels.base import ProblemKernel
from tuner.kernels.gpu.bench import Bench, Job
from tuner.kernels.gpu.binary import FORMAT, Binary, pack, unpack
from tuner.kernels.gpu.launch import Launch, Program, Value
from tuner.kernels.gpu.operator import TensorOperator
from tuner.kernels.gpu.pruning import Pruning
from tuner.kernels.gpu.request import Request, described
from tuner.kernels.gpu.tensor import Tensor
from tuner.search_spaces import SearchSpace
from tuner.types import Artifact, Build, Config, Device, Measurement, Sampling, Scalar, Workload, digest

__all__ = ["Bound", "GpuKernel", "Planner"]

Planner = Callable[[Config, Workload, Device], Program]
"""From a config, a workload and a device to the program that makes one call."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A launch whose parameters have values.

    Attributes:
        launch: The launch.
        values: By parameter that is no constant, in the function's order.
        constants: By constant, or macro.
    """

    launch: Launch
    values: Mapping[str, Value]
    constants: Mapping[str, Scalar]


class GpuKernel(ProblemKernel):
    """A kernel of tensors in one source file. Subclasses are toolchains: they bind and compile launches.

    Args:
        operator: What it computes.
        source: The file with its functions.
        space: The search space, or a function of workload and device that returns it.
        program: From config, workload and device to the launches of one call.
        pruning: What is refused before it costs time on a device.
    """

    def __init__(
        self,
        operator: TensorOperator,
        source: Path,
        space: SearchSpace | Callable[[Workload, Device], SearchSpace],
        program: Planner,
        *,
        pruning: Pruning = Pruning(),
    ) -> None:
        super().__init__(operator, space)
        self.operator = operator
        self.source = source
        self.program = program
        self.pruning = pruning

    @property
    def version(self) -> str:
        """Hash of the sources, and of the Python files of the operator, the space and the program, as they are now."""
        functions = (self.operator.inputs, self.operator.reference, self._space, self.program)
        python = {file for f in functions if inspect.isfunction(f) and (file := inspect.getsourcefile(f))}
        space = self._space.fingerprint if isinstance(self._space, SearchSpace) else ""
        return digest([self._hashes(), [_hash(Path(file)) for file in sorted(python)], space])

    def build_key(self, config: Config, workload: Workload, device: Device) -> str:
        """Return the hash of the sources, the tools, and all that the compiler is told; sizes are not part of it."""
        requests = [request.to_json() for request in self.requests(config, workload, device)]
        return digest([FORMAT, self._hashes(), dict(self.environment()), requests])

    def build(self, config: Config, workload: Workload, device: Device) -> Artifact:
        """Compile every launch for the device's target.

        Raises:
            BuildError: the compiler refused one.
            MissingDependencyError: there is no compiler.
        """
        binaries = [self.compile(request) for request in self.requests(config, workload, device)]
        return pack(self.build_key(config, workload, device), binaries)

    def refusal(self, artifact: Artifact, device: Device) -> str:
        """Return why `artifact` is not worth the time of `device`, or an empty string."""
        return self.pruning.refusal(unpack(artifact), limits_of(device))

    def requests(self, config: Config, workload: Workload, device: Device) -> list[Request]:
        """Return what is to be compiled for `config`, a request for each launch.

        Raises:
            BuildError: a parameter of a function has no value.
        """
        program = self.program(config, workload, device)
        tensors = {**self.operator.tensors(workload), **program.scratch}
        return [self._request(bound, tensors, device) for bound in self.bound(program, config, workload)]

    def bound(self, program: Program, config: Config, workload: Workload) -> list[Bound]:
        """Return the program's launches with a value for each parameter."""
        tensors = {**self.operator.tensors(workload), **program.scratch}
        return [self.bind(launch, config, workload, tensors) for launch in program.launches]

    @abstractmethod
    def bind(self, launch: Launch, config: Config, workload: Workload, tensors: Mapping[str, Tensor]) -> Bound:
        """Return a launch with a value for each parameter."""

    @abstractmethod
    def compile(self, request: Request) -> Binary:
        """Return the compiled function.

        Raises:
            BuildError: the compiler refused it; one clear message.
            MissingDependencyError: there is no compiler.
        """

    @abstractmethod
    def sources(self) -> Sequence[Path]:
        """Return the source and what it includes."""

    def measure(self, builds: Sequence[Build], workload: Workload, sampling: Sampling) -> list[Measurement]:
        """Check each build on fresh inputs on the GPU, then time the correct ones interleaved."""
        bench = Bench(self.operator, workload, sampling)
        return bench.measure(builds, [self.job(build, workload, bench.device) for build in builds])

    def job(self, build: Build, workload: Workload, device: Device) -> Job:
        """Return what a GPU is to run for `build`."""
        assert build.artifact is not None, "kernels are always built"
        program = self.program(build.config, workload, device)
        bound = self.bound(program, build.config, workload)
        binaries = unpack(build.artifact)
        grids = [one.launch.grid for one in bound]
        return Job(binaries, grids, [one.values for one in bound], program.scratch)

    def _request(self, bound: Bound, tensors: Mapping[str, Tensor], device: Device) -> Request:
        launch = bound.launch
        return Request(
            launch.entry,
            target_of(device),
            described(bound.values, tensors),
            bound.constants,
            launch.options,
            launch.threads,
            launch.shared_bytes,
        )

    def _hashes(self) -> list[str]:
        return [_hash(file) for file in self.sources()]


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
