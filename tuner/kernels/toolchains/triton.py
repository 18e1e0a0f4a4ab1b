"""Triton kernels, compiled for a named GPU by Triton itself behind a stand-in for the driver: no GPU is needed."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import io
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.errors import BuildError, MissingDependencyError
from tuner.kernels.gpu.assembler import assembled, settled
from tuner.kernels.gpu.binary import Binary, Resources
from tuner.kernels.gpu.kernel import Bound, GpuKernel, Planner
from tuner.kernels.gpu.launch import Launch, Program, Value
from tuner.kernels.gpu.operator import TensorOperator
from tuner.kernels.gpu.pruning import Pruning
from tuner.kernels.gpu.request import ALIGNMENT, Argument, Request
from tuner.kernels.gpu.source import Parameter, parameters_of, sources_of
from tuner.kernels.gpu.tensor import DTYPES, Tensor
from tuner.kernels.option import without_options
from tuner.reference import import_file
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Device, Scalar, Workload

__all__ = ["OPTIONS", "TritonKernel"]

OPTIONS = ("num_warps", "num_stages", "maxnreg", "waves_per_eu", "matrix_instr_nonkdim", "kpack")
"""Parameters of these names are told to the compiler, and are no constants of the function."""

_POINTER = "_ptr"
# An integer that 16 does not divide, and is not 1; and what makes it need 64 bits.
_ODD, _WIDE = 3, 1 << 32
_ERROR_LINES = 6

_AMD_FIELD = r"\.{}:\s+(\d+)"


class TritonKernel(GpuKernel):
    """A kernel of one or several `triton.jit` functions in one Python file, which only builders import.

    A parameter of the function without a value in the launch is bound by name: `x_ptr` or `x` to the tensor `x`, a
    constant to the config's parameter or the workload's field. Config parameters of the names in `OPTIONS` go to the
    compiler.

    Args:
        operator: What it computes.
        source: The file with the functions, or a `triton.jit` function.
        space: The search space, or a function of workload and device that returns it.
        program: From config, workload and device to the launches of one call; for one function, `grid` is enough.
        grid: From config and workload to the blocks of the one function, where there is no `program`.
        entry: That function's name, where `source` is a file.
        pruning: What is refused before it costs time on a device.

    Example:
        >>> from tuner.gpus import target_device
        >>> from tuner.kernels.softmax.triton import KERNEL
        >>> workload, device = KERNEL.workload({"M": 4, "N": 1000}), target_device("cuda:90")
        >>> [request] = KERNEL.requests(KERNEL.default(workload, device), workload, device)
        >>> [argument.type for argument in request.arguments]
        ['*bf16', '*bf16', 'i32', 'i32']
    """

    device_kinds = ("cuda", "hip")

    def __init__(
        self,
        operator: TensorOperator,
        source: Path | Any,
        space: SearchSpace | Callable[[Workload, Device], SearchSpace],
        program: Planner | None = None,
        *,
        grid: Callable[[Config, Workload], tuple[int, ...]] | None = None,
        entry: str = "",
        pruning: Pruning = Pruning(),
    ) -> None:
        file = source if isinstance(source, Path) else Path(source.fn.__code__.co_filename)
        name = entry or getattr(source, "__name__", "")
        if program is None:
            if grid is None or not name:
                raise TypeError("a Triton kernel needs a program, or a function with its grid")
            program = _one_launch(name, grid)
        super().__init__(operator, file, space, program, pruning=pruning)

    def environment(self) -> Mapping[str, str]:
        """Return Triton's version.

        Raises:
            MissingDependencyError: it is not installed.
        """
        return {"triton": _version()}

    def sources(self) -> Sequence[Path]:
        """Return the source and what it imports from beside itself or from this package."""
        return sources_of(self.source)

    def bind(self, launch: Launch, config: Config, workload: Workload, tensors: Mapping[str, Tensor]) -> Bound:
        """Return a launch with a value for each parameter of its function.

        Raises:
            BuildError: a parameter has none.
        """
        fields = without_options(workload)
        values: dict[str, Value] = {}
        constants: dict[str, Scalar] = {}
        for parameter in parameters_of(self.source, launch.entry):
            if parameter.constant:
                found = _constant(parameter.name, launch, config, fields)
                if found is not None:
                    constants[parameter.name] = found
                elif not parameter.optional:
                    raise self._unbound(launch, parameter, [*config, *fields])
            else:
                value = _value(parameter.name, launch, fields, tensors)
                if value is None:
                    raise self._unbound(launch, parameter, [*tensors, *fields])
                values[parameter.name] = value
        options = {name: config[name] for name in OPTIONS if name in config and name not in launch.options}
        # No bound on registers is asked for by 0.
        options = {name: value for name, value in options.items() if name != "maxnreg" or value}
        told = Launch(launch.entry, launch.grid, launch.arguments, launch.constants, {**options, **launch.options})
        return Bound(told, values, constants)

    def compile(self, request: Request) -> Binary:
        """Compile a function for the request's target.

        Raises:
            BuildError: Triton or the assembler refused it.
            MissingDependencyError: Triton is not installed.
        """
        _version()
        function = self.function(request.entry)
        with tempfile.TemporaryDirectory(prefix="tuner-triton-") as folder:
            said = io.StringIO()
            try:
                with contextlib.redirect_stdout(said):
                    compiled = _warmed_up(function, request, Path(folder))
            except Exception as error:
                raise BuildError(_message(error)) from error
            return _binary(compiled, request, said.getvalue())

    def function(self, entry: str) -> Any:
        """Return the `triton.jit` function, imported from the source."""
        return getattr(import_file(self.source), entry)

    def _unbound(self, launch: Launch, parameter: Parameter, known: Sequence[str]) -> BuildError:
        return BuildError(
            f"{launch.entry} needs a value for {parameter.name!r}: no tensor, field or parameter has this name "
            f"({', '.join(known)}); give it among the launch's {'constants' if parameter.constant else 'arguments'}"
        )


def _one_launch(entry: str, grid: Callable[[Config, Workload], tuple[int, ...]]) -> Planner:
    def program(config: Config, workload: Workload, _: Device) -> Program:
        return Program((Launch(entry, grid(config, workload)),))

    return program


def _constant(name: str, launch: Launch, config: Config, fields: Mapping[str, Scalar]) -> Scalar | None:
    found: Mapping[str, Scalar] | None = next((one for one in (launch.constants, config, fields) if name in one), None)
    return None if found is None else found[name]


def _value(name: str, launch: Launch, fields: Mapping[str, Scalar], tensors: Mapping[str, Tensor]) -> Value | None:
    if name in launch.arguments:
        return launch.arguments[name]
    tensor = name.removesuffix(_POINTER)
    if tensor in tensors:
        return tensor
    value = fields.get(name)
    return value if isinstance(value, int | float) else None


@functools.cache
def _version() -> str:
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependencyError("Triton is not installed; pip install 'rltuner[triton]'") from error


class _StandIn:
    """Answers for a driver: which target to compile for."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def get_current_target(self) -> Any:
        return self._target

    def get_current_device(self) -> str:
        return repr(self._target)

    def get_current_stream(self, _: Any) -> int:
        return 0


class _Named:
    """A dtype, of which Triton reads the name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __str__(self) -> str:
        return self._name

    __repr__ = __str__


# Triton remembers a dtype's name by the object's address, so that these must stay for good.
_NAMED = {one.triton: _Named(f"torch.{one.torch}") for one in DTYPES.values()}


class _Pointer:
    """A tensor, of which Triton reads dtype, address and extent."""

    def __init__(self, argument: Argument) -> None:
        self.dtype = _NAMED[argument.type.removeprefix("*")]
        self._address = ALIGNMENT if argument.aligned else 1
        self._extent = ALIGNMENT if argument.near else _WIDE

    def data_ptr(self) -> int:
        return self._address

    def ptr_range(self) -> int:
        return self._extent


def _stand_in(argument: Argument) -> Any:
    """Return a value that Triton specialises as it would the real one."""
    if argument.type.startswith("*"):
        return _Pointer(argument)
    if argument.type == "fp32":
        return 0.5
    if argument.one:
        return 1
    value = ALIGNMENT if argument.aligned else _ODD
    return value + (_WIDE if argument.type == "i64" else 0)


def _warmed_up(function: Any, request: Request, cache: Path) -> Any:
    """Return what Triton compiles, with its own cache elsewhere: ours keeps artifacts, and a hit there has no log."""
    triton = importlib.import_module("triton")
    compiler = importlib.import_module("triton.backends.compiler")
    kind, _, arch = request.target.partition(":")
    target = compiler.GPUTarget("cuda", int(arch), 32) if kind == "cuda" else compiler.GPUTarget("hip", arch, 64)
    triton.runtime.driver.set_active(_StandIn(target))
    triton.knobs.cache.dir = str(cache)
    triton.knobs.nvidia.dump_ptxas_log = True
    function.device_caches.clear()
    arguments = {argument.name: _stand_in(argument) for argument in request.arguments}
    # What Triton assumes of this where nothing is said differs between its versions.
    options = {"enable_fp_fusion": True, **request.options}
    return function.warmup(grid=(1,), **arguments, **request.constants, **options)


def _binary(compiled: Any, request: Request, log: str) -> Binary:
    metadata = compiled.metadata._asdict()
    threads = metadata["num_warps"] * metadata["warp_size"]
    constants = {index for (index,) in compiled.src.constants}
    kinds = list(compiled.src.signature.items())
    parameters = tuple((name, kind) for i, (name, kind) in enumerate(kinds) if i not in constants)
    cuda = request.target.startswith("cuda")
    shared = metadata["shared"]
    used = assembled(log, threads, shared) if cuda else _amd_resources(compiled.asm["amdgcn"], threads, shared)
    return Binary(
        entry=metadata["name"],
        target=request.target,
        image=compiled.asm["cubin" if cuda else "hsaco"],
        parameters=tuple((name, kind) for name, kind in parameters if kind != "constexpr"),
        resources=used,
        dynamic_bytes=shared,
        scratch_bytes=metadata.get("global_scratch_size") or 0,
        scratch_pointers=2,
        log=settled(log),
        tools=f"triton {_version()}",
    )


def _amd_resources(assembly: str, threads: int, dynamic_bytes: int) -> Resources:
    """Return what the assembly's metadata say."""

    def told(name: str) -> int:
        found = re.search(_AMD_FIELD.format(name), assembly)
        return int(found.group(1)) if found else 0

    return Resources(
        threads=threads,
        # Accumulation registers are part of this count since CDNA 2.
        registers=told("vgpr_count"),
        shared_bytes=dynamic_bytes + told("group_segment_fixed_size"),
        spill_bytes=4 * told("vgpr_spill_count"),
        stack_bytes=told("private_segment_fixed_size"),
    )


def _message(error: Exception) -> str:
    """Return what was wrong, in a few lines."""
    kind, text = type(error).__name__, str(error).strip()
    if kind == "CompilationError":
        # Each function in the chain of calls shows its source up to the place, then the reason; the last one has it.
        last: BaseException = error
        while last.__cause__ or last.__context__:
            last = last.__cause__ or last.__context__ or last
        place = re.search(r"at (\d+):(\d+)", text)
        reason = str(last).rsplit("^", 1)[-1].strip() or type(last).__name__
        where = f"line {place.group(1)} of the function: " if place else ""
        return _short(f"Triton refuses it: {where}{reason}")
    if kind == "PTXASError":
        lines = [line for line in text.splitlines() if "error" in line.lower() or "fatal" in line.lower()]
        return _short("the assembler refuses it: " + "\n".join(lines or text.splitlines()[:2]))
    if kind == "KeyError":
        return f"this Triton has no compiler option {text}"
    return _short(f"{kind}: {text}")


def _short(text: str) -> str:
    return "\n".join(text.splitlines()[:_ERROR_LINES])
