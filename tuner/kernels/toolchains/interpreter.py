"""Triton kernels on a CPU, by Triton's interpreter: whether they are right, on shapes of a few thousand values.

The interpreter replaces the compiler in a whole process, so it runs in one of its own. Products of bfloat16 are wrong
in it (raw bits are multiplied), and so it is never asked for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.errors import TunableError
from tuner.kernels.check import Verdict
from tuner.kernels.gpu.kernel import Bound
from tuner.kernels.toolchains.apart import Run, answer, judged_apart
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.types import Config, Scalar, Workload

__all__ = ["interpreted", "main"]


def interpreted(
    reference: str,
    workload: Mapping[str, Scalar],
    configs: Sequence[Config],
    *,
    target: str = "cuda:90",
    seed: int = 0,
    thorough: bool = True,
    timeout_seconds: float = 300.0,
) -> list[Verdict]:
    """Return whether `configs` are right on `workload`, in another process.

    Args:
        reference: The kernel, as `load` takes it.
        workload: Fields of a small workload.
        configs: Configs to check.
        target: What the space and the program are asked for.
        seed: Seed of the inputs.
        thorough: Whether on every distribution.
        timeout_seconds: After which the process is killed.

    Raises:
        TunerError: the process failed; the message ends with its last words.
    """
    return judged_apart(
        "tuner.kernels.toolchains.interpreter",
        reference,
        workload,
        configs,
        target=target,
        seed=seed,
        thorough=thorough,
        timeout_seconds=timeout_seconds,
        environment={"TRITON_INTERPRET": "1"},
    )


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
