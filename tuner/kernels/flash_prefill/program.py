"""The Triton source: blocks of queries, with a running maximum and sum over blocks of keys (Dao, FlashAttention-2)."""

import triton
import triton.language as tl


@triton.jit
def _attended(
    total,
    most,
    sums,
    q,
    k_ptr,
    v_ptr,
    rows,
    lanes,
    S,
    first,
    last,
    scale,
    BLOCK_N: tl.constexpr,
    D: tl.constexpr,
    MASKED: tl.constexpr,
    CAUSAL: tl.constexpr,
):
    """Go through keys from `first` to `last`; those at the end of the prompt, and the diagonal, are masked."""
    for start in tl.range(first, last, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        inside = (lanes < D)[:, None]
        if MASKED:
            inside = inside & (columns < S)[None, :]
        k = tl.load(k_ptr + columns[None, :] * D + lanes[:, None], mask=inside, other=0.0)
        scores = tl.dot(q, k) * scale
        if MASKED:
            seen = (columns < S)[None, :]
            if CAUSAL:
                seen = seen & (columns[None, :] <= rows[:, None])
            scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        power = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(most - higher)
        sums = sums * shrink + tl.sum(power, 1)
        inside = (lanes < D)[None, :]
        if MASKED:
            inside = inside & (columns < S)[:, None]
        v = tl.load(v_ptr + columns[:, None] * D + lanes[None, :], mask=inside, other=0.0)
        total = tl.dot(power.to(v.dtype), v, total * shrink[:, None])
        most = higher
    return total, most, sums


@triton.jit
def flash_prefill(
    q_ptr,
    k_ptr,
    v_ptr,
    out_ptr,
    HQ,
    HKV,
    S,
    SCALE: tl.constexpr,
    D: tl.constexpr,
    LANES: tl.constexpr,
    CAUSAL: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    REVERSED: tl.constexpr,
):
    """Write BLOCK_M rows of one head."""
    block = tl.program_id(0)
    if REVERSED:
        # The last blocks see the most keys: begun first, they do not end last.
        block = tl.num_programs(0) - 1 - block
    head = tl.program_id(1)
    batch = head // HQ
    kv = (batch * HKV + head % HQ // (HQ // HKV)).to(tl.int64) * S * D
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    lanes = tl.arange(0, LANES)
    at = head.to(tl.int64) * S * D + rows[:, None] * D + lanes[None, :]
    mask = (rows < S)[:, None] & (lanes < D)[None, :]
    q = tl.load(q_ptr + at, mask=mask, other=0.0)

    total = tl.zeros((BLOCK_M, LANES), tl.float32)
    # A finite least number: a row that sees nothing yet is subtracted from itself.
    most = tl.full((BLOCK_M,), -1.0e30, tl.float32)
    sums = tl.zeros((BLOCK_M,), tl.float32)
    last = S
    whole = S // BLOCK_N * BLOCK_N
    if CAUSAL:
        last = tl.minimum(S, (block + 1) * BLOCK_M)
        whole = tl.minimum(whole, block * BLOCK_M // BLOCK_N * BLOCK_N)
    total, most, sums = _attended(
        total, most, sums, q, k_ptr + kv, v_ptr + kv, rows, lanes, S, 0, whole, SCALE, BLOCK_N, D, False, CAUSAL
    )
    total, most, sums = _attended(
        total, most, sums, q, k_ptr + kv, v_ptr + kv, rows, lanes, S, whole, last, SCALE, BLOCK_N, D, True, CAUSAL
    )
    out = total / sums[:, None]
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask=mask)
