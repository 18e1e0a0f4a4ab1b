"""The Triton source: a row in one block, or gone through twice in blocks, with a running maximum and sum."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["M"])
def softmax(x_ptr, out_ptr, M: tl.int32, N, ROWS: tl.constexpr, BLOCK: tl.constexpr, WHOLE: tl.constexpr):
    """Write the softmax of ROWS rows."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    start = rows.to(tl.int64)[:, None] * N
    inside = (rows < M)[:, None]
    columns = tl.arange(0, BLOCK)[None, :]
    if WHOLE:
        mask = inside & (columns < N)
        x = tl.load(x_ptr + start + columns, mask=mask, other=-float("inf")).to(tl.float32)
        power = tl.exp(x - tl.max(x, 1)[:, None])
        out = power / tl.sum(power, 1)[:, None]
        tl.store(out_ptr + start + columns, out.to(out_ptr.dtype.element_ty), mask=mask)
    else:
        # A lane that has seen nothing has the least number that is one, not minus infinity: it is subtracted.
        most = tl.full((ROWS, BLOCK), -3.0e38, tl.float32)
        total = tl.zeros((ROWS, BLOCK), tl.float32)
        for block in tl.range(0, N, BLOCK):
            mask = inside & (block + columns < N)
            x = tl.load(x_ptr + start + block + columns, mask=mask, other=-float("inf")).to(tl.float32)
            higher = tl.maximum(most, x)
            total = total * tl.exp(most - higher) + tl.exp(x - higher)
            most = higher
        highest = tl.max(most, 1)[:, None]
        scale = 1.0 / tl.sum(total * tl.exp(most - highest), 1)[:, None]
        for block in tl.range(0, N, BLOCK):
            mask = inside & (block + columns < N)
            x = tl.load(x_ptr + start + block + columns, mask=mask, other=0.0).to(tl.float32)
            out = tl.exp(x - highest) * scale
            tl.store(out_ptr + start + block + columns, out.to(out_ptr.dtype.element_ty), mask=mask)
