// A tile of the product by the threads of a block: both operands through shared memory, a smaller tile in the registers
// of each thread, and the next tiles loaded while these are multiplied.
#include "types.cuh"

constexpr int threads_m = TILE_M / THREAD_M, threads_n = TILE_N / THREAD_N, threads = threads_m * threads_n;
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
  const int tiles_n = (N + TILE_N - 1) / TILE_N;
  const int row = blockIdx.x / tiles_n * TILE_M, column = blockIdx.x % tiles_n * TILE_N;
  const int thread_m = threadIdx.x / threads_n, thread_n = threadIdx.x % threads_n;
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
      float of_x[THREAD_M], of_y[THREAD_N];
#pragma unroll
      for (int m = 0; m < THREAD_M; ++m) of_x[m] = tile_x[buffer][k * stride_x + thread_m * THREAD_M + m];
#pragma unroll
      for (int n = 0; n < THREAD_N; ++n) of_y[n] = tile_y[buffer][k * TILE_N + n / 4 * (threads_n * 4) + thread_n * 4 + n % 4];
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

  // Columns of a thread lie in groups of four, so that a warp's stores are next to each other.
#pragma unroll
  for (int m = 0; m < THREAD_M; ++m) {
    const int to_row = row + thread_m * THREAD_M + m;
#pragma unroll
    for (int n = 0; n < THREAD_N; n += 4) {
      const int to_column = column + n / 4 * (threads_n * 4) + thread_n * 4;
      if (to_row < M && to_column < N)
        *reinterpret_cast<float4 *>(out + (long long)to_row * N + to_column) =
            make_float4(sums[m][n], sums[m][n + 1], sums[m][n + 2], sums[m][n + 3]);
    }
  }
}
