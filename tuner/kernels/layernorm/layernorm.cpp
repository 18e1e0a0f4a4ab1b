// out = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + 1e-5) * weight + bias, row by row.
//
// Workload:   M rows, N columns.
// Parameters: LANES         floats in one vector
//             UNROLL        vectors in one step of a loop
//             ACCUMULATORS  independent partial sums of each row
//             ROWS          rows that share each loaded weight and bias
//             ONE_PASS      mean and variance are found in one pass over the row, not in two
//             PREFETCH      bytes to prefetch ahead of the input, 0 for none
//             STREAM        the output is written past the caches
//             THREADS       that share the rows, by SCHEDULE: see parallel.hpp
#include "parallel.hpp"
#include "vec.hpp"

constexpr int STEP = LANES * UNROLL;
static_assert(N % STEP == 0 && UNROLL % ACCUMULATORS == 0);

static inline float total(floats<LANES> (&parts)[ACCUMULATORS]) {
  for (int u = 1; u < ACCUMULATORS; ++u) parts[0] += parts[u];
  return sum<LANES>(parts[0]);
}

// Sums of x - shift and of its squares, where asked for; the shift is the row's first number or its mean, so that
// little cancels. The first pass prefetches.
template <int rows>
static inline void add(const float *x, const float *shifts, float *sums, float *squares, bool first) {
  floats<LANES> plain[rows][ACCUMULATORS] = {}, squared[rows][ACCUMULATORS] = {};
  for (int i = 0; i < N; i += STEP) {
    if (PREFETCH && first) {
      for (int r = 0; r < rows; ++r)
        for (int at = 0; at < STEP; at += 16)
          __builtin_prefetch(reinterpret_cast<const char *>(x + r * N + i + at) + PREFETCH);
    }
#pragma GCC unroll 8
    for (int u = 0; u < UNROLL; ++u) {
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
        const floats<LANES> value = load<LANES>(x + r * N + i + u * LANES) - shifts[r];
        if (sums) plain[r][u % ACCUMULATORS] += value;
        if (squares) squared[r][u % ACCUMULATORS] += value * value;
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    if (sums) sums[r] = total(plain[r]);
    if (squares) squares[r] = total(squared[r]);
  }
}

template <int rows> static inline void normalise(const float *x, const float *weight, const float *bias, float *out) {
  float shifts[rows], sums[rows], squares[rows], means[rows], scales[rows];
  for (int r = 0; r < rows; ++r) shifts[r] = x[r * N];
  if (ONE_PASS) {
    add<rows>(x, shifts, sums, squares, true);
    for (int r = 0; r < rows; ++r) {
      means[r] = shifts[r] + sums[r] / N;
      squares[r] -= sums[r] * (sums[r] / N);
    }
  } else {
    add<rows>(x, shifts, sums, nullptr, true);
    for (int r = 0; r < rows; ++r) means[r] = shifts[r] + sums[r] / N;
    add<rows>(x, means, nullptr, squares, false);
  }
  for (int r = 0; r < rows; ++r) scales[r] = 1.0f / __builtin_sqrtf(squares[r] / N + 1e-5f);

  for (int i = 0; i < N; i += STEP) {
#pragma GCC unroll 8
    for (int u = 0; u < UNROLL; ++u) {
      const int at = i + u * LANES;
      const floats<LANES> times = keep<LANES>(load<LANES>(weight + at)), plus = keep<LANES>(load<LANES>(bias + at));
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
        const floats<LANES> value = (load<LANES>(x + r * N + at) - means[r]) * scales[r] * times + plus;
        if (STREAM)
          stream<LANES>(out + r * N + at, value);
        else
          store<LANES>(out + r * N + at, value);
      }
    }
  }
}

extern "C" void kernel(const float *x, const float *weight, const float *bias, float *out) {
  parallel(M / ROWS, [=](long group) {
    normalise<ROWS>(x + group * ROWS * N, weight, bias, out + group * ROWS * N);
  });
  for (int row = M / ROWS * ROWS; row < M; ++row) normalise<1>(x + row * long(N), weight, bias, out + row * long(N));
  if (STREAM) stream_done();
}
