// out = gate / (1 + exp(-gate)) * up, number by number.
//
// Workload:   M rows, N columns.
// Parameters: LANES     floats in one vector
//             UNROLL    vectors in one step of the loop
//             SHARE     vectors that share one division
//             SEGMENTS  equal parts of the arrays that are read in turns, as separate streams
//             PREFETCH  bytes to prefetch ahead of the inputs, 0 for none
//             STREAM    the output is written past the caches
//             THREADS   that share the steps of each segment, by SCHEDULE: see parallel.hpp
#include "parallel.hpp"
#include "vec.hpp"

constexpr int STEP = LANES * UNROLL;
constexpr long SEGMENT = M * long(N) / SEGMENTS;
constexpr float LOG2_E = 1.4426950408889634f;
static_assert(M * long(N) % SEGMENTS == 0 && SEGMENT % STEP == 0 && UNROLL % SHARE == 0);

// Replaces `count` vectors of numbers in [1, 2] by their reciprocals, with one division: 1 / a = b / (a b). A product
// of SHARE of them is at most 2^SHARE.
template <int count> static inline void invert(floats<LANES> *values) {
  if constexpr (count == 1) {
    values[0] = 1.0f / values[0];
  } else {
    floats<LANES> products[count / 2];
#pragma GCC unroll 8
    for (int i = 0; i < count / 2; ++i) products[i] = values[2 * i] * values[2 * i + 1];
    invert<count / 2>(products);
#pragma GCC unroll 8
    for (int i = 0; i < count / 2; ++i) {
      const floats<LANES> even = values[2 * i];
      values[2 * i] = products[i] * values[2 * i + 1];
      values[2 * i + 1] = products[i] * even;
    }
  }
}

static inline void step(const float *gate, const float *up, float *out) {
#pragma GCC unroll 8
  for (int u = 0; u < UNROLL; u += SHARE) {
    floats<LANES> above[SHARE], below[SHARE];
#pragma GCC unroll 8
    for (int i = 0; i < SHARE; ++i) {
      const floats<LANES> value = load<LANES>(gate + (u + i) * LANES);
      // exp(-|gate|) does not overflow: 1 / (1 + exp(-gate)) is exp(gate) / (exp(gate) + 1) for a negative gate.
      const floats<LANES> negative = (floats<LANES>)((ints<LANES>)value | int32_t(0x80000000));
      const floats<LANES> power = exp2<LANES>(negative * LOG2_E);
      above[i] = value > 0.0f ? value : value * power;
      below[i] = 1.0f + power;
    }
    invert<SHARE>(below);
#pragma GCC unroll 8
    for (int i = 0; i < SHARE; ++i) {
      const int at = (u + i) * LANES;
      const floats<LANES> value = above[i] * below[i] * load<LANES>(up + at);
      if (STREAM)
        stream<LANES>(out + at, value);
      else
        store<LANES>(out + at, value);
    }
  }
}

extern "C" void kernel(const float *gate, const float *up, float *out) {
  parallel(SEGMENT / STEP, [=](long i) {
    for (int segment = 0; segment < SEGMENTS; ++segment) {
      const long start = segment * SEGMENT + i * STEP;
      if (PREFETCH) {
        for (int at = 0; at < STEP; at += 16) {
          __builtin_prefetch(reinterpret_cast<const char *>(gate + start + at) + PREFETCH);
          __builtin_prefetch(reinterpret_cast<const char *>(up + start + at) + PREFETCH);
        }
      }
      step(gate + start, up + start, out + start);
    }
  });
  if (STREAM) stream_done();
}
