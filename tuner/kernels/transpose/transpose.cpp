// out[n][m] = x[m][n]. Squares of LANES x LANES numbers are turned over in registers; squares make up tiles that stay
// in the caches, and tiles make up the matrix. Buffers are static: one call at a time.
//
// Workload:   M rows, N columns of x.
// Parameters: LANES      floats in one vector, and rows and columns of one square
//             UNROLL     squares below each other in one step: each row of out gets UNROLL vectors at once
//             TILE_M     rows of x in one tile
//             TILE_N     columns of x in one tile
//             ALONG_OUT  tiles, and the squares in one, follow the rows of out, instead of those of x
//             BUFFER     a tile is turned over into a buffer of its own, and written from there row by row
//             PREFETCH   a tile of x is prefetched while the one before it is turned over
//             STREAM     out is written past the caches
//             THREADS    that share the rows of tiles, or with ALONG_OUT the columns, by SCHEDULE: see parallel.hpp
#include "parallel.hpp"
#include "vec.hpp"

constexpr int STEP = LANES * UNROLL;
static_assert(M % STEP == 0 && N % LANES == 0 && TILE_M % STEP == 0 && TILE_N % LANES == 0);

alignas(64) static per_thread float buffer[BUFFER ? TILE_M * TILE_N : 1];

template <bool past_caches> static inline void write(float *to, floats<LANES> value) {
  if (past_caches)
    stream<LANES>(to, value);
  else
    store<LANES>(to, value);
}

// The numbers 0 to count - 1 as a list of template arguments.
template <int... lane> struct list {};
template <int count, int... lane> struct upto : upto<count - 1, count - 1, lane...> {};
template <int... lane> struct upto<0, lane...> {
  using type = list<lane...>;
};

// Of two rows that are `distance` apart, swaps the upper one's blocks right of the diagonal with the lower one's left
// of it; blocks are `distance` wide.
template <int distance, int... lane>
static inline void swap_blocks(floats<LANES> &upper, floats<LANES> &lower, list<lane...>) {
  const floats<LANES> swapped =
      __builtin_shufflevector(upper, lower, (lane & distance ? LANES + lane - distance : lane)...);
  lower = __builtin_shufflevector(upper, lower, (lane & distance ? LANES + lane : lane + distance)...);
  upper = swapped;
}

// Turns over a square in log2(LANES) rounds: blocks of 1, then of 2, and so on.
template <int distance = 1> static inline void turn_over(floats<LANES> (&rows)[LANES]) {
  if constexpr (distance < LANES) {
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i)
      if (!(i & distance)) swap_blocks<distance>(rows[i], rows[i + distance], typename upto<LANES>::type());
    turn_over<2 * distance>(rows);
  }
}

// Numbers from a place in one tile of x to the same place in the next.
constexpr long NEXT_TILE = ALONG_OUT ? TILE_M * long(N) : TILE_N;

// Turns over UNROLL squares of x that lie below each other; rows of `to` are `pitch` numbers apart.
static inline void step(const float *from, float *to, int pitch) {
#pragma GCC unroll 4
  for (int u = 0; u < UNROLL; ++u) {
    floats<LANES> rows[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i) {
      const float *row = from + (u * LANES + i) * long(N);
      if (PREFETCH) __builtin_prefetch(row + NEXT_TILE);
      rows[i] = load<LANES>(row);
    }
    turn_over(rows);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i) write<STREAM && !BUFFER>(to + i * long(pitch) + u * LANES, rows[i]);
  }
}

static inline void tile(const float *x, float *out, int rows, int columns) {
  constexpr int pitch = BUFFER ? TILE_M : M;
  float *to = BUFFER ? buffer : out;
  if (ALONG_OUT) {
    for (int column = 0; column < columns; column += LANES)
      for (int row = 0; row < rows; row += STEP)
        step(x + row * long(N) + column, to + column * long(pitch) + row, pitch);
  } else {
    for (int row = 0; row < rows; row += STEP)
      for (int column = 0; column < columns; column += LANES)
        step(x + row * long(N) + column, to + column * long(pitch) + row, pitch);
  }
  if (BUFFER) {
    for (int column = 0; column < columns; ++column)
      for (int row = 0; row < rows; row += LANES)
        write<STREAM>(out + column * long(M) + row, load<LANES>(buffer + column * TILE_M + row));
  }
}

static inline void tile_at(const float *x, float *out, int row, int column) {
  const int rows = M - row < TILE_M ? M - row : TILE_M, columns = N - column < TILE_N ? N - column : TILE_N;
  tile(x + row * long(N) + column, out + column * long(M) + row, rows, columns);
}

extern "C" void kernel(const float *x, float *out) {
  if (ALONG_OUT) {
    parallel((N + TILE_N - 1) / TILE_N, [=](long i) {
      for (int row = 0; row < M; row += TILE_M) tile_at(x, out, row, i * TILE_N);
    });
  } else {
    parallel((M + TILE_M - 1) / TILE_M, [=](long i) {
      for (int column = 0; column < N; column += TILE_N) tile_at(x, out, i * TILE_M, column);
    });
  }
  if (STREAM) stream_done();
}
