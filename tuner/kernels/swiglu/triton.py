"""The Triton kernel's search space: how much of how many rows a program writes."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.gpu.rows import tile_space
from tuner.kernels.swiglu.gpu import OPERATOR
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.types import Config, Device, Workload

__all__ = ["KERNEL"]


def _program(config: Config, workload: Workload, _: Device) -> Program:
    rows = blocks(workload.integer("M"), config.integer("ROWS"))
    return Program((Launch("swiglu", (rows, blocks(workload.integer("N"), config.integer("BLOCK")))),))


KERNEL = TritonKernel(OPERATOR, Path(__file__).with_name("program.py"), tile_space, _program)
"""`triton:swiglu`."""
