// out[m][n] = scale[n] * sum over k of x[m][k] * weight[n][k] with few rows of x, in float32: what products with int8
// and with floating weights share. Every weight is read once; a tile of sums stays in registers. Buffers are static: one
// call at a time.
//
// Workload:   M rows of activations, N rows of weights, K columns of both; DTYPE of activations, scales and outputs.
// Parameters: LANES     floats in one vector
//             ROWS      rows of weights in one tile
//             BATCH     rows of activations in one tile: a weight that is converted once is used BATCH times
//             UNROLL    vectors of columns in one step, each with sums of its own
//             CHUNK     columns whose activations stay close to the core while all rows of weights pass
//             PACK      activations are converted to float32 once, and laid out as tiles read them
//             WORDS     short weights are loaded as 32-bit words and taken apart, instead of widened in order
//             PREFETCH  tiles of weights to prefetch ahead, 0 for none
//             LOCALITY  where to: 3 into all caches, 2 not into the first level
//             THREADS   that share the rows of weights, by SCHEDULE: see parallel.hpp
#pragma once
#include "parallel.hpp"
#include "vec.hpp"

// Unnamed, as the buffers of a template would else be one and the same in all libraries of a process.
namespace {

// The scale of weights that have none.
struct unscaled {};
inline float scale_of(unscaled, int) { return 1; }
inline float scale_of(const DTYPE *scale, int row) { return number(scale[row]); }

template <class weight_type, class scale_type> class few_rows {
  static constexpr int parts = WORDS ? word<weight_type>::parts : 1;
  static constexpr int span = LANES * parts;
  static constexpr int line = 64 / sizeof(weight_type);
  // Columns in one step: the unrolled vectors, and at least a cache line of each row, which is prefetched once.
  static constexpr int step = span * UNROLL > line ? span * UNROLL : line;
  static_assert(PACK || !WORDS, "activations in the order of split weights have to be packed");

  // Activations of the current chunk: for each BATCH rows, for each vector of columns, BATCH vectors.
  alignas(64) static inline float packed[PACK ? M * CHUNK : 1];
  // Sums of the chunks before, where there is more than one.
  alignas(64) static inline float partial[CHUNK < K ? N * M : 1];

  const DTYPE *x;
  const weight_type *weight;
  scale_type scale;
  DTYPE *out;
  // The current chunk.
  int start, columns;

  void pack() const {
    for (int first = 0; first < M; first += BATCH) {
      const int batch = M - first < BATCH ? M - first : BATCH;
      float *to = packed + first * CHUNK;
      for (int k = 0; k < columns; k += span)
        for (int p = 0; p < parts; ++p)
          for (int row = 0; row < batch; ++row, to += LANES) {
            const DTYPE *from = x + (first + row) * long(K) + start + k;
            if (sizeof(weight_type) == sizeof(DTYPE) && WORDS)
              store<LANES>(to, part<LANES>(DTYPE(), load_words<LANES>(from), p));
            else if (!WORDS)
              store<LANES>(to, load<LANES>(from));
            else
              for (int lane = 0; lane < LANES; ++lane) to[lane] = number(from[lane * parts + p]);
          }
    }
  }

  // The sums of rows [row, row + tile_rows) of weights with rows [first, first + tile_batch) of activations.
  template <int tile_rows, int tile_batch> void tile(int row, int first) const {
    const weight_type *from = weight + row * long(K) + start;
    const DTYPE *direct = x + first * long(K) + start;
    const float *tiles = packed + first * CHUNK;
    floats<LANES> sums[UNROLL][tile_rows][tile_batch] = {};
    for (int k = 0; k < columns; k += step) {
      if (PREFETCH) {
#pragma GCC unroll 16
        for (int r = 0; r < tile_rows; ++r)
          for (int at = 0; at < step; at += line)
            __builtin_prefetch(from + (PREFETCH * ROWS + r) * long(K) + k + at, 0, LOCALITY);
      }
#pragma GCC unroll 16
      for (int u = 0; u < step / span; ++u) {
        const int at = k + u * span;
        ints<LANES> words[tile_rows];
#pragma GCC unroll 16
        for (int r = 0; r < tile_rows; ++r)
          if (WORDS) words[r] = load_words<LANES>(from + r * long(K) + at);
#pragma GCC unroll 16
        for (int p = 0; p < parts; ++p) {
          floats<LANES> weights[tile_rows];
#pragma GCC unroll 16
          for (int r = 0; r < tile_rows; ++r)
            weights[r] = keep<LANES>(WORDS ? part<LANES>(weight_type(), words[r], p)
                                           : load<LANES>(from + r * long(K) + at));
#pragma GCC unroll 16
          for (int b = 0; b < tile_batch; ++b) {
            const floats<LANES> activations =
                keep<LANES>(PACK ? load<LANES>(tiles + (at + p * LANES) * tile_batch + b * LANES)
                                 : load<LANES>(direct + b * long(K) + at));
#pragma GCC unroll 16
            for (int r = 0; r < tile_rows; ++r) sums[u % UNROLL][r][b] += weights[r] * activations;
          }
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < tile_rows; ++r)
#pragma GCC unroll 16
      for (int b = 0; b < tile_batch; ++b) {
        for (int u = 1; u < UNROLL; ++u) sums[0][r][b] += sums[u][r][b];
        float total = sum<LANES>(sums[0][r][b]);
        if (CHUNK < K) {
          float &before = partial[(row + r) * M + first + b];
          total = before = start ? before + total : total;
        }
        if (start + columns == K) store(out + (first + b) * long(N) + row + r, total * scale_of(scale, row + r));
      }
  }

  template <int tile_rows> void rows(int row) const {
    for (int first = 0; first + BATCH <= M; first += BATCH) tile<tile_rows, BATCH>(row, first);
    if constexpr (M % BATCH != 0) tile<tile_rows, M % BATCH>(row, M - M % BATCH);
  }

public:
  few_rows(const DTYPE *x, const weight_type *weight, scale_type scale, DTYPE *out)
      : x(x), weight(weight), scale(scale), out(out) {}

  void multiply() {
    for (start = 0; start < K; start += CHUNK) {
      columns = K - start < CHUNK ? K - start : CHUNK;
      if (PACK) pack();
      parallel(N / ROWS, [product = *this](long i) { product.template rows<ROWS>(i * ROWS); });
      if constexpr (N % ROWS != 0) rows<N % ROWS>(N - N % ROWS);
    }
  }
};

}  // namespace
