"""The Triton kernel's search space: how much of how many rows a program holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tuner.kernels.gpu.launch import Program
from tuner.kernels.gpu.rows import row_program, row_space
from tuner.kernels.layernorm.gpu import OPERATOR
from tuner.kernels.layernorm.operator import EPSILON
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.types import Config, Device, Workload

__all__ = ["KERNEL"]


def _program(config: Config, workload: Workload, _: Device) -> Program:
    residual = workload["residual"] == "yes"
    program = row_program("layernorm", config, workload, {"EPSILON": EPSILON, "RESIDUAL": residual})
    if residual:
        return program
    # Where there is nothing to point at, the output stands in: it is not read.
    absent = {"residual_ptr": "out", "residual_out_ptr": "out"}
    return replace(program, launches=(replace(program.launches[0], arguments=absent),))


KERNEL = TritonKernel(OPERATOR, Path(__file__).with_name("program.py"), row_space, _program)
"""`triton:layernorm`."""
