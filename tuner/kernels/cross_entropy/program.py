"""The Triton source: a running maximum and sum in every lane, brought together at the end."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["M"])
def cross_entropy(
    logits_ptr,
    targets_ptr,
    loss_ptr,
    logsumexp_ptr,
    M: tl.int32,
    N,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """Write the losses of ROWS rows."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    start = rows.to(tl.int64)[:, None] * N
    inside = (rows < M)[:, None]
    columns = tl.arange(0, BLOCK)[None, :]
    if WHOLE:
        mask = inside & (columns < N)
        logits = tl.load(logits_ptr + start + columns, mask=mask, other=-float("inf")).to(tl.float32)
        highest = tl.max(logits, 1)
        total = tl.sum(tl.exp(logits - highest[:, None]), 1)
    else:
        # A lane that has seen nothing has the least number that is one, not minus infinity: it is subtracted.
        most = tl.full((ROWS, BLOCK), -3.0e38, tl.float32)
        sums = tl.zeros((ROWS, BLOCK), tl.float32)
        for block in tl.range(0, N, BLOCK):
            mask = inside & (block + columns < N)
            logits = tl.load(logits_ptr + start + block + columns, mask=mask, other=-float("inf")).to(tl.float32)
            higher = tl.maximum(most, logits)
            sums = sums * tl.exp(most - higher) + tl.exp(logits - higher)
            most = higher
        highest = tl.max(most, 1)
        total = tl.sum(sums * tl.exp(most - highest[:, None]), 1)
    logsumexp = highest + tl.log(total)
    target = tl.load(targets_ptr + rows, mask=rows < M, other=0)
    chosen = tl.load(logits_ptr + rows.to(tl.int64) * N + target, mask=rows < M, other=0.0).to(tl.float32)
    tl.store(loss_ptr + rows, logsumexp - chosen, mask=rows < M)
    tl.store(logsumexp_ptr + rows, logsumexp, mask=rows < M)
