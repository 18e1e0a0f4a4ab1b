// out = 2 x + y; VECTOR numbers a load.
#include "types.cuh"

extern "C" __global__ void __launch_bounds__(THREADS) kernel(const float *x, const float *y, float *out) {
  const int i = (blockIdx.x * THREADS + threadIdx.x) * VECTOR;
  if (i >= N) return;
  auto xs = *reinterpret_cast<const pack<float, VECTOR> *>(x + i);
  const auto ys = *reinterpret_cast<const pack<float, VECTOR> *>(y + i);
#pragma unroll
  for (int j = 0; j < VECTOR; ++j) xs.at[j] = 2.0f * xs.at[j] + ys.at[j];
  *reinterpret_cast<pack<float, VECTOR> *>(out + i) = xs;
}
