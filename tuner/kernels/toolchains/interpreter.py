"""Triton kernels on a CPU, by Triton's interpreter: whether they are right, on shapes of a few thousand values.

The interpreter replaces the compiler in a whole process, so it runs in one of its own. Products of bfloat16 are wrong
in it (raw bits are multiplied), and so it is never asked for them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuner.errors import TunableError, TunerError
from tuner.gpus import target_device
from tuner.kernels.check import Verdict
from tuner.kernels.gpu.check import cases, check_tensors
from tuner.kernels.gpu.kernel import Bound
from tuner.kernels.gpu.memory import Memory, poison, scratch_of, torch_of
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.tunable import load
from tuner.types import Config, Scalar, Workload

__all__ = ["interpreted", "main"]

_NAN_BYTE = 0xFF
_LOG_CHARACTERS = 2000


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
    request = {
        "reference": reference,
        "workload": dict(workload),
        "configs": [dict(config) for config in configs],
        "target": target,
        "seed": seed,
        "thorough": thorough,
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tuner.kernels.toolchains.interpreter"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        env={
            **os.environ,
            "TRITON_INTERPRET": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        },
    )
    if done.returncode:
        raise TunerError(f"the interpreter failed on {reference} {dict(workload)}: {done.stderr[-_LOG_CHARACTERS:]}")
    return [Verdict(**data) for data in json.loads(done.stdout.splitlines()[-1])]


def main() -> None:
    """Answer the request on standard input."""
    request = json.loads(sys.stdin.read())
    kernel = load(request["reference"])
    if not isinstance(kernel, TritonKernel):
        raise TunableError(f"{request['reference']} is no Triton kernel")
    workload = kernel.workload(request["workload"])
    _require_exact(kernel, workload)
    device = target_device(request["target"])
    memory = Memory(kernel.operator.inputs(workload), kernel.operator.outputs(workload), torch_of().device("cpu"))
    calls = []
    for data in request["configs"]:
        config = Config(data)
        program = kernel.program(config, workload, device)
        scratch = scratch_of(program.scratch, "cpu")
        calls.append(_call(kernel, kernel.bound(program, config, workload), scratch))
    found = cases(kernel.operator, workload, request["seed"], "cpu", thorough=request["thorough"])
    verdicts = check_tensors(calls, memory, found, kernel.operator.allowed(workload))
    print(json.dumps([{"error": one.error, "rel_error": min(one.rel_error, sys.float_info.max)} for one in verdicts]))


def _call(kernel: TritonKernel, bound: Sequence[Bound], scratch: Mapping[str, Any]) -> Callable[[Memory], None]:
    def call(memory: Memory) -> None:
        poison(scratch.values(), _NAN_BYTE)
        tensors = {**memory.tensors, **scratch}
        for one in bound:
            values = {name: tensors[v] if isinstance(v, str) else v for name, v in one.values.items()}
            grid = (*one.launch.grid, 1, 1)[:3]
            kernel.function(one.launch.entry)[grid](**values, **one.constants)

    return call


def _require_exact(kernel: TritonKernel, workload: Workload) -> None:
    dtypes = {tensor.dtype for tensor in kernel.operator.inputs(workload).values()}
    if "bf16" in dtypes and any("tl.dot" in file.read_text() for file in kernel.sources()):
        raise TunableError("the interpreter multiplies the raw bits of bfloat16; check products in fp16 or fp32")


if __name__ == "__main__":
    main()
