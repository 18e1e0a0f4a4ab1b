// A tile of the product by the threads of a block: both operands through shared memory, a smaller tile in the registers
// of each thread, and the next tiles loaded while these are multiplied.
#include "types.cuh"

constexpr int threads_m = TILE_M / THREAD_M, threads_n = TILE_N / THREAD_N, threads = threads_m * threads_n;
// A warp's threads form a rectangle, so that it reads few different values of both tiles.
constexpr int lanes_m = LANES_M, lanes_n = 32 / LANES_M, warps_n = threads_n / lanes_n;
static_assert(threads_m % lanes_m == 0 && threads_n % lanes_n == 0, "a block is whole warps");
// Rows of x lie as columns, padded: threads of a warp would otherwise store to the same bank.
constexpr int stride_x = TILE_M + PAD;
constexpr int vectors_x = TILE_M * TILE_K / 4, vectors_y = TILE_K * TILE_N / 4;
constexpr int loads_x = (vectors_x + threads - 1) / threads, loads_y = (vectors_y + threads - 1) / threads;

__device__ __forceinline__ float4 fetch(const float *from, bool inside) {
  return inside ? *reinterpret_cast<const float4 *>(from) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

extern "C" __global__ void __launch_bounds__(threads)
    kernel(const float *__restrict__ x, const float *__restrict__ y, float *__restrict__ out) {
  __shared__ __align__(16) float tile_x[BUFFERS][TILE_K * stride_x];
  __shared__ __align__(16) float tile_y[BUFFERS][TILE_K * TILE_N];
  // Tiles that run together form a block of GROUP_M rows: they read fewer different rows and columns.
  constexpr int tiles_m = (M + TILE_M - 1) / TILE_M, tiles_n = (N + TILE_N - 1) / TILE_N, in_group = GROUP_M * tiles_n;
  const int first_m = blockIdx.x / in_group * GROUP_M, size_m = tiles_m - first_m < GROUP_M ? tiles_m - first_m : GROUP_M;
  const int row = (first_m + blockIdx.x % in_group % size_m) * TILE_M, column = blockIdx.x % in_group / size_m * TILE_N;
  // Rows and columns of a thread lie in groups of four, those of a warp's threads side by side: what a warp reads at a
  // time is in different banks, and what it stores is next to each other.
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first_row = warp / warps_n * (lanes_m * THREAD_M) + lane / lanes_n * 4;
  const int first_column = warp % warps_n * (lanes_n * THREAD_N) + lane % lanes_n * 4;
  float sums[THREAD_M][THREAD_N] = {};
  float4 next_x[loads_x], next_y[loads_y];

  auto load = [&](int depth) {
#pragma unroll
    for (int i = 0; i < loads_x; ++i) {
      const int at = threadIdx.x + i * threads, m = at / (TILE_K / 4), k = at % (TILE_K / 4) * 4;
      next_x[i] = fetch(x + (long long)(row + m) * K + depth + k, at < vectors_x && row + m < M && depth + k < K);
    }
#pragma unroll
    for (int i = 0; i < loads_y; ++i) {
      const int at = threadIdx.x + i * threads, k = at / (TILE_N / 4), n = at % (TILE_N / 4) * 4;
      next_y[i] = fetch(y + (long long)(depth + k) * N + column + n, at < vectors_y && depth + k < K && column + n < N);
    }
  };
  auto store = [&](int buffer) {
#pragma unroll
    for (int i = 0; i < loads_x; ++i) {
      const int at = threadIdx.x + i * threads, m = at / (TILE_K / 4), k = at % (TILE_K / 4) * 4;
      if (at < vectors_x) {
        tile_x[buffer][(k + 0) * stride_x + m] = next_x[i].x;
        tile_x[buffer][(k + 1) * stride_x + m] = next_x[i].y;
        tile_x[buffer][(k + 2) * stride_x + m] = next_x[i].z;
        tile_x[buffer][(k + 3) * stride_x + m] = next_x[i].w;
      }
    }
#pragma unroll
    for (int i = 0; i < loads_y; ++i) {
      const int at = threadIdx.x + i * threads, k = at / (TILE_N / 4), n = at % (TILE_N / 4) * 4;
      if (at < vectors_y) *reinterpret_cast<float4 *>(&tile_y[buffer][k * TILE_N + n]) = next_y[i];
    }
  };

  load(0);
  store(0);
  __syncthreads();
  int buffer = 0;
  for (int depth = TILE_K; depth < K + TILE_K; depth += TILE_K) {
    // Beyond the end nothing is loaded: zeros are multiplied by nobody.
    if (depth < K) load(depth);
#pragma unroll
    for (int k = 0; k < TILE_K; ++k) {
      __align__(16) float of_x[THREAD_M], of_y[THREAD_N];
#pragma unroll
      for (int m = 0; m < THREAD_M; m += 4)
        *reinterpret_cast<float4 *>(of_x + m) =
            *reinterpret_cast<const float4 *>(&tile_x[buffer][k * stride_x + first_row + m * lanes_m]);
#pragma unroll
      for (int n = 0; n < THREAD_N; n += 4)
        *reinterpret_cast<float4 *>(of_y + n) =
            *reinterpret_cast<const float4 *>(&tile_y[buffer][k * TILE_N + first_column + n * lanes_n]);
#pragma unroll
      for (int m = 0; m < THREAD_M; ++m)
#pragma unroll
        for (int n = 0; n < THREAD_N; ++n) sums[m][n] += of_x[m] * of_y[n];
    }
    if (depth < K) {
      if (BUFFERS == 1) __syncthreads();
      buffer = (buffer + 1) % BUFFERS;
      store(buffer);
      __syncthreads();
    }
  }

#pragma unroll
  for (int m = 0; m < THREAD_M; ++m) {
    const int to_row = row + first_row + m / 4 * (lanes_m * 4) + m % 4;
#pragma unroll
    for (int n = 0; n < THREAD_N; n += 4) {
      const int to_column = column + first_column + n * lanes_n;
      if (to_row < M && to_column < N)
        *reinterpret_cast<float4 *>(out + (long long)to_row * N + to_column) =
            make_float4(sums[m][n], sums[m][n + 1], sums[m][n + 2], sums[m][n + 3]);
    }
  }
}
