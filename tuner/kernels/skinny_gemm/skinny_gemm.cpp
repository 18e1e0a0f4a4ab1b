// out[m][n] = sum over k of x[m][k] * weight[n][k]; sums are kept in float32.
// Buffers are static: one call at a time.
//
// Workload:   M rows of activations, N rows of weights, K columns of both; DTYPE of everything.
// Parameters: LANES     floats in one vector
//             ROWS      rows of weights in one tile
//             BATCH     rows of activations in one tile: a loaded weight is used BATCH times
//             UNROLL    vectors of columns in one step, each with sums of its own
//             CHUNK     columns whose activations stay close to the core while all rows of weights pass
//             PACK      activations are converted to float32 once, and laid out as tiles read them
//             WORDS     two bf16 weights are loaded as one 32-bit word and taken apart, instead of widened in order
//             PREFETCH  tiles of weights to prefetch ahead, 0 for none
//             LOCALITY  where to: 3 into all caches, 2 not into the first level
#include "vec.hpp"

constexpr int PARTS = WORDS ? word<DTYPE>::parts : 1;
constexpr int SPAN = LANES * PARTS;
constexpr int LINE = 64 / sizeof(DTYPE);
// Columns in one step: the unrolled vectors, and at least a cache line of each row, which is prefetched once.
constexpr int STEP = SPAN * UNROLL > LINE ? SPAN * UNROLL : LINE;
static_assert(PACK || !WORDS, "activations in the order of split weights have to be packed");

// Activations of the current chunk: for each BATCH rows, for each vector of columns, BATCH vectors.
alignas(64) static float packed[PACK ? M * CHUNK : 1];
// Sums of the chunks before, where there is more than one.
alignas(64) static float partial[CHUNK < K ? N * M : 1];

static void pack(const DTYPE *x, int columns) {
  for (int first = 0; first < M; first += BATCH) {
    const int batch = M - first < BATCH ? M - first : BATCH;
    float *to = packed + first * CHUNK;
    for (int k = 0; k < columns; k += SPAN)
      for (int p = 0; p < PARTS; ++p)
        for (int row = 0; row < batch; ++row, to += LANES) {
          const DTYPE *from = x + (first + row) * long(K) + k;
          store<LANES>(to, WORDS ? part<LANES>(DTYPE(), load_words<LANES>(from), p) : load<LANES>(from));
        }
  }
}

// The sums of rows [row, row + TILE_ROWS) of weights with rows [first, first + TILE_BATCH) of activations.
template <int TILE_ROWS, int TILE_BATCH>
static inline void tile(const DTYPE *x, const DTYPE *weight, DTYPE *out, int row, int first, int start, int columns) {
  const DTYPE *from = weight + row * long(K) + start;
  const DTYPE *direct = x + first * long(K);
  const float *tiles = packed + first * CHUNK;
  floats<LANES> sums[UNROLL][TILE_ROWS][TILE_BATCH] = {};
  for (int k = 0; k < columns; k += STEP) {
    if (PREFETCH) {
#pragma GCC unroll 16
      for (int r = 0; r < TILE_ROWS; ++r)
        for (int line = 0; line < STEP; line += LINE)
          __builtin_prefetch(from + (PREFETCH * ROWS + r) * long(K) + k + line, 0, LOCALITY);
    }
#pragma GCC unroll 16
    for (int u = 0; u < STEP / SPAN; ++u) {
      const int at = k + u * SPAN;
      ints<LANES> words[TILE_ROWS];
#pragma GCC unroll 16
      for (int r = 0; r < TILE_ROWS; ++r)
        if (WORDS) words[r] = load_words<LANES>(from + r * long(K) + at);
#pragma GCC unroll 16
      for (int p = 0; p < PARTS; ++p) {
        floats<LANES> weights[TILE_ROWS];
#pragma GCC unroll 16
        for (int r = 0; r < TILE_ROWS; ++r)
          weights[r] =
              keep<LANES>(WORDS ? part<LANES>(DTYPE(), words[r], p) : load<LANES>(from + r * long(K) + at));
#pragma GCC unroll 16
        for (int b = 0; b < TILE_BATCH; ++b) {
          const floats<LANES> activations =
              keep<LANES>(PACK ? load<LANES>(tiles + (at + p * LANES) * TILE_BATCH + b * LANES)
                               : load<LANES>(direct + b * long(K) + at));
#pragma GCC unroll 16
          for (int r = 0; r < TILE_ROWS; ++r) sums[u % UNROLL][r][b] += weights[r] * activations;
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < TILE_ROWS; ++r)
#pragma GCC unroll 16
    for (int b = 0; b < TILE_BATCH; ++b) {
      for (int u = 1; u < UNROLL; ++u) sums[0][r][b] += sums[u][r][b];
      float total = sum<LANES>(sums[0][r][b]);
      if (CHUNK < K) {
        float &before = partial[(row + r) * M + first + b];
        total = before = start ? before + total : total;
      }
      if (start + columns == K) store(out + (first + b) * long(N) + row + r, total);
    }
}

template <int TILE_ROWS>
static inline void rows(const DTYPE *x, const DTYPE *weight, DTYPE *out, int row, int start, int columns) {
  for (int first = 0; first + BATCH <= M; first += BATCH)
    tile<TILE_ROWS, BATCH>(x, weight, out, row, first, start, columns);
  if constexpr (M % BATCH != 0) tile<TILE_ROWS, M % BATCH>(x, weight, out, row, M - M % BATCH, start, columns);
}

extern "C" void kernel(const DTYPE *x, const DTYPE *weight, DTYPE *out) {
  for (int start = 0; start < K; start += CHUNK) {
    const int columns = K - start < CHUNK ? K - start : CHUNK;
    if (PACK) pack(x + start, columns);
    for (int row = 0; row + ROWS <= N; row += ROWS) rows<ROWS>(x + start, weight, out, row, start, columns);
    if constexpr (N % ROWS != 0) rows<N % ROWS>(x + start, weight, out, N - N % ROWS, start, columns);
  }
}
