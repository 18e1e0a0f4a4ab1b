// Threads of a block hold a plane's tile and go through the planes: what was above and below is kept in registers, and
// the neighbours in the plane come from shared memory, or from the caches.
#include "types.cuh"

constexpr float rate = 0.125f;

extern "C" __global__ void __launch_bounds__(BLOCK_X *BLOCK_Y, MIN_BLOCKS)
    kernel(const float *__restrict__ x, float *__restrict__ out) {
  __shared__ float plane[SHARED ? BLOCK_Y + 2 : 1][SHARED ? BLOCK_X + 2 : 1];
  const int lane_x = threadIdx.x % BLOCK_X, lane_y = threadIdx.x / BLOCK_X;
  const int i = blockIdx.x * BLOCK_X + lane_x, j = blockIdx.y * BLOCK_Y + lane_y;
  const int first = blockIdx.z * PLANES, last = first + PLANES < NZ ? first + PLANES : NZ;
  const bool there = i < NX && j < NY;
  const bool inner = i > 0 && i < NX - 1 && j > 0 && j < NY - 1;
  const long long of_plane = (long long)NX * NY, at = (long long)j * NX + i;

  float below = there && first > 0 ? x[(first - 1) * of_plane + at] : 0.0f;
  float here = there ? x[first * of_plane + at] : 0.0f;
#pragma unroll UNROLL
  for (int k = first; k < last; ++k) {
    const float *layer = x + k * of_plane + at;
    const float above = there && k + 1 < NZ ? layer[of_plane] : 0.0f;
    float sides = 0.0f;
    if (SHARED) {
      plane[lane_y + 1][lane_x + 1] = here;
      if (inner) {
        if (lane_x == 0) plane[lane_y + 1][0] = layer[-1];
        if (lane_x == BLOCK_X - 1) plane[lane_y + 1][BLOCK_X + 1] = layer[1];
        if (lane_y == 0) plane[0][lane_x + 1] = layer[-NX];
        if (lane_y == BLOCK_Y - 1) plane[BLOCK_Y + 1][lane_x + 1] = layer[NX];
      }
      __syncthreads();
      if (inner)
        sides = plane[lane_y + 1][lane_x] + plane[lane_y + 1][lane_x + 2] + plane[lane_y][lane_x + 1] +
                plane[lane_y + 2][lane_x + 1];
      __syncthreads();
    } else if (inner) {
      sides = layer[-1] + layer[1] + layer[-NX] + layer[NX];
    }
    if (there)
      out[k * of_plane + at] =
          inner && k > 0 && k < NZ - 1 ? here + rate * (sides + below + above - 6.0f * here) : here;
    below = here;
    here = above;
  }
}
