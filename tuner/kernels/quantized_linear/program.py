"""The Triton source: weights are widened and scaled on their way into the product; parts of K are summed afterwards."""

import triton
import triton.language as tl


@triton.jit
def _weights(weight_ptr, scales_ptr, columns, at, N, K, BITS: tl.constexpr, GROUP: tl.constexpr,
             BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, KIND: tl.constexpr):  # fmt: skip
    """Return BLOCK_K columns of BLOCK_N rows of weights, times their scale."""
    rows = (columns % N).to(tl.int64)[:, None]
    depth = tl.arange(0, BLOCK_K)
    if BITS == 4:
        halves = tl.arange(0, BLOCK_K // 2)
        inside = (at // 2 + halves < K // 2)[None, :]
        packed = tl.load(weight_ptr + rows * (K // 2) + (at // 2 + halves)[None, :], mask=inside, other=136)
        low = (packed & 15).to(tl.int8) - 8
        high = (packed >> 4).to(tl.int8) - 8
        weight = tl.interleave(low, high)
    else:
        inside = (at + depth < K)[None, :]
        weight = tl.load(weight_ptr + rows * K + (at + depth)[None, :], mask=inside, other=0)
    if BLOCK_K <= GROUP:
        # Blocks do not cross the groups: one scale for each row. Beyond the end the activations are zero.
        scale = tl.load(scales_ptr + rows * (K // GROUP) + tl.minimum(at // GROUP, K // GROUP - 1))
    else:
        group = (at + depth) // GROUP
        scale = tl.load(scales_ptr + rows * (K // GROUP) + group[None, :], mask=(at + depth < K)[None, :], other=0.0)
    return (weight.to(tl.float32) * scale.to(tl.float32)).to(KIND)


@triton.jit(do_not_specialize=["M"])
def quantized_linear(
    x_ptr,
    weight_ptr,
    scales_ptr,
    out_ptr,
    partial_ptr,
    M: tl.int32,
    N,
    K,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLIT_K: tl.constexpr,
):
    """Compute one tile of the output, or one part of its sums."""
    KIND: tl.constexpr = x_ptr.dtype.element_ty
    rows = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    part = tl.program_id(2)
    steps = tl.cdiv(tl.cdiv(K, BLOCK_K), SPLIT_K)
    first = part * steps * BLOCK_K
    depth = tl.arange(0, BLOCK_K)
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for step in tl.range(0, steps):
        at = first + step * BLOCK_K
        x = tl.load(
            x_ptr + rows.to(tl.int64)[:, None] * K + (at + depth)[None, :],
            mask=(rows < M)[:, None] & (at + depth < K)[None, :],
            other=0.0,
        )
        weight = _weights(weight_ptr, scales_ptr, columns, at, N, K, BITS, GROUP, BLOCK_N, BLOCK_K, KIND)
        total = tl.dot(x, weight.T, total)
    mask = (rows < M)[:, None] & (columns < N)[None, :]
    offsets = rows.to(tl.int64)[:, None] * N + columns[None, :]
    if SPLIT_K == 1:
        tl.store(out_ptr + offsets, total.to(KIND), mask=mask)
    else:
        tl.store(partial_ptr + part.to(tl.int64) * M * N + offsets, total, mask=mask)


@triton.jit(do_not_specialize=["M"])
def summed(partial_ptr, out_ptr, M: tl.int32, N, BLOCK: tl.constexpr, SPLIT_K: tl.constexpr):
    """Sum the parts, in order."""
    size = M.to(tl.int64) * N
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.load(partial_ptr + at, mask=at < size, other=0.0)
    for part in tl.static_range(1, SPLIT_K):
        total += tl.load(partial_ptr + part * size + at, mask=at < size, other=0.0)
    tl.store(out_ptr + at, total.to(out_ptr.dtype.element_ty), mask=at < size)
