"""The Triton source: tiles of the product, in groups that share weights in the cache; parts of K, summed afterwards."""

import triton
import triton.language as tl

from tuner.kernels.gpu.activation import gelu, silu


@triton.jit
def _finish(
    total,
    other,
    rows,
    columns,
    bias_ptr,
    x_scale_ptr,
    weight_scale_ptr,
    M,
    N,
    EPILOGUE: tl.constexpr,
    SCALED: tl.constexpr,
):
    """Return the outputs of sums in float32: scaled, with what follows the product."""
    total = total.to(tl.float32)
    if SCALED:
        row_scale = tl.load(x_scale_ptr + rows, mask=rows < M, other=0.0)[:, None]
        total *= row_scale * tl.load(weight_scale_ptr + columns, mask=columns < N, other=0.0)[None, :]
    if EPILOGUE == "bias" or EPILOGUE == "bias_gelu":
        total += tl.load(bias_ptr + columns, mask=columns < N, other=0.0).to(tl.float32)[None, :]
    if EPILOGUE == "bias_gelu":
        total = gelu(total)
    if EPILOGUE == "silu_mul":
        other = other.to(tl.float32)
        if SCALED:
            other *= row_scale * tl.load(weight_scale_ptr + N + columns, mask=columns < N, other=0.0)[None, :]
        total = silu(total) * other
    return total


@triton.jit
def _tile(
    tile,
    part,
    x_ptr,
    weight_ptr,
    bias_ptr,
    x_scale_ptr,
    weight_scale_ptr,
    out_ptr,
    partial_ptr,
    M,
    N,
    K,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    SPLIT_K: tl.constexpr,
    DESCRIPTOR: tl.constexpr,
    EVEN_K: tl.constexpr,
    EPILOGUE: tl.constexpr,
    SCALED: tl.constexpr,
    SUMS: tl.constexpr,
):
    """Compute one tile of the output, or one part of its sums."""
    tiles_m = tl.cdiv(M, BLOCK_M)
    tiles_n = tl.cdiv(N, BLOCK_N)
    # Tiles that run at the same time form a block of GROUP_M rows: they read fewer different rows and columns.
    in_group = GROUP_M * tiles_n
    first_m = tile // in_group * GROUP_M
    size_m = tl.minimum(tiles_m - first_m, GROUP_M)
    tile_m = first_m + tile % in_group % size_m
    tile_n = tile % in_group // size_m

    rows = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    steps = tl.cdiv(tl.cdiv(K, BLOCK_K), SPLIT_K)
    first_k = part * steps * BLOCK_K
    depth = tl.arange(0, BLOCK_K)
    # Tensor cores of Hopper sum products of eight-bit floats in 14 bits: so no further than one block of K.
    FAST: tl.constexpr = BLOCK_K if x_ptr.dtype.element_ty.is_fp8() else 0

    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=SUMS)
    other = total
    if BLOCK_M == 1:
        # Of one row matrix units would compute fifteen sixteenths for nothing: its weights are only read, each once.
        x_ptrs = x_ptr + (tile_m % M).to(tl.int64) * K + first_k + depth
        weight_ptrs = weight_ptr + (columns % N).to(tl.int64)[:, None] * K + (first_k + depth)[None, :]
        up_ptrs = weight_ptrs + N.to(tl.int64) * K
        sums = tl.zeros((BLOCK_N, BLOCK_K), dtype=SUMS)
        up_sums = sums
        for step in range(steps):
            inside = depth < K - first_k - step * BLOCK_K
            if EVEN_K:
                x = tl.load(x_ptrs).to(SUMS)[None, :]
                sums += x * tl.load(weight_ptrs).to(SUMS)
                if EPILOGUE == "silu_mul":
                    up_sums += x * tl.load(up_ptrs).to(SUMS)
            else:
                x = tl.load(x_ptrs, mask=inside, other=0.0).to(SUMS)[None, :]
                sums += x * tl.load(weight_ptrs, mask=inside[None, :], other=0.0).to(SUMS)
                if EPILOGUE == "silu_mul":
                    up_sums += x * tl.load(up_ptrs, mask=inside[None, :], other=0.0).to(SUMS)
            x_ptrs += BLOCK_K
            weight_ptrs += BLOCK_K
            up_ptrs += BLOCK_K
        total = tl.sum(sums, axis=1)[None, :]
        other = tl.sum(up_sums, axis=1)[None, :]
    elif DESCRIPTOR:
        rows_of = N
        if EPILOGUE == "silu_mul":
            rows_of = 2 * N
        x_tiles = tl.make_tensor_descriptor(x_ptr, [M, K], [K, 1], [BLOCK_M, BLOCK_K])
        weight_tiles = tl.make_tensor_descriptor(weight_ptr, [rows_of, K], [K, 1], [BLOCK_N, BLOCK_K])
        for step in range(steps):
            at = first_k + step * BLOCK_K
            x = x_tiles.load([tile_m * BLOCK_M, at])
            total = tl.dot(
                x, weight_tiles.load([tile_n * BLOCK_N, at]).T, total, max_num_imprecise_acc=FAST, out_dtype=SUMS
            )
            if EPILOGUE == "silu_mul":
                other = tl.dot(
                    x,
                    weight_tiles.load([N + tile_n * BLOCK_N, at]).T,
                    other,
                    max_num_imprecise_acc=FAST,
                    out_dtype=SUMS,
                )
    else:
        # Rows beyond the end repeat the first ones: only the last columns of K need a mask, where blocks do not fit.
        x_ptrs = x_ptr + (rows % M).to(tl.int64)[:, None] * K + (first_k + depth)[None, :]
        weight_ptrs = weight_ptr + (columns % N).to(tl.int64)[None, :] * K + (first_k + depth)[:, None]
        up_ptrs = weight_ptrs + N.to(tl.int64) * K
        for step in range(steps):
            if EVEN_K:
                x = tl.load(x_ptrs)
                total = tl.dot(x, tl.load(weight_ptrs), total, max_num_imprecise_acc=FAST, out_dtype=SUMS)
                if EPILOGUE == "silu_mul":
                    other = tl.dot(x, tl.load(up_ptrs), other, max_num_imprecise_acc=FAST, out_dtype=SUMS)
            else:
                left = K - first_k - step * BLOCK_K
                x = tl.load(x_ptrs, mask=depth[None, :] < left, other=0.0)
                weight = tl.load(weight_ptrs, mask=depth[:, None] < left, other=0.0)
                total = tl.dot(x, weight, total, max_num_imprecise_acc=FAST, out_dtype=SUMS)
                if EPILOGUE == "silu_mul":
                    up = tl.load(up_ptrs, mask=depth[:, None] < left, other=0.0)
                    other = tl.dot(x, up, other, max_num_imprecise_acc=FAST, out_dtype=SUMS)
            x_ptrs += BLOCK_K
            weight_ptrs += BLOCK_K
            up_ptrs += BLOCK_K

    mask = (rows < M)[:, None] & (columns < N)[None, :]
    offsets = rows.to(tl.int64)[:, None] * N + columns[None, :]
    if SPLIT_K == 1:
        out = _finish(total, other, rows, columns, bias_ptr, x_scale_ptr, weight_scale_ptr, M, N, EPILOGUE, SCALED)
        tl.store(out_ptr + offsets, out.to(out_ptr.dtype.element_ty), mask=mask)
    else:
        size = M.to(tl.int64) * N
        tl.store(partial_ptr + part * size + offsets, total, mask=mask)
        if EPILOGUE == "silu_mul":
            tl.store(partial_ptr + (SPLIT_K + part) * size + offsets, other, mask=mask)


@triton.jit(do_not_specialize=["M", "N"])
def matmul(
    x_ptr,
    weight_ptr,
    bias_ptr,
    x_scale_ptr,
    weight_scale_ptr,
    out_ptr,
    partial_ptr,
    M: tl.int32,
    N: tl.int32,
    K,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    SPLIT_K: tl.constexpr,
    PERSISTENT: tl.constexpr,
    DESCRIPTOR: tl.constexpr,
    EVEN_K: tl.constexpr,
    EPILOGUE: tl.constexpr,
    SCALED: tl.constexpr,
):
    """Compute tiles of the output: one, or, where programs persist, as many as there are for each."""
    SUMS: tl.constexpr = tl.int32 if x_ptr.dtype.element_ty == tl.int8 else tl.float32
    if PERSISTENT:
        for tile in tl.range(tl.program_id(0), tl.cdiv(M, BLOCK_M) * tl.cdiv(N, BLOCK_N), tl.num_programs(0)):
            _tile(
                tile, 0,
                x_ptr, weight_ptr, bias_ptr, x_scale_ptr, weight_scale_ptr, out_ptr, partial_ptr,
                M, N, K,
                BLOCK_M, BLOCK_N, BLOCK_K, GROUP_M, SPLIT_K, DESCRIPTOR, EVEN_K, EPILOGUE, SCALED, SUMS,
            )  # fmt: skip
    else:
        _tile(
            tl.program_id(0), tl.program_id(1),
            x_ptr, weight_ptr, bias_ptr, x_scale_ptr, weight_scale_ptr, out_ptr, partial_ptr,
            M, N, K,
            BLOCK_M, BLOCK_N, BLOCK_K, GROUP_M, SPLIT_K, DESCRIPTOR, EVEN_K, EPILOGUE, SCALED, SUMS,
        )  # fmt: skip


@triton.jit(do_not_specialize=["M", "N"])
def summed(
    partial_ptr,
    bias_ptr,
    x_scale_ptr,
    weight_scale_ptr,
    out_ptr,
    M: tl.int32,
    N: tl.int32,
    BLOCK: tl.constexpr,
    SPLIT_K: tl.constexpr,
    EPILOGUE: tl.constexpr,
    SCALED: tl.constexpr,
):
    """Sum the parts of a row's columns, in order, and finish them."""
    rows = tl.program_id(0) + tl.arange(0, 1)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = (columns < N)[None, :]
    size = M.to(tl.int64) * N
    offsets = rows.to(tl.int64)[:, None] * N + columns[None, :]
    total = tl.load(partial_ptr + offsets, mask=mask, other=0.0)
    for part in tl.static_range(1, SPLIT_K):
        total += tl.load(partial_ptr + part * size + offsets, mask=mask, other=0.0)
    other = total
    if EPILOGUE == "silu_mul":
        other = tl.load(partial_ptr + SPLIT_K * size + offsets, mask=mask, other=0.0)
        for part in tl.static_range(1, SPLIT_K):
            other += tl.load(partial_ptr + (SPLIT_K + part) * size + offsets, mask=mask, other=0.0)
    out = _finish(total, other, rows, columns, bias_ptr, x_scale_ptr, weight_scale_ptr, M, N, EPILOGUE, SCALED)
    tl.store(out_ptr + offsets, out.to(out_ptr.dtype.element_ty), mask=mask)
