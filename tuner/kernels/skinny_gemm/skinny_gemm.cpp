// out[m][n] = sum over k of x[m][k] * weight[n][k]; sums are kept in float32. Buffers are static: one call at a time.
//
// Workload:   M rows of activations, N rows of weights, K columns of both; DTYPE of everything.
// Parameters: those of few_rows.hpp, and
//             UNIT   what multiplies: fma (floats), or tile (bfloat16, 16 x 32 at a time)
//             TILES  tiles of 16 rows of weights that share a loaded tile of activations
#include "few_rows.hpp"
#include "tiles.hpp"

enum unit { fma, tile };

// Columns of weights in one tile, and tiles of those.
static_assert(UNIT == fma || sizeof(DTYPE) == sizeof(bf16));
constexpr int DEPTH = tile_bytes / sizeof(DTYPE), STEPS = K / DEPTH;

// Activations as tiles: for each of these, for each two columns, two numbers of each row; rows beyond M are zero.
alignas(64) static DTYPE tiles[UNIT == tile ? STEPS : 1][DEPTH / 2][tile_rows][2];

// `rows` rows of weights in NOW tiles, with all activations.
template <int NOW> static void tile_rows_of(const DTYPE *weight, DTYPE *out, int row, int rows) {
  alignas(64) float sums[NOW * tile_rows][tile_rows];
  multiply_by_tiles<bf16, NOW, 1, LOCALITY>(weight + row * long(K), K * sizeof(DTYPE), tiles, STEPS,
                                             PREFETCH * TILES * tile_rows * K * long(sizeof(DTYPE)), sums);
  for (int m = 0; m < M; ++m)
    for (int r = 0; r < rows; ++r) store(out + m * long(N) + row + r, sums[r][m]);
}

static void multiply_in_tiles(const DTYPE *x, const DTYPE *weight, DTYPE *out) {
  for (int m = 0; m < M; ++m)
    for (int k = 0; k < K; k += 2)
      __builtin_memcpy(tiles[k / DEPTH][k % DEPTH / 2][m], x + m * long(K) + k, 2 * sizeof(DTYPE));
  constexpr int STEP = TILES * tile_rows;
  parallel_parts(N / STEP, [=](long begin, long end) {
    tile_shapes shapes;
    shapes.set(tile_rows);
    for (int row = begin * STEP; row < end * STEP; row += STEP) tile_rows_of<TILES>(weight, out, row, STEP);
  });
  int row = N / STEP * STEP;
  tile_shapes shapes;
  shapes.set(tile_rows);
  for (; row + tile_rows <= N; row += tile_rows) tile_rows_of<1>(weight, out, row, tile_rows);
  if (row < N) {
    shapes.set(N - row);
    tile_rows_of<1>(weight, out, row, N - row);
  }
}

extern "C" void kernel(const DTYPE *x, const DTYPE *weight, DTYPE *out) {
  if constexpr (UNIT == tile)
    multiply_in_tiles(x, weight, out);
  else
    few_rows<DTYPE, unscaled>(x, weight, unscaled(), out).multiply();
}
