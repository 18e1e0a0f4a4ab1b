"""The Triton source: tiles of pairs that share an expert; a program finds its expert from where their pairs end."""

import triton
import triton.language as tl


@triton.jit
def fused_moe(
    x_ptr,
    weight_ptr,
    pairs_ptr,
    ends_ptr,
    out_ptr,
    N,
    K,
    E: tl.constexpr,
    EXPERTS: tl.constexpr,
    TOPK: tl.constexpr,
    BLOCK_SIZE_M: tl.constexpr,
    BLOCK_SIZE_N: tl.constexpr,
    BLOCK_SIZE_K: tl.constexpr,
    GROUP_SIZE_M: tl.constexpr,
):
    """Compute one tile of the output, or nothing: there are as many programs as there may be tiles."""
    expert = tl.arange(0, EXPERTS)
    end = tl.load(ends_ptr + expert, mask=expert < E, other=0)
    begin = tl.load(ends_ptr + expert - 1, mask=(expert > 0) & (expert < E), other=0)
    tiles = tl.where(expert < E, tl.cdiv(end - begin, BLOCK_SIZE_M), 0)
    tiles_end = tl.cumsum(tiles, 0)
    tiles_m = tl.sum(tiles, 0)

    tiles_n = tl.cdiv(N, BLOCK_SIZE_N)
    tile = tl.program_id(0)
    if tile < tiles_m * tiles_n:
        in_group = GROUP_SIZE_M * tiles_n
        first_m = tile // in_group * GROUP_SIZE_M
        size_m = tl.minimum(tiles_m - first_m, GROUP_SIZE_M)
        tile_m = first_m + tile % in_group % size_m
        tile_n = tile % in_group // size_m

        # The expert whose tiles end after this one.
        mine = tl.sum((tiles_end <= tile_m).to(tl.int32), 0)
        tiles_before = tl.sum(tl.where(expert < mine, tiles, 0), 0)
        first = tl.sum(tl.where(expert == mine, begin, 0), 0) + (tile_m - tiles_before) * BLOCK_SIZE_M
        last = tl.sum(tl.where(expert == mine, end, 0), 0)

        slots = first + tl.arange(0, BLOCK_SIZE_M)
        pair = tl.load(pairs_ptr + slots, mask=slots < last, other=0)
        columns = tile_n * BLOCK_SIZE_N + tl.arange(0, BLOCK_SIZE_N)
        depth = tl.arange(0, BLOCK_SIZE_K)
        x_ptrs = x_ptr + (pair // TOPK).to(tl.int64)[:, None] * K + depth[None, :]
        weight = weight_ptr + mine.to(tl.int64) * N * K
        weight_ptrs = weight + (columns % N).to(tl.int64)[None, :] * K + depth[:, None]
        total = tl.zeros((BLOCK_SIZE_M, BLOCK_SIZE_N), tl.float32)
        for step in tl.range(0, tl.cdiv(K, BLOCK_SIZE_K)):
            left = K - step * BLOCK_SIZE_K
            x = tl.load(x_ptrs, mask=(slots < last)[:, None] & (depth < left)[None, :], other=0.0)
            total = tl.dot(x, tl.load(weight_ptrs, mask=(depth < left)[:, None], other=0.0), total)
            x_ptrs += BLOCK_SIZE_K
            weight_ptrs += BLOCK_SIZE_K
        mask = (slots < last)[:, None] & (columns < N)[None, :]
        offsets = pair.to(tl.int64)[:, None] * N + columns[None, :]
        tl.store(out_ptr + offsets, total.to(out_ptr.dtype.element_ty), mask=mask)
