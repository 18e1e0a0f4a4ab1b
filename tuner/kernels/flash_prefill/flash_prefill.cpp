// out[b][h][i] = sum over j <= i of softmax(q[b][h][i] . k[b][h / G][j] / sqrt(D)) v[b][h / G][j], with G = HQ / HKV
// query heads to a key/value head. Scores are computed in blocks and never leave the caches (Dao et al.,
// FlashAttention, 2022), and their softmax online (Milakov and Gimelshein, Online normalizer calculation for softmax,
// 2018). Scores are stored as [key][query], so that a vector holds one key's scores with many queries: keys and weights
// are read number by number, queries and values vector by vector, and no sum or maximum crosses lanes.
// Buffers are static: one call at a time.
//
// Workload:   B sequences of S tokens, HQ query heads, HKV key/value heads of D numbers.
// Parameters: LANES    floats in one vector
//             QUERIES  queries in one block: keys and values are read again for each
//             KEYS     keys in one block: outputs are read and written again for each
//             ROWS     keys in one tile of scores, queries in one tile of outputs
//             VECTORS  vectors of queries in one tile of scores, of numbers in one tile of outputs
//             UNROLL   steps of a tile's product in one iteration
//             PACK     keys are copied once, so that a tile reads them one after the other
//             THREADS  that share the blocks of queries of a key/value head, by SCHEDULE: see parallel.hpp
#include "parallel.hpp"
#include "vec.hpp"

constexpr int WIDTH = LANES * VECTORS;
constexpr float NEVER = -1e30f;
static_assert(QUERIES % WIDTH == 0 && D % WIDTH == 0 && QUERIES % ROWS == 0 && KEYS % ROWS == 0);

// Of the current block: queries as [number][query], scores and then weights as [key][query], outputs as [query][number].
alignas(64) static per_thread float query[D][QUERIES];
alignas(64) static per_thread float scores[KEYS][QUERIES];
alignas(64) static per_thread float sums[QUERIES][D];
// The running softmax of each query: out = sums / total, with every exponent relative to the largest score.
alignas(64) static per_thread float largest[QUERIES], total[QUERIES], scale[QUERIES];
// Of the current key/value head: for each ROWS keys, for each number, ROWS keys.
alignas(64) static float packed[PACK ? (S / ROWS + 1) * ROWS * D : 1];

static inline int smaller(int a, int b) { return a < b ? a : b; }

static void pack(const float *k) {
  for (int token = 0; token + ROWS <= S; token += ROWS)
    for (int r = 0; r < ROWS; ++r)
      for (int d = 0; d < D; ++d) packed[token * D + d * ROWS + r] = k[(token + r) * D + d];
}

// Loads queries in units of log 2, so that 2^x does for e^x; those that a block has too many are zero.
static void begin(const float *q, int queries) {
  const float unit = 1.4426950408889634f / __builtin_sqrtf(D);
  for (int i = 0; i < QUERIES; ++i) {
    for (int d = 0; d < D; ++d) query[d][i] = i < queries ? q[i * D + d] * unit : 0;
    largest[i] = NEVER;
    total[i] = 0;
  }
  __builtin_memset(sums, 0, sizeof sums);
}

// Scores of TILE keys, the first of which is key `row` of the block, with the queries from `first` on.
template <int TILE> static inline void score(const float *k, const float *tile, int row, int first) {
  for (int i = first; i < QUERIES; i += WIDTH) {
    floats<LANES> dots[TILE][VECTORS] = {};
    if (PACK && TILE == ROWS)
      multiply<UNROLL, 0, LANES>(dots, tile, 1, ROWS, query[0] + i, QUERIES, D);
    else
      multiply<UNROLL, 0, LANES>(dots, k, D, 1, query[0] + i, QUERIES, D);
#pragma GCC unroll 16
    for (int r = 0; r < TILE; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < VECTORS; ++v) store<LANES>(scores[row + r] + i + v * LANES, dots[r][v]);
  }
}

// Turns the scores of a block into weights relative to the largest scores so far. The block's first query sees `seen`
// of its keys, each next one sees one more.
static inline void weigh(int keys, int seen) {
  for (int i = 0; i < QUERIES; i += LANES) {
    ints<LANES> sees;
    for (int lane = 0; lane < LANES; ++lane) sees[lane] = seen + i + lane;
    // Every query of these sees the keys before `open`; a tile of outputs may read keys before `until`.
    const int open = smaller(keys, seen + i < 0 ? 0 : seen + i), until = smaller(keys, seen + i + LANES + ROWS);
    const floats<LANES> before = load<LANES>(largest + i);
    floats<LANES> peak = before;
    for (int j = 0; j < open; ++j) {
      const floats<LANES> some = load<LANES>(scores[j] + i);
      peak = some > peak ? some : peak;
    }
    for (int j = open; j < until; ++j) {
      const floats<LANES> some = j < sees ? load<LANES>(scores[j] + i) : NEVER + floats<LANES>{};
      store<LANES>(scores[j] + i, some);
      peak = some > peak ? some : peak;
    }
    floats<LANES> sum = {};
    for (int j = 0; j < until; ++j) {
      const floats<LANES> weights = exp2<LANES>(load<LANES>(scores[j] + i) - peak);
      store<LANES>(scores[j] + i, weights);
      sum += weights;
    }
    const floats<LANES> factor = exp2<LANES>(before - peak);
    store<LANES>(scale + i, factor);
    store<LANES>(largest + i, peak);
    store<LANES>(total + i, load<LANES>(total + i) * factor + sum);
  }
}

// Adds the weighted values of `keys` tokens to the outputs of queries [row, row + ROWS), scaling what was summed before.
static inline void add(const float *v, int row, int keys) {
  for (int d = 0; d < D; d += WIDTH) {
    floats<LANES> parts[ROWS][VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 16
      for (int i = 0; i < VECTORS; ++i) parts[r][i] = load<LANES>(sums[row + r] + d + i * LANES) * scale[row + r];
    multiply<UNROLL, 0, LANES>(parts, scores[0] + row, 1, QUERIES, v + d, D, keys);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 16
      for (int i = 0; i < VECTORS; ++i) store<LANES>(sums[row + r] + d + i * LANES, parts[r][i]);
  }
}

// Attention of the queries from `start` on to the `keys` keys from `from` on.
static void block(const float *k, const float *v, int start, int queries, int from, int keys) {
  // Queries before key `row` do not see it: their tiles are left out.
  const auto first = [&](int row) { return from + row > start ? (from + row - start) / WIDTH * WIDTH : 0; };
  int row = 0;
  for (; row + ROWS <= keys; row += ROWS)
    score<ROWS>(k + (from + row) * D, packed + (PACK ? (from + row) * D : 0), row, first(row));
  for (; row < keys; ++row) score<1>(k + (from + row) * D, packed, row, first(row));
  weigh(keys, start - from + 1);
  for (int i = 0; i < queries; i += ROWS) {
    const int until = smaller(keys, start - from + i + ROWS);
    if (until > 0) add(v + from * D, i, until);
  }
}

extern "C" void kernel(const float *q, const float *k, const float *v, float *out) {
  for (long pair = 0; pair < B * long(HKV); ++pair) {
    const float *keys = k + pair * S * D, *values = v + pair * S * D;
    if (PACK) pack(keys);
    constexpr int BLOCKS = (S + QUERIES - 1) / QUERIES;
    parallel(HQ / HKV * long(BLOCKS), [=](long i) {
      const long head = pair * (HQ / HKV) + i / BLOCKS;
      const int start = i % BLOCKS * QUERIES, queries = smaller(QUERIES, S - start), end = start + queries;
      const long at = (head * S + start) * D;
      begin(q + at, queries);
      for (int from = 0; from < end; from += KEYS) block(keys, values, start, queries, from, smaller(KEYS, end - from));
      for (int i = 0; i < queries; ++i)
        for (int d = 0; d < D; ++d) out[at + i * D + d] = sums[i][d] * (1 / total[i]);
    });
  }
}
