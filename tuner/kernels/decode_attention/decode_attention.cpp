// out[b][h] = softmax(q[b][h] . k[b][h / G]^T / sqrt(D)) v[b][h / G], with G = HQ / HKV query heads to a key/value head.
// The softmax is computed online (Milakov and Gimelshein, Online normalizer calculation for softmax, 2018), block by
// block of keys; sums are kept in float32. Buffers are static: one call at a time.
//
// Workload:   B sequences of S cached tokens, HQ query heads, HKV key/value heads of D numbers; KV_DTYPE of q, k and v.
// Parameters: UNIT       what multiplies: fma (floats), or tile (bfloat16, in tiled.hpp)
//             LANES      floats in one vector
//             WORDS      two bf16 are loaded as one 32-bit word and taken apart, instead of widened in order
//             BLOCK      tokens whose scores are computed before their values are summed
//             GROUP      query heads that share each loaded key and value
//             K_ROWS     keys in one tile: a loaded query is used K_ROWS times
//             V_ROWS     values summed before the tile of outputs goes back to memory
//             V_VECTORS  vectors of outputs in one tile
//             SPLITS     parts of the cache, each with its own softmax, that are read in turns as separate streams
//             PREFETCH   bytes to prefetch ahead in keys and in values, 0 for none
//             EARLY      values are prefetched while the scores of their block are computed; in tiles, keys of the next
//                        block while the weights of this one are
//             THREADS    that share the key/value heads of all sequences, by SCHEDULE: see parallel.hpp
#include "parallel.hpp"
#include "vec.hpp"

constexpr int HEADS = HQ / HKV;
constexpr int PARTS = WORDS ? word<KV_DTYPE>::parts : 1;
constexpr int SPAN = LANES * PARTS;
constexpr int LINE = 64 / sizeof(KV_DTYPE);
constexpr int SPLIT_TOKENS = (S + SPLITS - 1) / SPLITS;
constexpr float NEVER = -1e30f;
enum unit { fma, tile };
static_assert(D % SPAN == 0 && D % (LANES * V_VECTORS) == 0 && V_VECTORS % PARTS == 0 && HEADS % GROUP == 0);

#include "tiled.hpp"

// The running softmax of one split: out = sums / total, with every exponent relative to the largest score.
struct Softmax {
  float largest[HEADS], total[HEADS];
  alignas(64) float sums[HEADS][D];
};

alignas(64) static per_thread float query[HEADS][D];
alignas(64) static per_thread float scores[HEADS][BLOCK + LANES];
static per_thread Softmax softmax[SPLITS];

// Where number d of a head stands in `query` and `sums`: in the order in which keys and values are taken apart.
static int place(int d) { return d / SPAN * SPAN + d % SPAN % PARTS * LANES + d % SPAN / PARTS; }

static inline floats<LANES> take(const KV_DTYPE *from, ints<LANES> words, int p) {
  return WORDS ? part<LANES>(KV_DTYPE(), words, p) : load<LANES>(from + p * LANES);
}

// Scores of ROWS keys with heads [head, head + GROUP).
template <int ROWS> static inline void score(const KV_DTYPE *k, const KV_DTYPE *v, int head, int token) {
  const KV_DTYPE *keys = k + token * D;
  floats<LANES> dots[GROUP][ROWS] = {};
  if (PREFETCH || EARLY) {
    for (int at = 0; at < ROWS * D; at += LINE) {
      if (PREFETCH) __builtin_prefetch(keys + at + PREFETCH / sizeof(KV_DTYPE));
      if (EARLY && head == 0) __builtin_prefetch(v + token * D + at);
    }
  }
#pragma GCC unroll 4
  for (int d = 0; d < D; d += SPAN) {
    ints<LANES> words[ROWS];
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r)
      if (WORDS) words[r] = load_words<LANES>(keys + r * D + d);
#pragma GCC unroll 4
    for (int p = 0; p < PARTS; ++p) {
      floats<LANES> numbers[ROWS];
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; ++r) numbers[r] = take(keys + r * D + d, words[r], p);
#pragma GCC unroll 16
      for (int g = 0; g < GROUP; ++g) {
        const floats<LANES> part = keep<LANES>(load<LANES>(query[head + g] + d + p * LANES));
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) dots[g][r] += part * numbers[r];
      }
    }
  }
#pragma GCC unroll 16
  for (int g = 0; g < GROUP; ++g)
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) scores[head + g][token + r] = sum<LANES>(dots[g][r]);
}

// Turns scores of a block into weights relative to the largest score so far, and scales what was summed before.
static inline void weigh(Softmax &state, int head, int tokens) {
  float *row = scores[head];
  for (int i = tokens; i % LANES; ++i) row[i] = NEVER;
  floats<LANES> largest = floats<LANES>{} + state.largest[head];
  for (int i = 0; i < tokens; i += LANES) {
    const floats<LANES> some = load<LANES>(row + i);
    largest = some > largest ? some : largest;
  }
  float peak = largest[0];
  for (int lane = 1; lane < LANES; ++lane) peak = largest[lane] > peak ? largest[lane] : peak;
  floats<LANES> total = {};
  for (int i = 0; i < tokens; i += LANES) {
    const floats<LANES> weights = exp2<LANES>(load<LANES>(row + i) - peak);
    store<LANES>(row + i, weights);
    total += weights;
  }
  if (peak > state.largest[head]) {
    const float scale = exp2<LANES>(floats<LANES>{} + (state.largest[head] - peak))[0];
    state.largest[head] = peak;
    state.total[head] *= scale;
    for (int d = 0; d < D; d += LANES) store<LANES>(state.sums[head] + d, load<LANES>(state.sums[head] + d) * scale);
  }
  state.total[head] += sum<LANES>(total);
}

// Adds weighted values of `rows` tokens to the outputs of heads [head, head + GROUP).
static inline void add(Softmax &state, const KV_DTYPE *v, int head, int token, int rows) {
  const KV_DTYPE *values = v + token * D;
  if (PREFETCH) {
    for (int at = 0; at < rows * D; at += LINE) __builtin_prefetch(values + at + PREFETCH / sizeof(KV_DTYPE));
  }
  for (int d = 0; d < D; d += LANES * V_VECTORS) {
    floats<LANES> sums[GROUP][V_VECTORS];
#pragma GCC unroll 16
    for (int g = 0; g < GROUP; ++g)
#pragma GCC unroll 16
      for (int i = 0; i < V_VECTORS; ++i) sums[g][i] = load<LANES>(state.sums[head + g] + d + i * LANES);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      floats<LANES> numbers[V_VECTORS];
#pragma GCC unroll 16
      for (int i = 0; i < V_VECTORS; i += PARTS) {
        const KV_DTYPE *from = values + r * D + d + i * LANES;
        ints<LANES> words = {};
        if (WORDS) words = load_words<LANES>(from);
#pragma GCC unroll 4
        for (int p = 0; p < PARTS; ++p) numbers[i + p] = keep<LANES>(take(from, words, p));
      }
#pragma GCC unroll 16
      for (int g = 0; g < GROUP; ++g) {
        const floats<LANES> weight = keep<LANES>(floats<LANES>{} + scores[head + g][token + r]);
#pragma GCC unroll 16
        for (int i = 0; i < V_VECTORS; ++i) sums[g][i] += weight * numbers[i];
      }
    }
#pragma GCC unroll 16
    for (int g = 0; g < GROUP; ++g)
#pragma GCC unroll 16
      for (int i = 0; i < V_VECTORS; ++i) store<LANES>(state.sums[head + g] + d + i * LANES, sums[g][i]);
  }
}

static void block(Softmax &state, const KV_DTYPE *k, const KV_DTYPE *v, int tokens) {
  for (int head = 0; head < HEADS; head += GROUP) {
    int token = 0;
    for (; token + K_ROWS <= tokens; token += K_ROWS) score<K_ROWS>(k, v, head, token);
    for (; token < tokens; ++token) score<1>(k, v, head, token);
  }
  for (int head = 0; head < HEADS; ++head) weigh(state, head, tokens);
  for (int head = 0; head < HEADS; head += GROUP) {
    int token = 0;
    for (; token + V_ROWS <= tokens; token += V_ROWS) add(state, v, head, token, V_ROWS);
    if (token < tokens) add(state, v, head, token, tokens - token);
  }
}

// Merges the splits into the first one's state, and writes the outputs.
static void finish(float *out) {
  for (int head = 0; head < HEADS; ++head) {
    float peak = NEVER, total = 0, scales[SPLITS];
    for (Softmax &state : softmax) peak = state.largest[head] > peak ? state.largest[head] : peak;
    for (int split = 0; split < SPLITS; ++split) {
      scales[split] = exp2<LANES>(floats<LANES>{} + (softmax[split].largest[head] - peak))[0];
      total += scales[split] * softmax[split].total[head];
    }
    for (int d = 0; d < D; ++d) {
      float value = 0;
      for (int split = 0; split < SPLITS; ++split) value += scales[split] * softmax[split].sums[head][place(d)];
      out[head * D + d] = value / total;
    }
  }
}

extern "C" void kernel(const KV_DTYPE *q, const KV_DTYPE *k, const KV_DTYPE *v, float *out) {
  // Scores are in units of log 2, so that 2^x does for e^x.
  const float scale = 1.4426950408889634f / __builtin_sqrtf(D);
  if constexpr (UNIT == tile) {
    parallel_parts(B * long(HKV), [=](long begin, long end) {
      tile_shapes shapes;
      shapes.set(tile_rows);
      for (long pair = begin; pair < end; ++pair)
        tiled(q + pair * HEADS * D, k + pair * S * D, v + pair * S * D, out + pair * HEADS * D, scale);
    });
    return;
  }
  parallel(B * long(HKV), [=](long pair) {
    const KV_DTYPE *queries = q + pair * HEADS * D, *keys = k + pair * S * D, *values = v + pair * S * D;
    for (int head = 0; head < HEADS; ++head)
      for (int d = 0; d < D; ++d) query[head][place(d)] = number(queries[head * D + d]) * scale;
    for (Softmax &state : softmax) {
      for (float &largest : state.largest) largest = NEVER;
      __builtin_memset(state.total, 0, sizeof state.total);
      __builtin_memset(state.sums, 0, sizeof state.sums);
    }
    for (int start = 0; start < SPLIT_TOKENS; start += BLOCK)
      for (int split = 0; split < SPLITS; ++split) {
        const int from = split * SPLIT_TOKENS + start, end = (split + 1) * SPLIT_TOKENS;
        const int until = end < S ? end : S;
        const int tokens = until - from < BLOCK ? until - from : BLOCK;
        if (tokens > 0) block(softmax[split], keys + from * long(D), values + from * long(D), tokens);
      }
    finish(out + pair * HEADS * D);
  });
}
