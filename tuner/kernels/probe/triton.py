"""The probe of a GPU: loops whose rates are the highest of the device, built, checked and timed as kernels are."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.probe.gpu import COLUMNS, MOVED, MULTIPLY_ADDS, PRODUCTS, ROWS, depth_of
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.search_spaces import Parameter, SearchSpace
from tuner.types import Config, Device, Workload

__all__ = ["MOVES", "MULTIPLIES", "MULTIPLIES_AND_ADDS"]

_SOURCE = Path(__file__).with_name("program.py")


def _tiles(_: Config, workload: Workload, __: Device) -> Program:
    constants = {"BLOCK_M": ROWS, "BLOCK_N": COLUMNS, "BLOCK_K": depth_of(workload)}
    return Program((Launch("products", (workload.integer("PROGRAMS"),), constants=constants),))


def _chains(config: Config, workload: Workload, _: Device) -> Program:
    grid = (blocks(workload.integer("N"), config.integer("BLOCK")),)
    return Program((Launch("multiply_adds", grid, constants={"REPEATS": workload.integer("REPEATS")}),))


def _streams(config: Config, workload: Workload, _: Device) -> Program:
    grid = (blocks(workload.integer("N"), config.integer("BLOCK")),)
    pattern = workload.text("pattern")
    absent = {} if pattern == "triad" else {"y_ptr": "x"}
    return Program((Launch("moved", grid, absent, {"PATTERN": pattern}),))


MULTIPLIES = TritonKernel(
    PRODUCTS,
    _SOURCE,
    # Fewer would spill the sums, and take a minute to compile.
    SearchSpace([Parameter("num_warps", (8,))]),
    _tiles,
)
"""Products on matrix units."""

MULTIPLIES_AND_ADDS = TritonKernel(
    MULTIPLY_ADDS,
    _SOURCE,
    SearchSpace([Parameter("BLOCK", (512, 1024, 2048), default=1024), Parameter("num_warps", (4, 8))]),
    _chains,
)
"""Multiply-adds of float32 on the other units."""

MOVES = TritonKernel(
    MOVED,
    _SOURCE,
    SearchSpace([Parameter("BLOCK", (1024, 2048, 4096, 8192), default=2048), Parameter("num_warps", (4, 8))]),
    _streams,
)
"""Reading and writing of memory."""
