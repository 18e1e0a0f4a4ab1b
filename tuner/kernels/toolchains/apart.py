"""Kernels of a GPU that are run on a CPU, in a process of their own: whether they are right, on small workloads.

What runs them replaces a compiler, or may crash; so the one that asks is another process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tuner.errors import TunableError, TunerError
from tuner.gpus import target_device
from tuner.kernels.check import Verdict
from tuner.kernels.gpu.check import cases, check_tensors
from tuner.kernels.gpu.kernel import Bound, GpuKernel
from tuner.kernels.gpu.memory import Memory, poison, scratch_of, torch_of
from tuner.tunable import load
from tuner.types import Config, Scalar, Workload

__all__ = ["JudgeApart", "answer"]

_NAN_BYTE = 0xFF
_LOG_CHARACTERS = 2000

Kernel = TypeVar("Kernel", bound=GpuKernel)
Run = Callable[[Mapping[str, Any]], None]
"""Runs a program on tensors, by name."""


@dataclass(frozen=True)
class JudgeApart:
    """Tells whether configs of a kernel are right, in another process.

    Attributes:
        module: Whose `main` answers there, by `answer`.
        environment: Variables of the process, beside those of this one.
    """

    module: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self,
        reference: str,
        workload: Mapping[str, Scalar],
        configs: Sequence[Config],
        *,
        target: str = "cuda:90",
        seed: int = 0,
        thorough: bool = True,
        timeout_seconds: float = 300.0,
    ) -> list[Verdict]:
        """Return whether `configs` are right on `workload`.

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
            [sys.executable, "-P", "-m", self.module],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                **self.environment,
            },
        )
        if done.returncode:
            name = self.module.rpartition(".")[2]
            raise TunerError(f"the {name} failed on {reference} {dict(workload)}: {done.stderr[-_LOG_CHARACTERS:]}")
        return [Verdict(**data) for data in json.loads(done.stdout.splitlines()[-1])]


def answer(
    kind: type[Kernel],
    run: Callable[[Kernel, Sequence[Bound], Config, Workload], Run],
    refuse: Callable[[Kernel, Workload], None] = lambda kernel, workload: None,
) -> None:
    """Answer the request on standard input with verdicts on standard output.

    Args:
        kind: Of kernels that are taken.
        run: From a kernel, its launches, a config and a workload to what runs them.
        refuse: Raises where what runs them would be wrong itself.

    Raises:
        TunableError: the kernel is of another kind.
    """
    request = json.loads(sys.stdin.read())
    kernel = load(request["reference"])
    if not isinstance(kernel, kind):
        raise TunableError(f"{request['reference']} is no {kind.__name__}")
    workload = kernel.workload(request["workload"])
    refuse(kernel, workload)
    device = target_device(request["target"])
    memory = Memory(kernel.operator.inputs(workload), kernel.operator.outputs(workload), torch_of().device("cpu"))
    calls = []
    for data in request["configs"]:
        config = Config(data)
        program = kernel.program(config, workload, device)
        scratch = scratch_of(program.scratch, "cpu")
        calls.append(_call(run(kernel, kernel.bound(program, config, workload), config, workload), scratch))
    found = cases(kernel.operator, workload, request["seed"], "cpu", thorough=request["thorough"])
    verdicts = check_tensors(calls, memory, found, kernel.operator.allowed(workload))
    print(json.dumps([{"error": one.error, "rel_error": min(one.rel_error, sys.float_info.max)} for one in verdicts]))


def _call(run: Run, scratch: Mapping[str, Any]) -> Callable[[Memory], None]:
    def call(memory: Memory) -> None:
        poison(scratch.values(), _NAN_BYTE)
        run({**memory.tensors, **scratch})

    return call
