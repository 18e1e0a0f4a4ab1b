// out[m][n] = scale[n] * sum over k of x[m][k] * weight[n][k], with int8 weights. Buffers are static: one call at a time.
//
// Weights become float32, and sums too; or activations become integers, and weights stay what they are. Integers are
// fixed-point numbers of the row's largest activation: of three digits of 8 bits, which hold what is above 2^-22 of it,
// as float32 holds what is above 2^-24 of a sum; or of one digit, which is an approximation.
//
// Workload:   M rows of activations, N rows of weights, K columns of both; DTYPE of activations, scales and outputs.
// Parameters: those of few_rows.hpp, and
//             UNIT         what multiplies: fma (floats), dot (bytes, four at a time), tile (bytes, 16 x 64 at a time)
//             ACTIVATIONS  exact, or int8: one digit
//             TILES        tiles of 16 rows of weights that share a loaded tile of activations
#include "few_rows.hpp"
#include "tiles.hpp"

#ifndef ACTIVATIONS
#define ACTIVATIONS exact
#endif
enum unit { fma, dot, tile };
enum activations { exact, int8 };

constexpr int DIGITS = ACTIVATIONS == int8 ? 1 : 3;
// Columns of digits: those of a row of activations follow each other, the highest first.
constexpr int COLUMNS = M * DIGITS;
constexpr int COLUMN_TILES = (COLUMNS + tile_rows - 1) / tile_rows;
// Numbers of k that are stored together for each column.
constexpr int DEPTH = UNIT == tile ? tile_bytes : 4 * LANES;
constexpr int STORED = UNIT == tile ? COLUMN_TILES * tile_rows : COLUMNS;
static_assert(UNIT == fma || K <= 65536, "a sum of products of bytes, one of them unsigned, has to fit in 32 bits");

alignas(64) static int8_t digits[UNIT == fma ? 1 : STORED * K];
// For each row of activations, what 1 stands for, and for each column 128 times the sum of its digits.
static float units[M];
static int32_t shifts[COLUMNS];

// Where four digits of a column are, from k on.
static inline int place(int column, int k) {
  const int before = k / DEPTH * DEPTH * STORED, word = k % DEPTH / 4;
  if (UNIT == dot) return before + column * DEPTH + 4 * word;
  return before + column / tile_rows * (DEPTH * tile_rows) + (word * tile_rows + column % tile_rows) * 4;
}

// Turns a row of activations into digits; false if a number in it is not finite.
static bool digitise(const DTYPE *x, int row) {
  floats<LANES> largest = {};
  ints<LANES> not_finite = {};
  for (int k = 0; k < K; k += LANES) {
    const floats<LANES> value = load<LANES>(x + row * long(K) + k), size = value > 0 ? value : -value;
    largest = size > largest ? size : largest;
    not_finite |= ((ints<LANES>)value & 0x7f800000) == 0x7f800000;
  }
  float most = 0x1p-100f;
  for (int lane = 0; lane < LANES; ++lane) most = largest[lane] > most ? largest[lane] : most;
  // Three digits hold 22 bits and the sign, and a power of two keeps the bits that a number has; one digit holds 127.
  const float whole = DIGITS == 1 ? 127 / most : 0x1p22f / most;
  float inverse = whole;
  if (DIGITS > 1) {
    uint32_t bits;
    __builtin_memcpy(&bits, &whole, sizeof bits);
    bits &= 0xff800000;
    __builtin_memcpy(&inverse, &bits, sizeof bits);
  }
  units[row] = 1 / inverse;

  ints<LANES> totals[DIGITS] = {};
  for (int k = 0; k < K; k += LANES) {
    // The sum's last bits are the rounded number.
    const floats<LANES> rounded = load<LANES>(x + row * long(K) + k) * inverse + 0x1.8p23f;
    ints<LANES> rest = (ints<LANES>)rounded - 0x4b400000;
    for (int digit = DIGITS - 1; digit >= 0; --digit) {
      const auto bytes = __builtin_convertvector(rest, typename vec_types<LANES>::bytes);
      totals[digit] += (rest << 24) >> 24;
      rest = (rest + 128) >> 8;
      for (int word = 0; word < LANES; word += 4)
        __builtin_memcpy(digits + place(row * DIGITS + digit, k + word), reinterpret_cast<const char *>(&bytes) + word, 4);
    }
  }
  for (int digit = 0; digit < DIGITS; ++digit) shifts[row * DIGITS + digit] = 128 * sum_ints<LANES>(totals[digit]);
  return sum_ints<LANES>(not_finite) == 0;
}

// Writes outputs of one row of weights and of activations, from the sums of the latter's digits.
static inline void finish(const int32_t *sums, const DTYPE *scale, DTYPE *out, int row, int m) {
  float total = 0;
  for (int digit = 0; digit < DIGITS; ++digit) total = total * 256 + sums[digit];
  store(out + m * long(N) + row, total * units[m] * number(scale[row]));
}

// Rows [row, row + ROWS_NOW) of weights with rows [first, first + BATCH_NOW) of activations.
template <int ROWS_NOW, int BATCH_NOW>
static inline void dot_rows(const int8_t *weight, const DTYPE *scale, DTYPE *out, int row, int first) {
  constexpr int NOW = BATCH_NOW * DIGITS;
  const int8_t *from = weight + row * long(K), *columns = digits + first * DIGITS * DEPTH;
  ints<LANES> sums[ROWS_NOW][NOW] = {};
  for (int k = 0; k < K; k += DEPTH) {
    ints<LANES> weights[ROWS_NOW];
#pragma GCC unroll 16
    for (int r = 0; r < ROWS_NOW; ++r) {
      if (PREFETCH) __builtin_prefetch(from + (PREFETCH * ROWS + r) * long(K) + k, 0, LOCALITY);
      // Plus 128: one side has to be unsigned.
      weights[r] = load_words<LANES>(from + r * long(K) + k) ^ int32_t(0x80808080);
    }
#pragma GCC unroll 48
    for (int c = 0; c < NOW; ++c) {
      const ints<LANES> column = load_words<LANES>(columns + k * COLUMNS + c * DEPTH);
#pragma GCC unroll 16
      for (int r = 0; r < ROWS_NOW; ++r) sums[r][c] = dot_bytes<LANES>(sums[r][c], weights[r], column);
    }
  }
  for (int r = 0; r < ROWS_NOW; ++r) {
    int32_t totals[NOW];
#pragma GCC unroll 48
    for (int c = 0; c < NOW; ++c) totals[c] = sum_ints<LANES>(sums[r][c]) - shifts[first * DIGITS + c];
    for (int b = 0; b < BATCH_NOW; ++b) finish(totals + b * DIGITS, scale, out, row + r, first + b);
  }
}

template <int ROWS_NOW> static void dot_batches(const int8_t *weight, const DTYPE *scale, DTYPE *out, int row) {
  for (int first = 0; first + BATCH <= M; first += BATCH) dot_rows<ROWS_NOW, BATCH>(weight, scale, out, row, first);
  if constexpr (M % BATCH != 0) dot_rows<ROWS_NOW, M % BATCH>(weight, scale, out, row, M - M % BATCH);
}

// `rows` rows of weights in TILES_NOW tiles, with all columns.
template <int TILES_NOW>
static void tile_rows_of(const int8_t *weight, const DTYPE *scale, DTYPE *out, int row, int rows) {
  alignas(64) int32_t sums[TILES_NOW][COLUMN_TILES][tile_rows][tile_rows];
  multiply_by_tiles<int8_t, TILES_NOW, COLUMN_TILES, LOCALITY>(weight + row * long(K), K, digits, K / DEPTH,
                                                    PREFETCH * TILES * tile_rows * long(K), sums);
  for (int r = 0; r < rows; ++r) {
    int32_t totals[COLUMNS];
    for (int c = 0; c < COLUMNS; ++c) totals[c] = sums[r / tile_rows][c / tile_rows][r % tile_rows][c % tile_rows];
    for (int m = 0; m < M; ++m) finish(totals + m * DIGITS, scale, out, row + r, m);
  }
}

// What float32 makes of a row of activations, one number at a time.
static void plain(const DTYPE *x, const int8_t *weight, const DTYPE *scale, DTYPE *out, int m) {
  for (int row = 0; row < N; ++row) {
    float total = 0;
    for (int k = 0; k < K; ++k) total += number(x[m * long(K) + k]) * weight[row * long(K) + k];
    store(out + m * long(N) + row, total * number(scale[row]));
  }
}

extern "C" void kernel(const DTYPE *x, const int8_t *weight, const DTYPE *scale, DTYPE *out) {
  if constexpr (UNIT == fma) {
    few_rows<int8_t, const DTYPE *>(x, weight, scale, out).multiply();
    return;
  }
  bool finite[M];
  for (int m = 0; m < M; ++m) finite[m] = digitise(x, m);
  if constexpr (UNIT == dot) {
    parallel(N / ROWS, [=](long i) { dot_batches<ROWS>(weight, scale, out, i * ROWS); });
    if constexpr (N % ROWS != 0) dot_batches<N % ROWS>(weight, scale, out, N - N % ROWS);
  }
  if constexpr (UNIT == tile) {
    constexpr int STEP = TILES * tile_rows;
    parallel_parts(N / STEP, [=](long begin, long end) {
      tile_shapes shapes;
      shapes.set(tile_rows);
      for (int row = begin * STEP; row < end * STEP; row += STEP) tile_rows_of<TILES>(weight, scale, out, row, STEP);
    });
    int row = N / STEP * STEP;
    tile_shapes shapes;
    shapes.set(tile_rows);
    for (; row + tile_rows <= N; row += tile_rows) tile_rows_of<1>(weight, scale, out, row, tile_rows);
    if (row < N) {
      shapes.set(N - row);
      tile_rows_of<1>(weight, scale, out, row, N - row);
    }
  }
  for (int m = 0; m < M; ++m)
    if (!finite[m]) plain(x, weight, scale, out, m);
}
