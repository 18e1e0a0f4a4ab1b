"""The Triton source: a row in one block, or gone through three times in blocks."""

import triton
import triton.language as tl


@triton.jit
def _loaded(x_ptr, residual_ptr, at, mask, RESIDUAL: tl.constexpr):
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if RESIDUAL:
        x += tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    return x


@triton.jit(do_not_specialize=["M"])
def layernorm(
    x_ptr,
    residual_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    residual_out_ptr,
    M: tl.int32,
    N,
    EPSILON: tl.constexpr,
    RESIDUAL: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """Normalise ROWS rows."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    start = rows.to(tl.int64)[:, None] * N
    inside = (rows < M)[:, None]
    columns = tl.arange(0, BLOCK)[None, :]
    kind = out_ptr.dtype.element_ty
    if WHOLE:
        mask = inside & (columns < N)
        x = _loaded(x_ptr, residual_ptr, start + columns, mask, RESIDUAL)
        if RESIDUAL:
            tl.store(residual_out_ptr + start + columns, x.to(kind), mask=mask)
        mean = tl.sum(x, 1)[:, None] / N
        centred = tl.where(columns < N, x - mean, 0.0)
        scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1)[:, None] / N + EPSILON)
        weight = tl.load(weight_ptr + columns, mask=columns < N, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + columns, mask=columns < N, other=0.0).to(tl.float32)
        tl.store(out_ptr + start + columns, (centred * scale * weight + bias).to(kind), mask=mask)
    else:
        total = tl.zeros((ROWS, BLOCK), tl.float32)
        for block in tl.range(0, N, BLOCK):
            mask = inside & (block + columns < N)
            x = _loaded(x_ptr, residual_ptr, start + block + columns, mask, RESIDUAL)
            if RESIDUAL:
                tl.store(residual_out_ptr + start + block + columns, x.to(kind), mask=mask)
            total += x
        mean = tl.sum(total, 1)[:, None] / N
        squares = tl.zeros((ROWS, BLOCK), tl.float32)
        for block in tl.range(0, N, BLOCK):
            mask = inside & (block + columns < N)
            x = _loaded(x_ptr, residual_ptr, start + block + columns, mask, RESIDUAL)
            centred = tl.where(block + columns < N, x - mean, 0.0)
            squares += centred * centred
        scale = 1.0 / tl.sqrt(tl.sum(squares, 1)[:, None] / N + EPSILON)
        for block in tl.range(0, N, BLOCK):
            mask = inside & (block + columns < N)
            x = _loaded(x_ptr, residual_ptr, start + block + columns, mask, RESIDUAL)
            weight = tl.load(weight_ptr + block + columns, mask=block + columns < N, other=0.0).to(tl.float32)
            bias = tl.load(bias_ptr + block + columns, mask=block + columns < N, other=0.0).to(tl.float32)
            out = (x - mean) * scale * weight + bias
            tl.store(out_ptr + start + block + columns, out.to(kind), mask=mask)
