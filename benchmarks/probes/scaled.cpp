// y = x, taken REPEATS times towards 1/2: all in the caches, so that its time is proportional to REPEATS. SAME enters
// nothing: two configs that differ in it alone are the same program.
#include "vec.hpp"

extern "C" void kernel(const float *x, float *y) {
  typedef floats<8> vector;
  for (int i = 0; i < N; i += 8) {
    vector value = load<8>(x + i);
    for (int r = 0; r < REPEATS; ++r) value = keep<8>(value * 0.999f + 0.0005f);
    store<8>(y + i, value);
  }
}
