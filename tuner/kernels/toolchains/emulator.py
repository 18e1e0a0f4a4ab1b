"""CUDA C++ kernels on a CPU: whether they are right, on shapes of a few thousand values.

A C++ compiler takes the kernel's own source, with headers in which a block's threads are fibers, barriers and shuffles
are where these meet, and instructions of tensor cores do what NVIDIA's manual says of them. So indices, barriers, the
order of copies, and where values of a product lie are checked without a GPU; what a GPU does differently, and how fast
it is, is not. Calls take turns: in one, copies are made and threads run as early as may be, in the next as late.
"""

from __future__ import annotations

import ctypes
import itertools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.errors import BuildError, MissingDependencyError
from tuner.kernels.gpu.kernel import Bound
from tuner.kernels.toolchains.apart import JudgeApart, Run, answer
from tuner.kernels.toolchains.cuda import INCLUDE, CudaKernel, translation_unit

__all__ = ["emulated", "main"]

_HEADERS = Path(__file__).parent / "emulation"
_COMPILERS = ("g++", "clang++")
# Dynamic shared memory is declared where it is used, and has to be somewhere.
_DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s+)?([\w ]+?)\s+(\w+)\[\]")
_SHARED_BYTES = 256 << 10
_LOG_CHARACTERS = 1000


emulated = JudgeApart(__name__)
"""Returns whether configs of a CUDA C++ kernel are right, by the emulation; see `JudgeApart`."""


def main() -> None:
    """Answer the request on standard input."""
    with tempfile.TemporaryDirectory() as folder:
        answer(CudaKernel, lambda kernel, bound, _, __: _emulating(kernel, bound, Path(folder)))


def _emulating(kernel: CudaKernel, bound: Sequence[Bound], folder: Path) -> Run:
    turns = itertools.cycle([[_compiled(kernel, one, folder, late=late) for one in bound] for late in (False, True)])

    def run(tensors: Mapping[str, Any]) -> None:
        for one, function in zip(bound, next(turns), strict=True):
            addresses = [tensors[str(value)].data_ptr() for value in one.values.values()]
            grid = (*one.launch.grid, 1, 1)[:3]
            function((ctypes.c_void_p * len(addresses))(*addresses), (ctypes.c_int * 3)(*grid), one.launch.threads)

    return run


def _compiled(kernel: CudaKernel, bound: Bound, folder: Path, *, late: bool) -> Any:
    """Return a launch of C++, compiled."""
    compiler = next((path for name in _COMPILERS if (path := shutil.which(name))), None)
    if compiler is None:
        raise MissingDependencyError("emulating CUDA C++ needs a C++ compiler: install g++ or clang++")
    source = kernel.source.read_text()
    storage = "".join(
        f"alignas(128) {kind} {name}[{_SHARED_BYTES} / sizeof({kind})];\n" for kind, name in _DYNAMIC.findall(source)
    )
    # Declared inside of functions, it is not static, as what else is shared between the threads of a block.
    source = source.replace("extern __shared__", "extern")
    text = "".join(
        [
            f'#define LATE {int(late)}\n#include "cuda.hpp"\n',
            storage,
            translation_unit(source, bound.constants),
            '\nextern "C" void emulate(void **arguments, const int *grid, int threads) {\n',
            f"  emulation::run({bound.launch.entry}, arguments, grid, threads, LATE);\n}}\n",
        ]
    )
    number = sum(1 for _ in folder.iterdir())
    file, library = folder / f"{number}.cpp", folder / f"{number}.so"
    file.write_text(text)
    includes = [f"-I{place}" for place in (_HEADERS, kernel.source.parent, INCLUDE)]
    # Stacks of fibers are no stacks that exceptions are thrown through.
    command = [compiler, "-std=c++20", "-O1", "-w", "-shared", "-fPIC", *includes, str(file), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        raise BuildError(f"{Path(compiler).name} refuses it: " + "\n".join(errors)[:_LOG_CHARACTERS])
    return ctypes.CDLL(str(library)).emulate


if __name__ == "__main__":
    main()
