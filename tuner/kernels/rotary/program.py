"""The Triton source: some heads of a token at a time."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["T"])
def rotary(
    x_ptr,
    cosines_ptr,
    sines_ptr,
    positions_ptr,
    out_ptr,
    T: tl.int32,
    H,
    HALF: tl.constexpr,
    LANES: tl.constexpr,
    TOKENS: tl.constexpr,
    HEADS: tl.constexpr,
):
    """Turn HEADS heads of TOKENS tokens."""
    tokens = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    heads = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    pair = tl.arange(0, LANES)
    position = tl.load(positions_ptr + tokens, mask=tokens < T, other=0)
    at = position[:, None] * HALF + pair[None, :]
    known = (tokens < T)[:, None] & (pair < HALF)[None, :]
    cosine = tl.load(cosines_ptr + at, mask=known, other=0.0)[:, None, :]
    sine = tl.load(sines_ptr + at, mask=known, other=0.0)[:, None, :]
    start = (tokens.to(tl.int64)[:, None] * H + heads[None, :]) * (2 * HALF)
    offsets = start[:, :, None] + pair[None, None, :]
    mask = ((tokens < T)[:, None] & (heads < H)[None, :])[:, :, None] & (pair < HALF)[None, None, :]
    first = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(x_ptr + offsets + HALF, mask=mask, other=0.0).to(tl.float32)
    kind = out_ptr.dtype.element_ty
    tl.store(out_ptr + offsets, (first * cosine - second * sine).to(kind), mask=mask)
    tl.store(out_ptr + offsets + HALF, (second * cosine + first * sine).to(kind), mask=mask)
