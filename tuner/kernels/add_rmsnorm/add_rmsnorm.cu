// Residual add and RMSNorm of a row by the threads of a block: the sum of squares in one pass, then the outputs.
#include "types.cuh"
#include "reduce.cuh"

constexpr bool kept = KEEP;
// As in operator.py.
constexpr float epsilon = 1e-5f;

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    kernel(const DTYPE *__restrict__ x, const DTYPE *__restrict__ residual, const DTYPE *__restrict__ weight,
           DTYPE *__restrict__ out, DTYPE *__restrict__ residual_out) {
  using vector = pack<DTYPE, VECTOR>;
  extern __shared__ float row[];
  const long long start = blockIdx.x * (long long)N;
  const vector *xs = reinterpret_cast<const vector *>(x + start);
  const vector *residuals = reinterpret_cast<const vector *>(residual + start);
  const vector *weights = reinterpret_cast<const vector *>(weight);
  vector *outs = reinterpret_cast<vector *>(out + start);
  vector *sums = reinterpret_cast<vector *>(residual_out + start);
  constexpr int vectors = N / VECTOR;

  float squares = 0.0f;
#pragma unroll UNROLL
  for (int i = threadIdx.x; i < vectors; i += THREADS) {
    const vector one = xs[i], other = residuals[i];
    vector sum;
#pragma unroll
    for (int j = 0; j < VECTOR; ++j) {
      const float total = wide(one.at[j]) + wide(other.at[j]);
      squares += total * total;
      if (kept) row[i * VECTOR + j] = total;
      sum.at[j] = narrow<DTYPE>(total);
    }
    sums[i] = sum;
  }
  const float scale = rsqrtf(over_block<THREADS>(squares, summing()) / N + epsilon);

#pragma unroll UNROLL
  for (int i = threadIdx.x; i < vectors; i += THREADS) {
    const vector factor = weights[i];
    vector one, other, result;
    if (!kept) {
      one = xs[i];
      other = residuals[i];
    }
#pragma unroll
    for (int j = 0; j < VECTOR; ++j) {
      const float total = kept ? row[i * VECTOR + j] : wide(one.at[j]) + wide(other.at[j]);
      result.at[j] = narrow<DTYPE>(total * scale * wide(factor.at[j]));
    }
    outs[i] = result;
  }
}
