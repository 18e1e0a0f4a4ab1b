// out = 2 * x + y
#include "vec.hpp"

extern "C" void kernel(const float *x, const float *y, float *out) {
  for (long i = 0; i < N; i += LANES * UNROLL) {
#pragma GCC unroll 8
    for (int u = 0; u < UNROLL; ++u) {
      const long at = i + u * LANES;
      store<LANES>(out + at, 2.0f * load<LANES>(x + at) + load<LANES>(y + at));
    }
  }
}
