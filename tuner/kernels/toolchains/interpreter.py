"""Triton kernels on a CPU, by Triton's interpreter: whether they are right, on shapes of a few thousand values.

The interpreter replaces the compiler in a whole process, so it runs in one of its own. Products of bfloat16 are wrong
in it (raw bits are multiplied), and so it is never asked for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.errors import TunableError
from tuner.kernels.gpu.kernel import Bound
from tuner.kernels.toolchains.apart import JudgeApart, Run, answer
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.types import Config, Workload

__all__ = ["interpreted", "main"]


interpreted = JudgeApart(__name__, {"TRITON_INTERPRET": "1"})
"""Returns whether configs of a Triton kernel are right, by the interpreter; see `JudgeApart`."""


def main() -> None:
    """Answer the request on standard input."""
    answer(TritonKernel, _interpreting, _require_exact)


def _interpreting(kernel: TritonKernel, bound: Sequence[Bound], _: Config, __: Workload) -> Run:
    def run(tensors: Mapping[str, Any]) -> None:
        for one in bound:
            values = {name: tensors[v] if isinstance(v, str) else v for name, v in one.values.items()}
            grid = (*one.launch.grid, 1, 1)[:3]
            kernel.function(one.launch.entry)[grid](**values, **one.constants)

    return run


def _require_exact(kernel: TritonKernel, workload: Workload) -> None:
    dtypes = {tensor.dtype for tensor in kernel.operator.inputs(workload).values()}
    if "bf16" in dtypes and any("tl.dot" in file.read_text() for file in kernel.sources()):
        raise TunableError("the interpreter multiplies the raw bits of bfloat16; check products in fp16 or fp32")


if __name__ == "__main__":
    main()
