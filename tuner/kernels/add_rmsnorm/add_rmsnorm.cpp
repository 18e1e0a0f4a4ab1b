// residual_out = x + residual; out = residual_out / sqrt(mean(residual_out^2) + 1e-5) * weight, row by row.
//
// Workload:   M rows, N columns.
// Parameters: LANES         floats in one vector
//             UNROLL        vectors in one step of a loop
//             ACCUMULATORS  independent partial sums
//             PREFETCH      bytes to prefetch ahead of the inputs, 0 for none
#include "vec.hpp"

extern "C" void kernel(const float *x, const float *residual, const float *weight, float *out, float *residual_out) {
  constexpr int STEP = LANES * UNROLL;
  for (int row = 0; row < M; ++row) {
    const float *a = x + row * (long)N, *b = residual + row * (long)N;
    float *normed = out + row * (long)N, *total = residual_out + row * (long)N;

    floats<LANES> squares[ACCUMULATORS] = {};
    for (int i = 0; i < N; i += STEP) {
      if (PREFETCH) {
        __builtin_prefetch(reinterpret_cast<const char *>(a + i) + PREFETCH);
        __builtin_prefetch(reinterpret_cast<const char *>(b + i) + PREFETCH);
      }
#pragma GCC unroll 8
      for (int u = 0; u < UNROLL; ++u) {
        const floats<LANES> value = load<LANES>(a + i + u * LANES) + load<LANES>(b + i + u * LANES);
        store<LANES>(total + i + u * LANES, value);
        squares[u % ACCUMULATORS] += value * value;
      }
    }
    for (int u = 1; u < ACCUMULATORS; ++u) squares[0] += squares[u];
    const float scale = 1.0f / __builtin_sqrtf(sum<LANES>(squares[0]) / N + 1e-5f);

    for (int i = 0; i < N; i += STEP) {
#pragma GCC unroll 8
      for (int u = 0; u < UNROLL; ++u) {
        const int at = i + u * LANES;
        store<LANES>(normed + at, load<LANES>(total + at) * scale * load<LANES>(weight + at));
      }
    }
  }
}
