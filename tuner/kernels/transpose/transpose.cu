// A square tile through shared memory: rows are read and rows are written, whole warps at neighbouring addresses. Padding
// lets the threads of a warp read a column of the tile from different banks.
#include "types.cuh"

extern "C" __global__ void __launch_bounds__(TILE *ROWS) kernel(const float *__restrict__ x, float *__restrict__ out) {
  __shared__ float tile[TILE][TILE + PAD];
  const int tiles_n = (N + TILE - 1) / TILE;
  int tile_m = blockIdx.x / tiles_n, tile_n = blockIdx.x % tiles_n;
  if (DIAGONAL) {
    // Neighbouring blocks write to different rows and columns, and so to different parts of memory.
    const int tiles_m = (M + TILE - 1) / TILE;
    tile_m = (tile_m + tile_n) % tiles_m;
  }
  const int lane = threadIdx.x % TILE, first = threadIdx.x / TILE;
#pragma unroll
  for (int i = 0; i < TILE; i += ROWS) {
    const int row = tile_m * TILE + first + i, column = tile_n * TILE + lane;
    if (row < M && column < N) tile[first + i][lane] = x[(long long)row * N + column];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < TILE; i += ROWS) {
    const int row = tile_n * TILE + first + i, column = tile_m * TILE + lane;
    if (row < N && column < M) out[(long long)row * M + column] = tile[lane][first + i];
  }
}
