"""The Triton source: a row in one block, or summed in blocks and read again."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["M"])
def add_rmsnorm(
    x_ptr,
    residual_ptr,
    weight_ptr,
    out_ptr,
    residual_out_ptr,
    M: tl.int32,
    N,
    EPSILON: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """Add the residual to ROWS rows, and normalise them."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    start = rows.to(tl.int64)[:, None] * N
    inside = (rows < M)[:, None]
    columns = tl.arange(0, BLOCK)[None, :]
    kind = out_ptr.dtype.element_ty
    if WHOLE:
        mask = inside & (columns < N)
        total = tl.load(x_ptr + start + columns, mask=mask, other=0.0).to(tl.float32)
        total += tl.load(residual_ptr + start + columns, mask=mask, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + columns, mask=columns < N, other=0.0).to(tl.float32)
        tl.store(residual_out_ptr + start + columns, total.to(kind), mask=mask)
        scale = 1.0 / tl.sqrt(tl.sum(total * total, 1)[:, None] / N + EPSILON)
        tl.store(out_ptr + start + columns, (total * scale * weight).to(kind), mask=mask)
    else:
        squares = tl.zeros((ROWS, BLOCK), tl.float32)
        for block in tl.range(0, N, BLOCK):
            mask = inside & (block + columns < N)
            total = tl.load(x_ptr + start + block + columns, mask=mask, other=0.0).to(tl.float32)
            total += tl.load(residual_ptr + start + block + columns, mask=mask, other=0.0).to(tl.float32)
            tl.store(residual_out_ptr + start + block + columns, total.to(kind), mask=mask)
            squares += total * total
        scale = 1.0 / tl.sqrt(tl.sum(squares, 1)[:, None] / N + EPSILON)
        for block in tl.range(0, N, BLOCK):
            mask = inside & (block + columns < N)
            total = tl.load(x_ptr + start + block + columns, mask=mask, other=0.0).to(tl.float32)
            total += tl.load(residual_ptr + start + block + columns, mask=mask, other=0.0).to(tl.float32)
            weight = tl.load(weight_ptr + block + columns, mask=block + columns < N, other=0.0).to(tl.float32)
            tl.store(out_ptr + start + block + columns, (total * scale * weight).to(kind), mask=mask)
