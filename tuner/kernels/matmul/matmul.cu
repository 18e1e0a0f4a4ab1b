// A tile of the product by the warps of a block, on tensor cores by mma.sync through the fragments of wmma. Tiles of both
// operands lie in shared memory, padded against bank conflicts, and are copied there asynchronously, STAGES of them ahead.
#include "types.cuh"
#include <cuda_pipeline.h>
#include <mma.h>

namespace wmma = nvcuda::wmma;

constexpr int warps_m = TILE_M / WARP_M, warps_n = TILE_N / WARP_N, threads = 32 * warps_m * warps_n;
constexpr int fragments_m = WARP_M / 16, fragments_n = WARP_N / 16;
// Sixteen bytes: one copy.
constexpr int vector = 8, stride = TILE_K + PAD;
constexpr int tile_x = TILE_M * stride, tile_weight = TILE_N * stride;

// Rows beyond the end repeat the last one, whose products nobody stores; columns beyond the end are zero.
template <int rows> __device__ __forceinline__ void fetch(DTYPE *to, const DTYPE *from, int row, int last, int depth) {
#pragma unroll
  for (int at = threadIdx.x; at < rows * (TILE_K / vector); at += threads) {
    const int line = at / (TILE_K / vector), column = at % (TILE_K / vector) * vector;
    const int source = row + line < last ? row + line : last - 1;
    const int zeros = depth + column < K ? 0 : 16;
    const int inside = zeros ? 0 : depth + column;
    __pipeline_memcpy_async(to + line * stride + column, from + (long long)source * K + inside, 16, zeros);
  }
}

extern "C" __global__ void __launch_bounds__(threads)
    kernel(const DTYPE *__restrict__ x, const DTYPE *__restrict__ weight, DTYPE *__restrict__ out) {
  extern __shared__ __align__(128) unsigned char memory[];
  DTYPE *const xs = reinterpret_cast<DTYPE *>(memory), *const weights = xs + STAGES * tile_x;
  constexpr int tiles_m = (M + TILE_M - 1) / TILE_M, tiles_n = (N + TILE_N - 1) / TILE_N;
  // As in Triton's kernel: tiles that run together form a block of GROUP_M rows.
  const int in_group = GROUP_M * tiles_n, first_m = blockIdx.x / in_group * GROUP_M;
  const int size_m = tiles_m - first_m < GROUP_M ? tiles_m - first_m : GROUP_M;
  const int row = (first_m + blockIdx.x % in_group % size_m) * TILE_M, column = blockIdx.x % in_group / size_m * TILE_N;
  const int warp = threadIdx.x / 32, warp_m = warp / warps_n * WARP_M, warp_n = warp % warps_n * WARP_N;

  wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums[fragments_m][fragments_n];
#pragma unroll
  for (int m = 0; m < fragments_m; ++m)
#pragma unroll
    for (int n = 0; n < fragments_n; ++n) wmma::fill_fragment(sums[m][n], 0.0f);

  constexpr int steps = (K + TILE_K - 1) / TILE_K;
#pragma unroll
  for (int stage = 0; stage < STAGES - 1; ++stage) {
    if (stage < steps) {
      fetch<TILE_M>(xs + stage * tile_x, x, row, M, stage * TILE_K);
      fetch<TILE_N>(weights + stage * tile_weight, weight, column, N, stage * TILE_K);
    }
    __pipeline_commit();
  }
  for (int step = 0; step < steps; ++step) {
    __pipeline_wait_prior(STAGES - 2);
    // The tile is there for all, and the one that is fetched next has been read by all.
    __syncthreads();
    const int ahead = step + STAGES - 1;
    if (ahead < steps) {
      fetch<TILE_M>(xs + ahead % STAGES * tile_x, x, row, M, ahead * TILE_K);
      fetch<TILE_N>(weights + ahead % STAGES * tile_weight, weight, column, N, ahead * TILE_K);
    }
    __pipeline_commit();
    const DTYPE *const from_x = xs + step % STAGES * tile_x + warp_m * stride;
    const DTYPE *const from_weight = weights + step % STAGES * tile_weight + warp_n * stride;
#pragma unroll
    for (int k = 0; k < TILE_K; k += 16) {
      wmma::fragment<wmma::matrix_a, 16, 16, 16, DTYPE, wmma::row_major> of_x[fragments_m];
      wmma::fragment<wmma::matrix_b, 16, 16, 16, DTYPE, wmma::col_major> of_weight[fragments_n];
#pragma unroll
      for (int m = 0; m < fragments_m; ++m) wmma::load_matrix_sync(of_x[m], from_x + m * 16 * stride + k, stride);
#pragma unroll
      for (int n = 0; n < fragments_n; ++n)
        wmma::load_matrix_sync(of_weight[n], from_weight + n * 16 * stride + k, stride);
#pragma unroll
      for (int m = 0; m < fragments_m; ++m)
#pragma unroll
        for (int n = 0; n < fragments_n; ++n) wmma::mma_sync(sums[m][n], of_x[m], of_weight[n], sums[m][n]);
    }
  }

  // Sums go through shared memory, a fragment a warp at a time: how they lie in registers is the hardware's secret.
  __pipeline_wait_prior(0);
  __syncthreads();
  float *const fragment = reinterpret_cast<float *>(memory) + warp * 256;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < fragments_m; ++m)
#pragma unroll
    for (int n = 0; n < fragments_n; ++n) {
      wmma::store_matrix_sync(fragment, sums[m][n], 16, wmma::mem_row_major);
      __syncwarp();
#pragma unroll
      for (int i = lane; i < 256; i += 32) {
        const int to_row = row + warp_m + m * 16 + i / 16, to_column = column + warp_n + n * 16 + i % 16;
        if (to_row < M && to_column < N) out[(long long)to_row * N + to_column] = narrow<DTYPE>(fragment[i]);
      }
      __syncwarp();
    }
}
