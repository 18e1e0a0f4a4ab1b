"""The Triton kernel's search space: how much of how many rows a program holds."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.cross_entropy.gpu import OPERATOR
from tuner.kernels.gpu.launch import Program
from tuner.kernels.gpu.rows import row_program, row_space
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.types import Config, Device, Workload

__all__ = ["KERNEL"]


def _program(config: Config, workload: Workload, _: Device) -> Program:
    return row_program("cross_entropy", config, workload)


KERNEL = TritonKernel(OPERATOR, Path(__file__).with_name("program.py"), row_space, _program)
"""`triton:cross_entropy`."""
