// Attention of the query heads of one key/value head in tiles; see decode_attention.cpp, whose macros it reads.
//
// Scores are keys times queries, 16 tokens by 16 columns: column c has query head c % 8, so that a vector has the scores
// of one token with all heads, twice. Outputs are weights times values, 16 rows by 16 numbers: float32 weights are too
// long for a tile, so row h has their upper and row h + 8 their lower halves, each a bfloat16. Together these are exact to
// 2^-17.
#pragma once
#include "parallel.hpp"
#include "tiles.hpp"

constexpr int COLUMNS = 16, HALF = 8;
// Tokens in the depth of one tile of weights, and numbers of a head in that of one tile of keys.
constexpr int DEEP = 32;
constexpr int GROUPS = (BLOCK + DEEP - 1) / DEEP;
// Tiles of outputs that are summed at a time.
constexpr int OUTPUTS = D % 64 ? 2 : 4;

alignas(64) static per_thread bf16 query_tiles[D / DEEP][tile_rows][COLUMNS][2];
alignas(64) static per_thread float token_scores[GROUPS * DEEP][COLUMNS];
alignas(64) static per_thread ints<16> weight_tiles[GROUPS][tile_rows];
alignas(64) static per_thread ints<16> value_tiles[GROUPS][D / COLUMNS][tile_rows];
// The last tokens, if they are fewer than a tile holds; the rest is zero.
alignas(64) static per_thread KV_DTYPE some_keys[DEEP][D], some_values[DEEP][D];
// The running softmax, as in Softmax; outputs in tiles.
static per_thread floats<16> tile_largest, tile_total;
alignas(64) static per_thread float tile_sums[D / COLUMNS][tile_rows][COLUMNS];

template <int... lane> struct lanes_list {};
using sixteen = lanes_list<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;

// Exchanges the blocks of `step` lanes that are off the diagonal.
template <int step, int... i> inline void exchange(ints<16> &a, ints<16> &b, lanes_list<i...>) {
  const ints<16> low = __builtin_shufflevector(a, b, (i & step ? 16 + i - step : i)...);
  b = __builtin_shufflevector(a, b, (i & step ? 16 + i : i + step)...);
  a = low;
}
template <int step> inline void exchange_all(ints<16> *rows) {
#pragma GCC unroll 16
  for (int row = 0; row < 16; ++row)
    if (!(row & step)) exchange<step>(rows[row], rows[row + step], sixteen());
}
inline void transpose(ints<16> *rows) {
  exchange_all<8>(rows);
  exchange_all<4>(rows);
  exchange_all<2>(rows);
  exchange_all<1>(rows);
}

// Numbers of two tokens side by side, 32 of each: in `first` those d with d % 8 < 4, in `second` the others.
inline void interleave(const void *from, const void *next, ints<16> &first, ints<16> &second) {
  typedef short shorts __attribute__((vector_size(64), aligned(2), may_alias));
  const shorts a = *static_cast<const shorts *>(from), b = *static_cast<const shorts *>(next);
  first = (ints<16>)__builtin_shufflevector(a, b, 0, 32, 1, 33, 2, 34, 3, 35, 8, 40, 9, 41, 10, 42, 11, 43, 16, 48, 17, 49,
                                            18, 50, 19, 51, 24, 56, 25, 57, 26, 58, 27, 59);
  second = (ints<16>)__builtin_shufflevector(a, b, 4, 36, 5, 37, 6, 38, 7, 39, 12, 44, 13, 45, 14, 46, 15, 47, 20, 52, 21,
                                             53, 22, 54, 23, 55, 28, 60, 29, 61, 30, 62, 31, 63);
}
// Where number d of a head is then.
static int interleaved(int d) { return d / DEEP * DEEP + (d & 4) * 4 + d % DEEP / 8 * 4 + d % 4; }

// Turns the scores of a block into weights relative to the largest so far, and scales what was summed before.
static inline void weigh_tokens(const KV_DTYPE *k, int tokens, float scale) {
  floats<16> peak = tile_largest;
  for (int token = 0; token < tokens; ++token) {
    const floats<16> some = load<16>(token_scores[token]);
    peak = some > peak ? some : peak;
  }
  const floats<16> factor = exp2<16>((tile_largest - peak) * scale);
  tile_total *= factor;
  tile_largest = peak;
  float factors[16];
  store<16>(factors, factor);
  bool same = true;
  for (float one : factors) same &= one == 1;
  if (!same)
    for (auto &rows : tile_sums)
      for (int row = 0; row < tile_rows; ++row) store<COLUMNS>(rows[row], load<COLUMNS>(rows[row]) * factors[row]);

  for (; tokens % DEEP; ++tokens)
    for (float &score : token_scores[tokens]) score = NEVER;
  const ints<16> lower = {-1, -1, -1, -1, -1, -1, -1, -1};
  for (int token = 0; token < tokens; token += 2) {
    if (EARLY)
      for (int at = 0; at < 2 * D; at += LINE) __builtin_prefetch(k + (token + BLOCK) * D + at);
    // The first of two tokens in the lower lanes, the second in the upper.
    const floats<16> score = lower ? load<16>(token_scores[token]) : load<16>(token_scores[token + 1]);
    const floats<16> weight = exp2<16>((score - peak) * scale);
    tile_total += weight;
    const ints<16> above = ((ints<16>)weight + 0x8000) & int32_t(0xffff0000);
    const ints<16> below = (ints<16>)(weight - (floats<16>)above) + 0x8000;
    const ints<16> first = __builtin_shufflevector(above, below, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    const ints<16> second =
        __builtin_shufflevector(above, below, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    weight_tiles[token / DEEP][token % DEEP / 2] =
        (ints<16>)((typename vec_types<16>::words)first >> 16) | (second & int32_t(0xffff0000));
  }
  for (int token = 0; token < tokens; token += DEEP) transpose(weight_tiles[token / DEEP]);
}

// Interleaves the values of a block, long before tiles of them are loaded: a tile waits for stores.
static inline void interleave_values(const KV_DTYPE *v, int tokens) {
  for (int token = 0; token < tokens; token += DEEP) {
    const KV_DTYPE *values = token + DEEP <= tokens ? v + token * D : some_values[0];
    auto &tiles = value_tiles[token / DEEP];
    for (int pair = 0; pair < DEEP / 2; ++pair)
#pragma GCC unroll 4
      for (int i = 0; i < D / COLUMNS; i += 2) {
        const KV_DTYPE *from = values + 2 * pair * D + i * COLUMNS;
        if (PREFETCH) {
          __builtin_prefetch(from + PREFETCH / sizeof(KV_DTYPE));
          __builtin_prefetch(from + D + PREFETCH / sizeof(KV_DTYPE));
        }
        interleave(from, from + D, tiles[i][pair], tiles[i + 1][pair]);
      }
  }
}

// Adds the weighted values of a block to OUTPUTS tiles of outputs, from tile `first` on.
static inline void add_tiles(int tokens, int first) {
  each<OUTPUTS>([&](auto i) { load_tile<i.value>(tile_sums[first + i.value], tile_bytes); });
  for (int group = 0; group * DEEP < tokens; ++group) {
    load_tile<OUTPUTS>(weight_tiles[group], tile_bytes);
    each<OUTPUTS>([&](auto i) {
      constexpr int values = OUTPUTS + 1 + i.value % 2;
      load_tile<values>(value_tiles[group][first + i.value], tile_bytes);
      multiply_tiles<i.value, OUTPUTS, values>(bf16());
    });
  }
  each<OUTPUTS>([&](auto i) { store_tile<i.value>(tile_sums[first + i.value], tile_bytes); });
}

// Attention to up to BLOCK tokens.
static void tiled_block(const KV_DTYPE *k, const KV_DTYPE *v, int tokens, float scale) {
  const int whole = tokens / DEEP * DEEP, rest = tokens - whole;
  for (int token = 0; token < whole; token += DEEP) {
    multiply_by_tiles<bf16, 2, 1, 3>(k + token * D, D * sizeof(KV_DTYPE), query_tiles, D / DEEP, PREFETCH,
                                     token_scores[token]);
  }
  if (rest) {
    __builtin_memcpy(some_keys, k + whole * D, rest * D * sizeof(KV_DTYPE));
    __builtin_memcpy(some_values, v + whole * D, rest * D * sizeof(KV_DTYPE));
    multiply_by_tiles<bf16, 2, 1, 3>(some_keys, D * sizeof(KV_DTYPE), query_tiles, D / DEEP, 0, token_scores[whole]);
  }
  interleave_values(v, tokens);
  weigh_tokens(k, tokens, scale);
  for (int first = 0; first < D / COLUMNS; first += OUTPUTS) add_tiles(tokens, first);
}

// Attention of HEADS queries to all tokens; scores times `scale` are in units of log 2.
static void tiled(const KV_DTYPE *q, const KV_DTYPE *k, const KV_DTYPE *v, float *out, float scale) {
  for (int column = 0; column < COLUMNS; ++column)
    for (int d = 0; d < D; ++d)
      __builtin_memcpy(&query_tiles[d / DEEP][d % DEEP / 2][column][d % 2],
                       q + (column % HALF < HEADS ? column % HALF : 0) * D + d, sizeof(bf16));
  tile_largest = floats<16>{} + NEVER;
  tile_total = floats<16>{};
  __builtin_memset(tile_sums, 0, sizeof tile_sums);
  for (int start = 0; start < S; start += BLOCK)
    tiled_block(k + start * long(D), v + start * long(D), S - start < BLOCK ? S - start : BLOCK, scale);
  for (int head = 0; head < HEADS; ++head)
    for (int d = 0; d < D; ++d) {
      const auto &rows = tile_sums[interleaved(d) / COLUMNS];
      const int column = interleaved(d) % COLUMNS;
      out[head * D + d] = (rows[head][column] + rows[head + HALF][column]) / (tile_total[head] + tile_total[head + HALF]);
    }
}
