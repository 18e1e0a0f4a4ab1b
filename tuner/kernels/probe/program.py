"""The Triton source of the probe of a GPU: loops that are bound by arithmetic, or by memory, and by nothing else."""

import triton
import triton.language as tl

# Multiply-adds between two turns of a loop, so that the loop itself takes no time.
_STEPS = tl.constexpr(16)


@triton.jit
def products(
    x_ptr,
    y_ptr,
    out_ptr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    REPEATS: tl.constexpr,
):
    """Add the product of the same two tiles again and again; every program does, and the first one tells."""
    rows, columns, depth = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_K)
    x = tl.load(x_ptr + rows[:, None] * BLOCK_K + depth[None, :])
    y = tl.load(y_ptr + columns[None, :] * BLOCK_K + depth[:, None])
    SUMS: tl.constexpr = tl.int32 if x_ptr.dtype.element_ty == tl.int8 else tl.float32
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=SUMS)
    for _ in range(REPEATS):
        total = tl.dot(x, y, total, out_dtype=SUMS)
    first = (tl.program_id(0) * BLOCK_M + rows < BLOCK_M)[:, None]
    tl.store(out_ptr + rows[:, None] * BLOCK_N + columns[None, :], total, mask=first)


@triton.jit
def multiply_adds(x_ptr, factors_ptr, out_ptr, N, BLOCK: tl.constexpr, REPEATS: tl.constexpr):
    """Multiply each number and add to it, again and again."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < N)
    factor, term = tl.load(factors_ptr), tl.load(factors_ptr + 1)
    for _ in range(REPEATS):
        for _ in tl.static_range(_STEPS):
            x = tl.fma(x, factor, term)
    tl.store(out_ptr + at, x, mask=at < N)


@triton.jit
def moved(x_ptr, y_ptr, out_ptr, N, BLOCK: tl.constexpr, PATTERN: tl.constexpr):
    """Copy, add a multiple, or only read and keep the greatest of each block."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < N, other=0.0)
    if PATTERN == "triad":
        x += 0.5 * tl.load(y_ptr + at, mask=at < N, other=0.0)
    tl.store(out_ptr + at, x, mask=at < N)
