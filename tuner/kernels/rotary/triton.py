"""The Triton kernel's search space: how many heads of how many tokens a program turns."""

from __future__ import annotations

from pathlib import Path

from tuner.gpus import limits_of
from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.rotary.gpu import OPERATOR
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Workload

__all__ = ["KERNEL"]

_THREAD_VALUES = 32


def _lanes(workload: Workload) -> int:
    return 1 << max(workload.integer("D") // 2 - 1, 0).bit_length()


def _space(workload: Workload, device: Device) -> SearchSpace:
    threads, lanes = limits_of(device).warp_threads, _lanes(workload)
    most_heads = 1 << (workload.integer("H") - 1).bit_length()
    heads = [count for count in (1, 2, 4, 8, 16, 32) if count <= most_heads]
    return SearchSpace(
        [
            Parameter("HEADS", heads, default=max(count for count in heads if count <= 8)),
            Parameter("TOKENS", (1, 2, 4, 8)),
            Parameter("num_warps", (1, 2, 4, 8), default=1),
        ],
        [
            Constraint.parse(
                f"TOKENS * HEADS * {lanes} <= {_THREAD_VALUES * threads} * num_warps",
                "the heads of a program fit in the registers of its threads",
            ),
            Constraint.parse(
                f"num_warps == 1 or TOKENS * HEADS * {lanes} >= {threads} * num_warps", "every thread has a pair"
            ),
        ],
    )


def _program(config: Config, workload: Workload, _: Device) -> Program:
    grid = (
        blocks(workload.integer("T"), config.integer("TOKENS")),
        blocks(workload.integer("H"), config.integer("HEADS")),
    )
    constants = {"HALF": workload.integer("D") // 2, "LANES": _lanes(workload)}
    return Program((Launch("rotary", grid, constants=constants),))


KERNEL = TritonKernel(OPERATOR, Path(__file__).with_name("program.py"), _space, _program)
"""`triton:rotary`."""
