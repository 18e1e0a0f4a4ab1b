"""What kernels share that work on the rows of a matrix: how many rows and columns a program holds, and its warps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tuner.gpus import limits_of
from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.gpu.operator import Distribution, TensorOperator, Tensors
from tuner.kernels.gpu.tensor import DTYPES, Tensor, bytes_of
from tuner.kernels.problem import Field
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Scalar, Work, Workload

__all__ = [
    "FLOATS",
    "cuda_row_program",
    "cuda_row_space",
    "matrix",
    "row_operator",
    "row_program",
    "row_space",
    "tile_space",
]

FLOATS = ("bf16", "fp16", "fp32")
"""Dtypes of kernels that compute in float32, whatever they read."""

# Values of one tensor that a thread holds in registers.
_THREAD_VALUES = 64
# What a row is held whole of by default: longer ones are gone through in blocks.
_DEFAULT_WHOLE = 16384
_VECTOR_BYTES = 16
_DEFAULT_TILE = 1024


def row_operator(
    name: str,
    *,
    inputs: Callable[[Workload], Mapping[str, Tensor]],
    outputs: Callable[[Workload], Mapping[str, Tensor]],
    reference: Callable[[Workload, Tensors], Tensors],
    operations: int,
    tolerances: Mapping[str, Tolerance],
    workloads: Mapping[str, Workload],
    fields: Sequence[Field] = (),
    distributions: Mapping[str, Distribution] | None = None,
) -> TensorOperator:
    """Return what is computed of `M` rows of `N` values of a dtype.

    Args:
        name: The operator's name.
        inputs: From a workload to the input tensors, by name.
        outputs: From a workload to the output tensors, by name.
        reference: From a workload and the inputs to the true outputs.
        operations: Floating-point operations for each value.
        tolerances: By dtype, how far outputs may be off.
        workloads: By name.
        fields: Of the workload, beside `M`, `N` and `dtype`.
        distributions: By name, what makes other inputs of the random ones.
    """
    return TensorOperator(
        name=name,
        fields=(Field("M"), Field("N"), Field("dtype", default="bf16", choices=FLOATS), *fields),
        inputs=inputs,
        outputs=outputs,
        reference=reference,
        work=lambda workload: Work(
            flops=operations * workload.integer("M") * workload.integer("N"),
            bytes=bytes_of(inputs(workload), outputs(workload)),
        ),
        tolerance=lambda workload: tolerances[workload.text("dtype")],
        distributions=distributions or {},
        workloads=workloads,
    )


def matrix(workload: Workload, *, wider: int = 1, scale: float = 1.0) -> Tensor:
    """Return a tensor of the workload's rows, each of `wider` times its values."""
    shape = (workload.integer("M"), wider * workload.integer("N"))
    return Tensor(shape, workload.text("dtype"), scale=scale)


def row_space(workload: Workload, device: Device, *, tensors: int = 1) -> SearchSpace:
    """Return the space of a Triton kernel that holds `BLOCK` columns of `ROWS` rows, of so many tensors, at a time."""
    columns = workload.integer("N")
    whole = 1 << max(columns - 1, 1).bit_length()
    sizes = [size for size in (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768) if size <= whole]
    values = sizes or [whole]
    block = max(size for size in values if size <= _DEFAULT_WHOLE)
    threads = limits_of(device).warp_threads
    warps = (1, 2, 4, 8, 16) if threads == 64 else (1, 2, 4, 8, 16, 32)
    # Some sixteen values a thread: enough loads in flight, and few registers.
    usual = max(1, min(16, 1 << (max(block // (16 * threads), 1)).bit_length() - 1))
    return SearchSpace(
        [
            Parameter("BLOCK", values, default=block),
            Parameter("ROWS", (1, 2, 4, 8, 16), default=1),
            Parameter("num_warps", warps, default=usual),
            Parameter("num_stages", (1, 2, 3, 4), when=Constraint.parse(f"BLOCK < {columns}")),
        ],
        [
            Constraint.parse(
                f"{tensors} * ROWS * BLOCK <= {_THREAD_VALUES * threads} * num_warps",
                "what a program holds fits in the registers of its threads",
            ),
            Constraint.parse(f"num_warps == 1 or ROWS * BLOCK >= {threads} * num_warps", "every thread has a value"),
            # Beyond the most that a program takes, all numbers of rows say the same, in one text.
            Constraint.parse(f"ROWS == 1 or ROWS <= {min(16, workload.integer('M'))}", "there are so many rows"),
        ],
    )


def row_program(entry: str, config: Config, workload: Workload, constants: dict[str, Scalar] | None = None) -> Program:
    """Return the program that runs `entry` over the rows; its constant `WHOLE` says whether a row is one block."""
    whole = config.integer("BLOCK") >= workload.integer("N")
    grid = (blocks(workload.integer("M"), config.integer("ROWS")),)
    return Program((Launch(entry, grid, constants={"WHOLE": whole, **(constants or {})}),))


def cuda_row_space(workload: Workload, device: Device) -> SearchSpace:
    """Return the space of a CUDA kernel with a block of threads for each row, loaded in vectors, perhaps kept."""
    columns = workload.integer("N")
    width = DTYPES[workload.text("dtype")].bytes
    vectors = [count for count in (1, 2, 4, 8) if count * width <= _VECTOR_BYTES and columns % count == 0]
    limits = limits_of(device)
    keep = 4 * columns <= limits.block_shared_bytes - 1024
    return SearchSpace(
        [
            Parameter("THREADS", (64, 128, 256, 512, 1024), default=min(1024, max(64, _threads(columns, vectors[-1])))),
            Parameter("VECTOR", vectors, default=vectors[-1]),
            Parameter.categorical("KEEP", (False, True) if keep else (False,)),
            Parameter("UNROLL", (1, 2, 4), default=1),
            Parameter("MIN_BLOCKS", (1, 2, 4, 8)),
        ],
        [
            Constraint.parse(
                f"MIN_BLOCKS * THREADS <= {limits.multiprocessor_threads}", "so many blocks fit on a multiprocessor"
            )
        ],
    )


def _threads(columns: int, vector: int) -> int:
    """Return the power of two of threads that have about four vectors each."""
    return 1 << max(columns // (4 * vector) - 1, 1).bit_length()


def cuda_row_program(config: Config, workload: Workload, _: Device) -> Program:
    """Return the program that runs `kernel` with a block for each row, which may keep the row in shared memory."""
    shared = 4 * workload.integer("N") if config["KEEP"] else 0
    launch = Launch("kernel", (workload.integer("M"),), threads=config.integer("THREADS"), shared_bytes=shared)
    return Program((launch,))


def tile_space(workload: Workload, device: Device) -> SearchSpace:
    """Return the space of a Triton kernel that computes each value by itself: `ROWS` by `BLOCK` of them at a time."""
    threads = limits_of(device).warp_threads
    whole = 1 << max(workload.integer("N") - 1, 1).bit_length()
    values = [size for size in (64, 128, 256, 512, 1024, 2048, 4096, 8192) if size <= whole] or [whole]
    block = max(size for size in values if size <= max(_DEFAULT_TILE, values[0]))
    return SearchSpace(
        [
            Parameter("BLOCK", values, default=block),
            Parameter("ROWS", (1, 2, 4, 8)),
            Parameter("num_warps", (1, 2, 4, 8, 16), default=4 if block >= 4 * threads else 1),
        ],
        [
            Constraint.parse(
                f"ROWS * BLOCK <= {_THREAD_VALUES * threads} * num_warps", "the values fit in the threads' registers"
            ),
            Constraint.parse(f"num_warps == 1 or ROWS * BLOCK >= {threads} * num_warps", "every thread has a value"),
            # Beyond the most that a program takes, all numbers of rows say the same, in one text.
            Constraint.parse(f"ROWS == 1 or ROWS <= {min(16, workload.integer('M'))}", "there are so many rows"),
        ],
    )
