// A tile of the product by the warps of a block, on tensor cores by mma.sync. Tiles of both operands are copied into shared
// memory asynchronously, STAGES - 1 of them ahead, and the words of the next product are loaded while one is computed.
//
// Workload:   M, N, K; DTYPE of both operands, OUT of the output; SCALED, whether eight bits come with scales
// Parameters: TILE_M, TILE_N  of a block
//             TILE_K          columns of a stage, 64 bytes or more
//             WARP_M, WARP_N  of a warp
//             STAGES          tiles in shared memory
//             SWIZZLE         rows lie without gaps, and their parts in another order in each; else rows are padded
//             GROUP_M         rows of tiles whose blocks run together, so that they share columns in the cache
//             SPLIT_K         parts of K, each summed by blocks of its own, and added afterwards
#include "types.cuh"
#include "tensor_core.cuh"

using sum = summed_as<DTYPE>::sum;
constexpr int warps_m = TILE_M / WARP_M, warps_n = TILE_N / WARP_N, threads = 32 * warps_m * warps_n;

// Sixteen bytes: one copy, and one row of a matrix that is loaded.
constexpr int part_bytes = 16, part_values = part_bytes / sizeof(DTYPE);
constexpr int row_bytes = TILE_K * sizeof(DTYPE), parts = row_bytes / part_bytes;
constexpr int stride = row_bytes + (SWIZZLE ? 0 : part_bytes);
constexpr int stage_x = TILE_M * stride, stage_bytes = stage_x + TILE_N * stride;
// Rows that share the 128 bytes of all banks, and after how many such lines their order repeats.
constexpr int line_rows = parts < 8 ? 8 / parts : 1, lines = parts < 8 ? parts : 8;

// Products of 32 bytes of K, and their 16 rows by 8 columns in a warp's tile.
constexpr int products = row_bytes / 32, fragments_m = WARP_M / 16, fragments_n = WARP_N / 8;
static_assert(products % 2 == 0, "words of two products are kept, in turn");

constexpr int steps = (K + TILE_K - 1) / TILE_K, part_steps = (steps + SPLIT_K - 1) / SPLIT_K;

// Tensor cores that take eight-bit floats may keep few bits of a sum: it is continued outside of them.
constexpr bool short_sums = sizeof(DTYPE) == 1 && sizeof(sum) == sizeof(float) && SHORT_SUMS;

// In which order the parts of a row lie: eight rows that are loaded at once are in different banks.
__device__ __forceinline__ int twist(int row) { return SWIZZLE ? row / line_rows % lines : 0; }

// The part of a tile's rows that a thread copies: its first row, and every so many further ones.
template <int rows, int all_rows> struct copier {
  static constexpr int step = threads / parts, count = (rows + step - 1) / step;
  static_assert(step % 8 == 0, "all rows of a thread have one order");
  int row, column, first;
  unsigned to;
  const DTYPE *from;

  __device__ __forceinline__ copier(const DTYPE *all, int first)
      : row(threadIdx.x / parts), column(threadIdx.x % parts), first(first),
        to(row * stride + (column ^ twist(row)) * part_bytes), from(all + (long long)(first + row) * K + column * part_values) {}

  __device__ __forceinline__ void copy(unsigned char *stage, int depth) const {
    const bool deep = K % TILE_K == 0 || depth + column * part_values < K;
#pragma unroll
    for (int i = 0; i < count; ++i)
      if (rows % step == 0 || row + i * step < rows)
        copy_async(stage + to + i * step * stride, from + (long long)i * step * K + depth,
                   deep && (all_rows % rows == 0 || first + row + i * step < all_rows));
  }
};

__device__ __forceinline__ float scaled(sum value, const float *x_scale, const float *weight_scale, int row, int column) {
  if (!SCALED || row >= M || column >= N) return value;
  return value * x_scale[row] * weight_scale[column];
}

#if PART == 0
extern "C" __global__ void __launch_bounds__(threads)
    kernel(const DTYPE *__restrict__ x, const DTYPE *__restrict__ weight, const float *__restrict__ x_scale,
           const float *__restrict__ weight_scale, OUT *__restrict__ out, sum *__restrict__ partial) {
  extern __shared__ __align__(128) unsigned char memory[];
  constexpr int tiles_m = (M + TILE_M - 1) / TILE_M, tiles_n = (N + TILE_N - 1) / TILE_N;
  // As in Triton's kernel: tiles that run together form a block of GROUP_M rows.
  constexpr int in_group = GROUP_M * tiles_n;
  const int first_m = blockIdx.x / in_group * GROUP_M, size_m = tiles_m - first_m < GROUP_M ? tiles_m - first_m : GROUP_M;
  const int row = (first_m + blockIdx.x % in_group % size_m) * TILE_M, column = blockIdx.x % in_group / size_m * TILE_N;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_m = warp / warps_n * WARP_M, warp_n = warp % warps_n * WARP_N;
  const int begin = blockIdx.y * part_steps, end = begin + part_steps < steps ? begin + part_steps : steps;

  const copier<TILE_M, M> of_x(x, row);
  const copier<TILE_N, N> of_weight(weight, column);
  auto copy = [&](int step) {
    if (step < end) {
      unsigned char *const stage = memory + (step - begin) % STAGES * stage_bytes;
      of_x.copy(stage, step * TILE_K);
      of_weight.copy(stage + stage_x, step * TILE_K);
    }
    // Groups are counted, and so there is one where nothing is copied.
    copies_commit();
  };

  // Of 16 rows of x, the matrices of a load are both halves of the first 16 bytes, then those of the next. Of 16 rows of
  // weights, they are the two parts of the first eight, then those of the others: the operands of two products.
  const int x_row = lane % 16, x_part = lane / 16, weight_row = lane % 8 + lane / 16 * 8, weight_part = lane / 8 % 2;
  const int x_at = (warp_m + x_row) * stride, weight_at = stage_x + (warp_n + weight_row) * stride;
  const int x_first = x_part ^ twist(x_row), weight_first = weight_part ^ twist(weight_row);
  unsigned xs[2][fragments_m][4], weights[2][fragments_n][2];
  auto load = [&](int buffer, const unsigned char *stage, int product) {
    // Without swizzling the part is 0 or 1, so that this is a sum.
    const unsigned char *const from_x = stage + x_at + (x_first ^ 2 * product) * part_bytes;
    const unsigned char *const from_weight = stage + weight_at + (weight_first ^ 2 * product) * part_bytes;
#pragma unroll
    for (int m = 0; m < fragments_m; ++m) load_matrices(xs[buffer][m], from_x + m * 16 * stride);
#pragma unroll
    for (int n = 0; n < fragments_n; n += 2) {
      unsigned words[4];
      load_matrices(words, from_weight + n * 8 * stride);
      weights[buffer][n][0] = words[0], weights[buffer][n][1] = words[1];
      weights[buffer][n + 1][0] = words[2], weights[buffer][n + 1][1] = words[3];
    }
  };

  sum sums[fragments_m][fragments_n][4] = {};
#pragma unroll
  for (int stage = 0; stage < STAGES - 1; ++stage) copy(begin + stage);
  copies_wait<STAGES - 2>();
  __syncthreads();
  load(0, memory, 0);
  for (int step = begin; step < end; ++step) {
    const unsigned char *stage = memory + (step - begin) % STAGES * stage_bytes;
#pragma unroll
    for (int product = 0; product < products; ++product) {
      if (product == 0) copy(step + STAGES - 1);
      if (product == products - 1) {
        // The next tile is there for all, and this one has been loaded by all: it may be overwritten in the next step.
        copies_wait<STAGES - 2>();
        __syncthreads();
        stage = memory + (step - begin + 1) % STAGES * stage_bytes;
      }
      load((product + 1) % 2, stage, (product + 1) % products);
#pragma unroll
      for (int m = 0; m < fragments_m; ++m)
#pragma unroll
        for (int n = 0; n < fragments_n; ++n) {
          if constexpr (short_sums) {
            sum few[4] = {};
            multiply(few, xs[product % 2][m], weights[product % 2][n], DTYPE());
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[m][n][i] += few[i];
          } else {
            multiply(sums[m][n], xs[product % 2][m], weights[product % 2][n], DTYPE());
          }
        }
    }
  }

  // A thread has, of 16 rows by 8 columns, two neighbours of row lane / 4, and two of the eighth row after it.
  const int at_m = lane / 4, at_n = lane % 4 * 2;
  if constexpr (SPLIT_K > 1) {
    sum *const of_part = partial + blockIdx.y * ((long long)M * N);
#pragma unroll
    for (int m = 0; m < fragments_m; ++m)
#pragma unroll
      for (int n = 0; n < fragments_n; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int to_row = row + warp_m + m * 16 + half * 8 + at_m, to_column = column + warp_n + n * 8 + at_n;
          sum *const to = of_part + (long long)to_row * N + to_column;
          const pack<sum, 2> pair = {sums[m][n][2 * half], sums[m][n][2 * half + 1]};
          if (to_row < M && N % 2 == 0 && to_column < N) *reinterpret_cast<pack<sum, 2> *>(to) = pair;
          if (to_row < M && N % 2 != 0 && to_column < N) to[0] = pair.at[0];
          if (to_row < M && N % 2 != 0 && to_column + 1 < N) to[1] = pair.at[1];
        }
  } else {
    // Through shared memory, 16 rows of a warp at a time, so that neighbouring threads store 16 bytes each.
    copies_wait<0>();
    __syncthreads();
    constexpr int vector = 16 / sizeof(OUT), out_stride = WARP_N + vector, vectors = WARP_N / vector;
    OUT *const rows = reinterpret_cast<OUT *>(memory) + warp * 16 * out_stride;
#pragma unroll
    for (int m = 0; m < fragments_m; ++m) {
      const int from_row = row + warp_m + m * 16, from_column = column + warp_n;
#pragma unroll
      for (int n = 0; n < fragments_n; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          pack<OUT, 2> pair;
#pragma unroll
          for (int i = 0; i < 2; ++i)
            pair.at[i] = narrow<OUT>(scaled(sums[m][n][2 * half + i], x_scale, weight_scale, from_row + half * 8 + at_m,
                                            from_column + n * 8 + at_n + i));
          *reinterpret_cast<pack<OUT, 2> *>(rows + (half * 8 + at_m) * out_stride + n * 8 + at_n) = pair;
        }
      __syncwarp();
      if constexpr (N % vector == 0) {
#pragma unroll
        for (int at = lane; at < 16 * vectors; at += 32) {
          const int to_row = at / vectors, to_column = at % vectors * vector;
          if (from_row + to_row < M && from_column + to_column < N)
            *reinterpret_cast<uint4 *>(out + (long long)(from_row + to_row) * N + from_column + to_column) =
                *reinterpret_cast<const uint4 *>(rows + to_row * out_stride + to_column);
        }
      } else {
        for (int at = lane; at < 16 * WARP_N; at += 32) {
          const int to_row = at / WARP_N, to_column = at % WARP_N;
          if (from_row + to_row < M && from_column + to_column < N)
            out[(long long)(from_row + to_row) * N + from_column + to_column] = rows[to_row * out_stride + to_column];
        }
      }
      __syncwarp();
    }
  }
}
#else
// Adds the parts of K, in order.
extern "C" __global__ void __launch_bounds__(SUM_THREADS)
    summed(const sum *__restrict__ partial, const float *__restrict__ x_scale, const float *__restrict__ weight_scale,
           OUT *__restrict__ out) {
  constexpr int vector = N % 4 == 0 ? 4 : 1;
  const int row = blockIdx.y, column = (blockIdx.x * SUM_THREADS + threadIdx.x) * vector;
  if (column >= N) return;
  sum total[vector] = {};
#pragma unroll
  for (int part = 0; part < SPLIT_K; ++part) {
    const long long at = part * ((long long)M * N) + (long long)row * N + column;
    const pack<sum, vector> values = *reinterpret_cast<const pack<sum, vector> *>(partial + at);
#pragma unroll
    for (int i = 0; i < vector; ++i) total[i] += values.at[i];
  }
  pack<OUT, vector> values;
#pragma unroll
  for (int i = 0; i < vector; ++i) values.at[i] = narrow<OUT>(scaled(total[i], x_scale, weight_scale, row, column + i));
  *reinterpret_cast<pack<OUT, vector> *>(out + (long long)row * N + column) = values;
}
#endif
