// out = exp(x - max(x)) / sum(exp(x - max(x))), row by row. A row is read block by block, with every exponential
// relative to the largest number so far (Milakov and Gimelshein, Online normalizer calculation for softmax, 2018); with
// one block to a row, that is the textbook's three passes. Buffers are static: one call at a time.
//
// Workload:   M rows, N columns.
// Parameters: LANES         floats in one vector
//             UNROLL        vectors in one step of a loop
//             ACCUMULATORS  independent partial maxima and sums
//             BLOCK         columns whose maximum is found before their exponentials are summed
//             KEEP          exponentials between the passes: 0 computed again, 1 in out, 2 in a buffer of a row
//             PREFETCH      bytes to prefetch ahead of the input, 0 for none
//             STREAM        the output is written past the caches
//             THREADS       that share the rows, by SCHEDULE: see parallel.hpp
#include "parallel.hpp"
#include "vec.hpp"

constexpr int STEP = LANES * UNROLL;
constexpr int BLOCKS = (N + BLOCK - 1) / BLOCK;
constexpr float LOG2_E = 1.4426950408889634f;
static_assert(N % STEP == 0 && BLOCK % STEP == 0 && UNROLL % ACCUMULATORS == 0);
static_assert(!STREAM || KEEP != 1, "a row that was written past the caches would be read back from memory");

alignas(64) static per_thread float scratch[KEEP == 2 ? N : 1];

static inline float largest(const float *from, int count) {
  floats<LANES> tops[ACCUMULATORS];
  for (floats<LANES> &top : tops) top = load<LANES>(from);
  for (int i = 0; i < count; i += STEP) {
    if (PREFETCH) {
      for (int at = 0; at < STEP; at += 16)
        __builtin_prefetch(reinterpret_cast<const char *>(from + i + at) + PREFETCH);
    }
#pragma GCC unroll 8
    for (int u = 0; u < UNROLL; ++u) {
      const floats<LANES> some = load<LANES>(from + i + u * LANES);
      floats<LANES> &top = tops[u % ACCUMULATORS];
      top = some > top ? some : top;
    }
  }
  for (int u = 1; u < ACCUMULATORS; ++u) tops[0] = tops[u] > tops[0] ? tops[u] : tops[0];
  float peak = tops[0][0];
  for (int lane = 1; lane < LANES; ++lane) peak = tops[0][lane] > peak ? tops[0][lane] : peak;
  return peak;
}

// Exponentials are powers of two, of numbers in units of log 2.
static inline floats<LANES> power(const float *from, float peak) {
  return exp2<LANES>(load<LANES>(from) * LOG2_E - peak);
}

// The sum of the exponentials of a block, which may be kept.
static inline float exponentials(const float *from, float *kept, int count, float peak) {
  floats<LANES> totals[ACCUMULATORS] = {};
  for (int i = 0; i < count; i += STEP) {
#pragma GCC unroll 8
    for (int u = 0; u < UNROLL; ++u) {
      const floats<LANES> some = power(from + i + u * LANES, peak);
      if (KEEP) store<LANES>(kept + i + u * LANES, some);
      totals[u % ACCUMULATORS] += some;
    }
  }
  for (int u = 1; u < ACCUMULATORS; ++u) totals[0] += totals[u];
  return sum<LANES>(totals[0]);
}

static inline void finish(const float *from, const float *kept, float *to, int count, float peak, float scale) {
  for (int i = 0; i < count; i += STEP) {
#pragma GCC unroll 8
    for (int u = 0; u < UNROLL; ++u) {
      const int at = i + u * LANES;
      const floats<LANES> value = (KEEP ? load<LANES>(kept + at) : power(from + at, peak)) * scale;
      if (STREAM)
        stream<LANES>(to + at, value);
      else
        store<LANES>(to + at, value);
    }
  }
}

extern "C" void kernel(const float *x, float *out) {
  parallel(M, [=](long row) {
    const float *from = x + row * long(N);
    float *to = out + row * long(N);
    float *kept = KEEP == 2 ? scratch : to;

    // The peak that each block's exponentials are relative to.
    float peaks[BLOCKS], peak = -__builtin_inff(), total = 0;
    for (int block = 0; block < BLOCKS; ++block) {
      const int begin = block * BLOCK, count = N - begin < BLOCK ? N - begin : BLOCK;
      const float top = largest(from + begin, count) * LOG2_E;
      if (top > peak) {
        total *= exp2<LANES>(floats<LANES>{} + (peak - top))[0];
        peak = top;
      }
      peaks[block] = peak;
      total += exponentials(from + begin, kept + begin, count, peak);
    }
    for (int block = 0; block < BLOCKS; ++block) {
      const int begin = block * BLOCK, count = N - begin < BLOCK ? N - begin : BLOCK;
      const float shrink = KEEP ? exp2<LANES>(floats<LANES>{} + (peaks[block] - peak))[0] : 1.0f;
      finish(from + begin, kept + begin, to + begin, count, peak, shrink / total);
    }
  });
  if (STREAM) stream_done();
}
