// Products of small matrices in the tile registers of AMX (Intel, Intel Architecture Instruction Set Extensions
// Programming Reference, chapter 3), without an intrinsics header. A tile is up to 16 rows of 64 bytes; out += a b takes
// rows of a as they lie in memory, and of b, for each group of numbers that fill 32 bits, 16 columns of one such group.
#pragma once
#include "vec.hpp"
#include <unistd.h>

constexpr int tile_rows = 16, tile_bytes = 64;
// Where there are eight tiles, the last holds b; sums and parts of a are in the others.
constexpr int b_tile = 7;

// Linux saves tiles for a process that asked for them, with its threads and children. Where it refuses, the first
// instruction on tiles ends the process.
static inline void ask_for_tiles() {
  // Two threads may both ask: that does no harm, and a guard would need the C++ library.
  static bool asked;
  if (!asked) syscall(/* arch_prctl */ 158, /* ARCH_REQ_XCOMP_PERM */ 0x1023, /* XTILEDATA */ 18);
  asked = true;
}

// The shapes of all tiles: the last one is whole, the others have the rows that were set. The shapes that the caller had
// are back when the object is gone; what its tiles held is not.
class tile_shapes {
  struct alignas(64) shapes {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } before;

public:
  tile_shapes() {
    ask_for_tiles();
    asm volatile("sttilecfg %0" : "=m"(before));
  }
  ~tile_shapes() { asm volatile("ldtilecfg %0" ::"m"(before)); }
  tile_shapes(const tile_shapes &) = delete;
  void set(int rows) {
    shapes now = {};
    now.palette = 1;
    for (int tile = 0; tile <= b_tile; ++tile) {
      now.row_bytes[tile] = tile_bytes;
      now.rows[tile] = tile < b_tile ? rows : tile_rows;
    }
    asm volatile("ldtilecfg %0" ::"m"(now));
  }
};

template <int tile> inline void zero_tile() { asm volatile("tilezero %%tmm%c0" ::"i"(tile)); }
template <int tile> inline void load_tile(const void *from, long stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(tile) : "memory");
}
template <int tile> inline void store_tile(void *to, long stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(tile) : "memory");
}
// int8 numbers, sums in int32; bf16 numbers, sums in float32.
template <int sums, int a, int b> inline void multiply_tiles(int8_t) {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sums), "i"(a), "i"(b));
}
template <int sums, int a, int b> inline void multiply_tiles(bf16) {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sums), "i"(a), "i"(b));
}

// Calls function(constant<0>()), function(constant<1>()), ...: tiles are named by constants.
template <int number> struct constant {
  static constexpr int value = number;
};
template <int count, class function_type> [[gnu::always_inline]] inline void each(function_type function) {
  if constexpr (count > 0) {
    each<count - 1>(function);
    function(constant<count - 1>());
  }
}

// out = a b, in a_tiles times b_tiles tiles: 16 a_tiles rows of a, consecutive rows a_stride bytes apart, and 16 b_tiles
// columns of b. Both are `steps` tiles deep; b holds, for each of these, its b_tiles tiles as they are loaded. With
// `ahead`, as many bytes further on in a are prefetched. Tiles of out follow each other, those of the same rows first.
template <class type, int a_tiles, int b_tiles, int locality>
[[gnu::always_inline]] inline void multiply_by_tiles(const void *a, long a_stride, const void *b, int steps, long ahead,
                                                     void *out) {
  static_assert(a_tiles * b_tiles + a_tiles + 1 <= 8, "there are eight tiles");
  constexpr int a_tile = a_tiles * b_tiles;
  each<a_tiles * b_tiles>([](auto tile) { zero_tile<tile.value>(); });
  const char *rows = static_cast<const char *>(a), *columns = static_cast<const char *>(b);
  for (int step = 0; step < steps; ++step, rows += tile_bytes) {
    if (ahead)
      for (int row = 0; row < a_tiles * tile_rows; ++row) __builtin_prefetch(rows + row * a_stride + ahead, 0, locality);
    each<a_tiles>([&](auto i) { load_tile<a_tile + i.value>(rows + i.value * tile_rows * a_stride, a_stride); });
    each<b_tiles>([&](auto j) {
      load_tile<b_tile>(columns, tile_bytes);
      columns += tile_rows * tile_bytes;
      each<a_tiles>([&](auto i) {
        multiply_tiles<i.value * b_tiles + j.value, a_tile + i.value, b_tile>(type());
      });
    });
  }
  char *to = static_cast<char *>(out);
  each<a_tiles * b_tiles>([&](auto tile) { store_tile<tile.value>(to + tile.value * tile_rows * tile_bytes, tile_bytes); });
}
