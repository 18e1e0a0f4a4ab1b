"""CUDA C++ kernels, compiled for a named GPU by NVRTC: no GPU, no toolkit and no driver are needed."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import platformdirs

from tuner.errors import BuildError, MissingDependencyError
from tuner.kernels.gpu.assembler import assembled, settled
from tuner.kernels.gpu.binary import Binary
from tuner.kernels.gpu.kernel import Bound, GpuKernel, Planner
from tuner.kernels.gpu.launch import Launch, Program, Value
from tuner.kernels.gpu.operator import TensorOperator
from tuner.kernels.gpu.pruning import Pruning
from tuner.kernels.gpu.request import Request
from tuner.kernels.gpu.tensor import Tensor
from tuner.kernels.option import without_options
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Device, Scalar, Workload

__all__ = ["INCLUDE", "CudaKernel", "translation_unit"]

INCLUDE = Path(__file__).parent / "include"
"""Folder of the headers that every kernel may include."""

_PACKAGES = ("cuda-bindings", "nvidia-cuda-nvrtc")
_HEADER_PACKAGES = ("nvidia", "triton")
_HEADER_PLACES = ("*/include", "backends/nvidia/include")
_HEADER = "cuda_fp16.h"
# Architectures of which some instructions are for one generation only, such as those of its tensor cores.
_OWN_FEATURES = ("90", "100")
_SYSTEM_INCLUDE = re.compile(r"^\s*#\s*include\s*<[^>]+>.*$", re.MULTILINE)
_INCLUDED = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
_ERRORS = 3


class CudaKernel(GpuKernel):
    """A kernel in one `.cu` file, with its parameters and its workload as macros.

    The file defines `extern "C" __global__` functions, which take the operator's inputs and outputs in order, unless a
    launch says otherwise. Each config parameter and workload field is a macro of its name in capitals; true is 1, and
    text stands as it is, so that `DTYPE=bf16` can name a type of the header `types.cuh`. The macros are defined after
    the headers in angle brackets are included, and so may have short names. Every pointer is aligned to 16 bytes. A
    parameter `MAXNREG` bounds the registers of a thread, where it is not 0.

    Args:
        operator: What it computes.
        source: The `.cu` file.
        space: The search space, or a function of workload and device that returns it.
        program: From config, workload and device to the launches of one call; for one function, `grid` is enough.
        grid: From config and workload to the blocks of the one function, where there is no `program`.
        threads: From a config to the threads of a block of it; by default its parameter `THREADS`.
        entry: That function's name.
        pruning: What is refused before it costs time on a device.

    Example:
        >>> from tuner.gpus import target_device
        >>> from tuner.kernels.softmax.cuda import KERNEL
        >>> workload, device = KERNEL.workload({"M": 4, "N": 1000}), target_device("cuda:90")
        >>> [request] = KERNEL.requests(KERNEL.default(workload, device), workload, device)
        >>> request.constants["DTYPE"], request.constants["VECTOR"], request.threads
        ('bf16', 8, 64)
    """

    device_kinds = ("cuda",)

    def __init__(
        self,
        operator: TensorOperator,
        source: Path,
        space: SearchSpace | Callable[[Workload, Device], SearchSpace],
        program: Planner | None = None,
        *,
        grid: Callable[[Config, Workload], tuple[int, ...]] | None = None,
        threads: Callable[[Config], int] = lambda config: config.integer("THREADS"),
        entry: str = "kernel",
        pruning: Pruning = Pruning(),
    ) -> None:
        if program is None:
            if grid is None:
                raise TypeError("a CUDA kernel needs a program, or the grid of its function")
            program = _one_launch(entry, grid, threads)
        super().__init__(operator, source, space, program, pruning=pruning)

    def environment(self) -> Mapping[str, str]:
        """Return the versions of NVRTC and of what calls it.

        Raises:
            MissingDependencyError: one is not installed.
        """
        return _versions()

    def sources(self) -> Sequence[Path]:
        """Return the source and the files that it includes in quotes, directly or through each other."""
        found: list[Path] = []
        waiting = [self.source]
        while waiting:
            file = waiting.pop()
            if file not in found:
                found.append(file)
                for name in _INCLUDED.findall(file.read_text()):
                    waiting += [path for path in (file.parent / name, INCLUDE / name) if path.is_file()][:1]
        return found

    def bind(self, launch: Launch, config: Config, workload: Workload, tensors: Mapping[str, Tensor]) -> Bound:
        """Return a launch with its macros; without arguments of its own it takes the operator's tensors."""
        fields: dict[str, Scalar] = {**without_options(workload), **config, **launch.constants}
        constants = {name.upper(): value for name, value in sorted(fields.items())}
        values: Mapping[str, Value] = launch.arguments or {
            name: name for name in self.operator.tensors(workload) if name in tensors
        }
        return Bound(launch, values, constants)

    def compile(self, request: Request) -> Binary:
        """Compile a function for the request's target.

        Raises:
            BuildError: the compiler refused it; the message has its first errors.
            MissingDependencyError: there is no NVRTC.
        """
        tools = _versions()
        text = translation_unit(self.source.read_text(), request.constants, _texts(self.sources()))
        image, log = _compiled(text, str(self.source), self._options(request))
        return Binary(
            entry=request.entry,
            target=request.target,
            image=image,
            parameters=tuple((argument.name, argument.type) for argument in request.arguments),
            resources=assembled(log, request.threads, request.shared_bytes),
            dynamic_bytes=request.shared_bytes,
            log=settled(log),
            tools=", ".join(f"{name} {number}" for name, number in tools.items()),
        )

    def _options(self, request: Request) -> list[str]:
        version = request.target.partition(":")[2]
        architecture = f"sm_{version}{'a' if version in _OWN_FEATURES else ''}"
        options = [f"--gpu-architecture={architecture}", "--std=c++17", "--ptxas-options=-v"]
        # What NVRTC takes from a cache of its own comes without the assembler's words; ours is in front of it anyway.
        options.append("--no-cache")
        options += [f"--include-path={folder}" for folder in (self.source.parent, INCLUDE)]
        registers = request.constants.get("MAXNREG", 0)
        if isinstance(registers, int) and registers:
            options.append(f"--maxrregcount={registers}")
        # Looked for only where there is anything to find.
        return options + (_header_options() if _SYSTEM_INCLUDE.search(_texts(self.sources())) else [])


def _one_launch(
    entry: str, grid: Callable[[Config, Workload], tuple[int, ...]], threads: Callable[[Config], int]
) -> Planner:
    def program(config: Config, workload: Workload, _: Device) -> Program:
        return Program((Launch(entry, grid(config, workload), threads=threads(config)),))

    return program


@functools.cache
def _versions() -> Mapping[str, str]:
    try:
        return {name: importlib.metadata.version(name) for name in _PACKAGES}
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependencyError(f"{error.name} is not installed; pip install 'rltuner[cuda]'") from error


def _compiled(text: str, name: str, options: Sequence[str]) -> tuple[bytes, str]:
    """Return the cubin of a program, and what the compiler said.

    Raises:
        BuildError: the compiler refused it.
        MissingDependencyError: there is none.
    """
    try:
        api: Any = importlib.import_module("cuda.bindings.nvrtc")
        status, program = api.nvrtcCreateProgram(text.encode(), name.encode(), 0, [], [])
    except (ImportError, RuntimeError) as error:
        raise MissingDependencyError(f"NVRTC cannot be loaded: {error}; pip install 'rltuner[cuda]'") from error
    try:
        given = [option.encode() for option in options]
        [status] = api.nvrtcCompileProgram(program, len(given), given)
        log = _read(api, "ProgramLog", program).decode(errors="replace").strip(" \0\n")
        if status != api.nvrtcResult.NVRTC_SUCCESS:
            raise BuildError(_message(log or status.name))
        return _read(api, "CUBIN", program), log
    finally:
        api.nvrtcDestroyProgram(program)


def _read(api: Any, what: str, program: Any) -> bytes:
    """Return what NVRTC hands out in a buffer of the caller's."""
    size: int = getattr(api, f"nvrtcGet{what}Size")(program)[1]
    buffer = bytes(size)
    getattr(api, f"nvrtcGet{what}")(program, buffer)
    return buffer


@functools.cache
def _header_options() -> list[str]:
    """Return where CUDA's own headers are: in a package, beside nvcc, or in NVRTC itself since 13.5."""
    folders = [
        Path(root)
        for name in _HEADER_PACKAGES
        if (spec := find_spec(name)) and spec.submodule_search_locations
        for root in spec.submodule_search_locations
    ]
    places = [place for folder in folders for pattern in _HEADER_PLACES for place in sorted(folder.glob(pattern))]
    if nvcc := shutil.which("nvcc"):
        places.append(Path(nvcc).resolve().parents[1] / "include")
    for place in places:
        if (place / _HEADER).is_file():
            return [f"--include-path={place}"]
    return [f"--use-bundled-headers={Path(platformdirs.user_cache_dir('tuner')) / 'cuda-headers'}"]


def _texts(files: Sequence[Path]) -> str:
    return "\n".join(file.read_text() for file in files)


def translation_unit(source: str, constants: Mapping[str, Scalar], everything: str = "") -> str:
    """Return the headers of `everything`, then the macros, then the source.

    The headers come first, for their own names must not meet the macros: a workload's field may be called `N`.
    """
    headers = "\n".join(dict.fromkeys(_SYSTEM_INCLUDE.findall(everything)))
    macros = "\n".join(
        f"#define {name} {int(value) if isinstance(value, bool) else value}" for name, value in constants.items()
    )
    return f"{headers}\n{macros}\n#line 1\n{source}"


def _message(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return "NVRTC refuses it: " + "\n".join((errors or lines)[:_ERRORS])
