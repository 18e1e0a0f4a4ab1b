// Sums and maxima over the threads of a block: within warps by shuffles, between them by shared memory.
#pragma once

struct summing {
  static constexpr float nothing = 0.0f;
  __device__ __forceinline__ float operator()(float one, float other) const { return one + other; }
};

struct greatest {
  static constexpr float nothing = -3.402823466e+38f;
  __device__ __forceinline__ float operator()(float one, float other) const { return fmaxf(one, other); }
};

// Every thread of the block calls it, and gets the result. Blocks are whole warps.
template <int threads, class operation> __device__ __forceinline__ float over_block(float value, operation combine) {
  constexpr int warps = threads / 32;
  static_assert(threads % 32 == 0, "blocks are whole warps");
#pragma unroll
  for (int away = 16; away > 0; away /= 2) value = combine(value, __shfl_xor_sync(0xffffffffu, value, away));
  if constexpr (warps > 1) {
    __shared__ float of_warp[warps];
    __syncthreads();
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    value = threadIdx.x % 32 < warps ? of_warp[threadIdx.x % 32] : operation::nothing;
#pragma unroll
    for (int away = 16; away > 0; away /= 2) value = combine(value, __shfl_xor_sync(0xffffffffu, value, away));
  }
  return value;
}
