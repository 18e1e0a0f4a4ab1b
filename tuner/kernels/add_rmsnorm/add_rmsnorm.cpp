// residual_out = x + residual; out = residual_out / sqrt(mean(residual_out^2) + 1e-5) * weight, row by row.
//
// Workload:   M rows, N columns.
// Parameters: LANES         floats in one vector
//             UNROLL        vectors in one step of a loop
//             ACCUMULATORS  independent partial sums
//             PREFETCH      bytes to prefetch ahead of the inputs, 0 for none
//             SCRATCH       the second pass reads the row from a buffer of its own, instead of from residual_out
//             STREAM        outputs written past the caches: 0 none, 1 out, 2 out and residual_out
//             THREADS       that share the rows, by SCHEDULE: see parallel.hpp
#include "parallel.hpp"
#include "vec.hpp"

constexpr int STEP = LANES * UNROLL;
static_assert(N % STEP == 0 && UNROLL % ACCUMULATORS == 0);
static_assert(STREAM < 2 || SCRATCH, "a row that was written past the caches would be read back from memory");

template <bool past_caches> static inline void write(float *to, floats<LANES> value) {
  if (past_caches)
    stream<LANES>(to, value);
  else
    store<LANES>(to, value);
}

extern "C" void kernel(const float *x, const float *residual, const float *weight, float *out, float *residual_out) {
  parallel(M, [=](long row) {
    alignas(64) float scratch[SCRATCH ? N : 1];
    const float *a = x + row * long(N), *b = residual + row * long(N);
    float *normed = out + row * long(N), *total = residual_out + row * long(N);
    float *again = SCRATCH ? scratch : total;

    floats<LANES> squares[ACCUMULATORS] = {};
    for (int i = 0; i < N; i += STEP) {
      if (PREFETCH) {
        __builtin_prefetch(reinterpret_cast<const char *>(a + i) + PREFETCH);
        __builtin_prefetch(reinterpret_cast<const char *>(b + i) + PREFETCH);
      }
#pragma GCC unroll 8
      for (int u = 0; u < UNROLL; ++u) {
        const int at = i + u * LANES;
        const floats<LANES> value = load<LANES>(a + at) + load<LANES>(b + at);
        write<STREAM == 2>(total + at, value);
        if (SCRATCH) store<LANES>(scratch + at, value);
        squares[u % ACCUMULATORS] += value * value;
      }
    }
    for (int u = 1; u < ACCUMULATORS; ++u) squares[0] += squares[u];
    const float scale = 1.0f / __builtin_sqrtf(sum<LANES>(squares[0]) / N + 1e-5f);

    for (int i = 0; i < N; i += STEP) {
#pragma GCC unroll 8
      for (int u = 0; u < UNROLL; ++u) {
        const int at = i + u * LANES;
        write<STREAM != 0>(normed + at, load<LANES>(again + at) * scale * load<LANES>(weight + at));
      }
    }
  });
  if (STREAM) stream_done();
}
