// Softmax of a row by the threads of a block: maximum and sum in one pass, then the outputs.
#include "types.cuh"
#include "reduce.cuh"

constexpr bool kept = KEEP;

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) kernel(const DTYPE *__restrict__ x, DTYPE *__restrict__ out) {
  using vector = pack<DTYPE, VECTOR>;
  extern __shared__ float row[];
  const vector *from = reinterpret_cast<const vector *>(x + blockIdx.x * (long long)N);
  vector *to = reinterpret_cast<vector *>(out + blockIdx.x * (long long)N);
  constexpr int vectors = N / VECTOR;

  float most = greatest::nothing, total = 0.0f;
#pragma unroll UNROLL
  for (int i = threadIdx.x; i < vectors; i += THREADS) {
    const vector values = from[i];
    float wider[VECTOR], higher = most;
#pragma unroll
    for (int j = 0; j < VECTOR; ++j) {
      wider[j] = wide(values.at[j]);
      higher = fmaxf(higher, wider[j]);
      if (kept) row[i * VECTOR + j] = wider[j];
    }
    total *= __expf(most - higher);
#pragma unroll
    for (int j = 0; j < VECTOR; ++j) total += __expf(wider[j] - higher);
    most = higher;
  }
  const float highest = over_block<THREADS>(most, greatest());
  const float scale = 1.0f / over_block<THREADS>(total * __expf(most - highest), summing());

#pragma unroll UNROLL
  for (int i = threadIdx.x; i < vectors; i += THREADS) {
    vector values;
    if (!kept) values = from[i];
#pragma unroll
    for (int j = 0; j < VECTOR; ++j) {
      const float value = kept ? row[i * VECTOR + j] : wide(values.at[j]);
      values.at[j] = narrow<DTYPE>(__expf(value - highest) * scale);
    }
    to[i] = values;
  }
}
