"""The Triton kernel's search space: tokens of a block, parts of a cache, warps and stages."""

from __future__ import annotations

import math
from pathlib import Path

from tuner.gpus import limits_of
from tuner.kernels.gpu.launch import Launch, Program
from tuner.kernels.gpu.tensor import Tensor
from tuner.kernels.paged_attention.gpu import OPERATOR, PAGE
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Scalar, Workload

__all__ = ["KERNEL"]

_BYTES = 2
# The fewest rows that a matrix unit multiplies.
_LEAST_HEADS = 16
_PARTS = (1, 2, 4, 8, 16, 32, 64)


def _lanes(workload: Workload) -> int:
    return 1 << (workload.integer("D") - 1).bit_length()


def _heads(workload: Workload) -> int:
    group = workload.integer("HQ") // workload.integer("HKV")
    return max(_LEAST_HEADS, 1 << (group - 1).bit_length())


def _space(workload: Workload, device: Device) -> SearchSpace:
    limits, lanes, tokens = limits_of(device), _lanes(workload), workload.integer("S")
    hip = device.kind == "hip"
    parts = [count for count in _PARTS if count == 1 or 32 * count <= tokens]
    programs = workload.integer("B") * workload.integer("HKV")
    # About two programs for each multiprocessor.
    filling = [count for count in parts if programs * count <= 2 * limits.multiprocessors]
    return SearchSpace(
        [
            Parameter("BLOCK", (16, 32, 64, 128), default=64 if not hip else 32),
            Parameter("PARTS", parts, default=filling[-1] if filling else 1),
            Parameter("num_warps", (1, 2, 4, 8), default=4),
            Parameter("num_stages", (1, 2) if hip else (1, 2, 3, 4, 5), default=2 if not hip else 1),
        ],
        [
            Constraint.parse(
                f"{2 * _BYTES * lanes} * (num_stages - 1) * BLOCK <= {limits.block_shared_bytes}",
                "the keys and values in flight fit in the shared memory of a block",
            ),
            Constraint.parse(
                f"{_heads(workload)} * ({lanes} + BLOCK) <= {128 * limits.warp_threads} * num_warps",
                "sums and scores fit in the registers of the threads",
            ),
        ],
    )


def _program(config: Config, workload: Workload, _: Device) -> Program:
    batch, heads, kv_heads, size = (workload.integer(name) for name in ("B", "HQ", "HKV", "D"))
    parts = config.integer("PARTS")
    constants: dict[str, Scalar] = {
        "SCALE": math.log2(math.e) / math.sqrt(size),
        "LANES": _lanes(workload),
        "GROUP": heads // kv_heads,
        "HEADS": _heads(workload),
        "PAGE": PAGE,
    }
    pages = {"most_pages": -(-workload.integer("S") // PAGE)}
    if parts == 1:
        absent = {"sums_ptr": "out", "values_ptr": "out"}
        return Program((Launch("attended", (batch, kv_heads, 1), {**absent, **pages}, constants),))
    together = Launch(
        "brought_together", (batch * heads,), {}, {"LANES": _lanes(workload)}, {"num_warps": 2, "num_stages": 1}
    )
    scratch = {
        "sums": Tensor((batch * heads, parts, 2), "fp32"),
        "values": Tensor((batch * heads, parts, size), "fp32"),
    }
    return Program((Launch("attended", (batch, kv_heads, parts), pages, constants), together), scratch)


KERNEL = TritonKernel(OPERATOR, Path(__file__).with_name("program.py"), _space, _program)
"""`triton:paged_attention`."""
