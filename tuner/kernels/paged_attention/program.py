"""The Triton source: parts of each cache, whose sums are brought together afterwards (Flash-Decoding)."""

import triton
import triton.language as tl


@triton.jit
def attended(
    q_ptr,
    k_cache_ptr,
    v_cache_ptr,
    pages_ptr,
    lengths_ptr,
    out_ptr,
    sums_ptr,
    values_ptr,
    HQ,
    HKV,
    most_pages,
    SCALE: tl.constexpr,
    D: tl.constexpr,
    LANES: tl.constexpr,
    GROUP: tl.constexpr,
    HEADS: tl.constexpr,
    PAGE: tl.constexpr,
    BLOCK: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Attend to one part of one sequence's cache, with the query heads that share a key/value head."""
    batch, kv_head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths_ptr + batch)
    share = tl.cdiv(tl.cdiv(length, BLOCK), PARTS) * BLOCK
    first = part * share
    last = tl.minimum(first + share, length)

    heads = tl.arange(0, HEADS)
    lanes = tl.arange(0, LANES)
    head = kv_head * GROUP + heads
    known = (heads < GROUP)[:, None] & (lanes < D)[None, :]
    at = (batch * HQ + head).to(tl.int64)[:, None] * D + lanes[None, :]
    q = tl.load(q_ptr + at, mask=known, other=0.0)
    total = tl.zeros((HEADS, LANES), tl.float32)
    # A finite least number: an empty part is subtracted from itself.
    most = tl.full((HEADS,), -1.0e30, tl.float32)
    sums = tl.zeros((HEADS,), tl.float32)
    for start in tl.range(first, last, BLOCK):
        tokens = start + tl.arange(0, BLOCK)
        there = tokens < last
        page = tl.load(pages_ptr + batch * most_pages + tokens // PAGE, mask=there, other=0).to(tl.int64)
        row = ((page * PAGE + tokens % PAGE) * HKV + kv_head) * D
        k = tl.load(k_cache_ptr + row[None, :] + lanes[:, None], mask=there[None, :] & (lanes < D)[:, None], other=0.0)
        scores = tl.where(there[None, :], tl.dot(q, k) * SCALE, -float("inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        power = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(most - higher)
        sums = sums * shrink + tl.sum(power, 1)
        v = tl.load(v_cache_ptr + row[:, None] + lanes[None, :], mask=there[:, None] & (lanes < D)[None, :], other=0.0)
        total = tl.dot(power.to(v.dtype), v, total * shrink[:, None])
        most = higher
    if PARTS == 1:
        tl.store(out_ptr + at, (total / sums[:, None]).to(out_ptr.dtype.element_ty), mask=known)
    else:
        slot = (batch * HQ + head).to(tl.int64) * PARTS + part
        tl.store(values_ptr + slot[:, None] * D + lanes[None, :], total, mask=known)
        tl.store(sums_ptr + 2 * slot, most, mask=heads < GROUP)
        tl.store(sums_ptr + 2 * slot + 1, sums, mask=heads < GROUP)


@triton.jit
def brought_together(sums_ptr, values_ptr, out_ptr, D: tl.constexpr, LANES: tl.constexpr, PARTS: tl.constexpr):
    """Weigh the parts of one head by their maxima and sums."""
    head = tl.program_id(0).to(tl.int64)
    parts = tl.arange(0, PARTS)
    lanes = tl.arange(0, LANES)
    most = tl.load(sums_ptr + 2 * (head * PARTS + parts))
    sums = tl.load(sums_ptr + 2 * (head * PARTS + parts) + 1)
    weight = tl.exp2(most - tl.max(most, 0))
    at = (head * PARTS + parts)[:, None] * D + lanes[None, :]
    values = tl.load(values_ptr + at, mask=(lanes < D)[None, :], other=0.0)
    out = tl.sum(values * weight[:, None], 0) / tl.sum(sums * weight, 0)
    tl.store(out_ptr + head * D + lanes, out.to(out_ptr.dtype.element_ty), mask=lanes < D)
