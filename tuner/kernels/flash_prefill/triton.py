"""The Triton kernel's search space: blocks of queries and keys, their order, warps and stages."""

from __future__ import annotations

import math
from pathlib import Path

from tuner.gpus import limits_of
from tuner.kernels.flash_prefill.gpu import OPERATOR
from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Scalar, Workload

__all__ = ["KERNEL"]

_BYTES = 2
# Sums and scores that a thread keeps in registers.
_THREAD_VALUES = 224


def _lanes(workload: Workload) -> int:
    return 1 << (workload.integer("D") - 1).bit_length()


def _space(workload: Workload, device: Device) -> SearchSpace:
    limits, lanes = limits_of(device), _lanes(workload)
    hip = device.kind == "hip"
    large = limits.block_shared_bytes >= 160 << 10
    return SearchSpace(
        [
            Parameter("BLOCK_M", (16, 32, 64, 128, 256), default=128 if large else 64),
            Parameter("BLOCK_N", (16, 32, 64, 128), default=64 if not hip else 32),
            Parameter("num_warps", (2, 4, 8), default=8 if large else 4),
            Parameter("num_stages", (1, 2) if hip else (1, 2, 3, 4), default=1 if hip else 2 if not large else 3),
            Parameter.boolean("REVERSED", default=workload["mask"] == "causal"),
        ],
        [
            Constraint.parse(
                f"BLOCK_M * ({lanes} + BLOCK_N) <= {_THREAD_VALUES * limits.warp_threads} * num_warps",
                "the sums and scores of a block fit in the registers of its threads",
            ),
            Constraint.parse(
                f"{_BYTES * lanes} * (BLOCK_M + 2 * (num_stages - 1) * BLOCK_N) <= {limits.block_shared_bytes}",
                "the queries, and the keys and values in flight, fit in the shared memory of a block",
            ),
            Constraint.parse("BLOCK_N <= BLOCK_M", "keys on the diagonal are those of the block's own queries"),
        ],
    )


def _program(config: Config, workload: Workload, _: Device) -> Program:
    rows = blocks(workload.integer("S"), config.integer("BLOCK_M"))
    constants: dict[str, Scalar] = {
        # Powers of two are what the hardware raises.
        "SCALE": math.log2(math.e) / math.sqrt(workload.integer("D")),
        "LANES": _lanes(workload),
        "CAUSAL": workload["mask"] == "causal",
    }
    grid = (rows, workload.integer("B") * workload.integer("HQ"))
    return Program((Launch("flash_prefill", grid, constants=constants),))


KERNEL = TritonKernel(OPERATOR, Path(__file__).with_name("program.py"), _space, _program)
"""`triton:flash_prefill`."""
