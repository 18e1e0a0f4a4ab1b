// out = a b, or out = gelu(a b + bias), with matrices of M x K, K x N and M x N numbers, row after row. Blocks of a and b
// are sized for the caches and their tiles for the registers (Goto and van de Geijn, Anatomy of High-Performance Matrix
// Multiplication, 2008). Buffers are static: one call at a time.
//
// Workload:   M, N, K; EPILOGUE, none or bias_gelu.
// Parameters: LANES     floats in one vector
//             MR        rows of one tile of out
//             NRV       vectors of columns of one tile of out
//             MC        rows of a in one block, which is read again for each tile of columns
//             KC        columns of a and rows of b in one block
//             NC        columns of b in one block, which is read again for each block of rows
//             UNROLL    steps of a tile's product in one iteration
//             PACK_A    a block of a is copied, so that a tile reads it one number after the other
//             PACK_B    a block of b is copied, so that a tile reads it one vector after the other
//             PREFETCH  steps to prefetch b ahead, 0 for none
//             OPT       the compiler's optimisation level
//             THREADS   that share the columns of tiles of a block, by SCHEDULE: see parallel.hpp
#include "parallel.hpp"
#include "vec.hpp"

constexpr int NR = NRV * LANES;
static_assert((MC % MR == 0 || MC >= M) && (NC % NR == 0 || NC >= N) && N % LANES == 0);

alignas(64) static float packed_a[PACK_A ? MC * KC : 1];
alignas(64) static float packed_b[PACK_B ? NC * KC : 1];

static inline int smaller(int a, int b) { return a < b ? a : b; }

struct none {
  static constexpr bool changes = false;
  static floats<LANES> apply(floats<LANES> value, const float *) { return value; }
};

struct bias_gelu {
  static constexpr bool changes = true;
  // x / 2 (1 + tanh u), with u = sqrt(2 / pi) (x + 0.044715 x^3), is x / (1 + e^-2u): here as 2^-|2u / log 2|, which
  // does not overflow.
  static floats<LANES> apply(floats<LANES> value, const float *bias) {
    const floats<LANES> x = value + load<LANES>(bias);
    const floats<LANES> exponent = x * (2.3022082f + 0.10294324f * x * x);
    const floats<LANES> power = exp2<LANES>(exponent > 0 ? -exponent : exponent);
    return x * (x > 0 ? floats<LANES>{} + 1.0f : power) / (1.0f + power);
  }
};

// For each MR rows, for each step, MR numbers.
static void pack_a(const float *a, int rows, int steps) {
  parallel((rows + MR - 1) / MR, [=](long i) {
    const int row = i * MR, height = smaller(MR, rows - row);
    float *to = packed_a + row * steps;
    for (int k = 0; k < steps; ++k)
      for (int r = 0; r < height; ++r) *to++ = a[(row + r) * long(K) + k];
  });
}

// For each NR columns, for each step, NR numbers.
static void pack_b(const float *b, int columns, int steps) {
  parallel((columns + NR - 1) / NR, [=](long i) {
    const int column = i * NR, width = smaller(NR, columns - column);
    float *to = packed_b + column * steps;
    for (int k = 0; k < steps; ++k)
      for (int c = 0; c < width; c += LANES, to += LANES) store<LANES>(to, load<LANES>(b + k * long(N) + column + c));
  });
}

// Steps [start, start + steps) of one tile of out; a, b and out point to its first numbers.
template <int ROWS, int VECTORS>
static inline void tile(const float *a, const float *b, const float *bias, float *out, int start, int steps) {
  floats<LANES> sums[ROWS][VECTORS];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; ++v)
      sums[r][v] = start ? load<LANES>(out + r * long(N) + v * LANES) : floats<LANES>{};
  multiply<UNROLL, PREFETCH, LANES>(sums, a, PACK_A ? 1 : K, PACK_A ? ROWS : 1, b, PACK_B ? VECTORS * LANES : N, steps);
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; ++v) store<LANES>(out + r * long(N) + v * LANES, sums[r][v]);
  if (!EPILOGUE::changes || start + steps < K) return;
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < VECTORS; ++v) {
      float *at = out + r * long(N) + v * LANES;
      store<LANES>(at, EPILOGUE::apply(load<LANES>(at), bias + v * LANES));
    }
}

// Tiles of all rows of a block with VECTORS vectors of columns.
template <int VECTORS>
static void column(const float *a, const float *b, const float *bias, float *out, int rows, int start, int steps) {
  int row = 0;
  for (; row + MR <= rows; row += MR)
    tile<MR, VECTORS>(a + row * long(PACK_A ? steps : K), b, bias, out + row * long(N), start, steps);
  if constexpr (M % MR != 0)
    if (row < rows)
      tile<M % MR, VECTORS>(a + row * long(PACK_A ? steps : K), b, bias, out + row * long(N), start, steps);
}

extern "C" void kernel(const float *a, const float *b, const float *bias, float *out) {
  for (int left = 0; left < N; left += NC)
    for (int start = 0; start < K; start += KC) {
      const int columns = smaller(NC, N - left), steps = smaller(KC, K - start);
      const float *block_b = b + start * long(N) + left;
      if (PACK_B) pack_b(block_b, columns, steps);
      for (int top = 0; top < M; top += MC) {
        const int rows = smaller(MC, M - top);
        const float *block_a = a + top * long(K) + start;
        if (PACK_A) pack_a(block_a, rows, steps);
        const float *rows_a = PACK_A ? packed_a : block_a;
        parallel((columns + NR - 1) / NR, [=](long i) {
          const int c = i * NR;
          const float *columns_b = PACK_B ? packed_b + c * long(steps) : block_b + c;
          float *block_out = out + top * long(N) + left + c;
          if (c + NR <= columns)
            column<NRV>(rows_a, columns_b, bias + left + c, block_out, rows, start, steps);
          else if constexpr (N % NR != 0)
            column<N % NR / LANES>(rows_a, columns_b, bias + left + c, block_out, rows, start, steps);
        });
      }
    }
}
