// As include/tensor_core.cuh: where the values of a product lie is written here once more, as the tables of the PTX ISA have
// it, and from nothing else ("Matrix Fragments for mma.m16n8k16 with floating point type", "... for mma.m16n8k32").
#pragma once
#include "types.cuh"

template <class type> struct summed_as { using sum = float; };
template <> struct summed_as<int8> { using sum = int; };

namespace emulation {

inline void make(const std::vector<copy> &group) {
  for (const copy &one : group) {
    if (one.inside)
      std::memcpy(one.to, one.from, 16);
    else
      std::memset(one.to, 0, 16);
  }
}

struct rows8 { const void *row; };
template <int words, class sum> struct operands {
  unsigned x[4], y[2];
  sum sums[4];
};

// Element i of the words that a thread holds.
template <class type> inline type element(const unsigned *words, int i) {
  type value;
  std::memcpy(&value, reinterpret_cast<const char *>(words) + i * sizeof(type), sizeof(type));
  return value;
}
template <class type> inline float number(type value) { return wide(value); }

template <class type, class sum> inline void multiply_warp(operands<4, sum> *lanes) {
  constexpr int per_word = 4 / sizeof(type), k_count = 32 / sizeof(type);
  static sum x[16][k_count], y[k_count][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane >> 2, in_group = lane % 4;
    for (int i = 0; i < 4 * per_word; ++i) {
      // Two of 16 bits: row = group for 0 <= i < 2 and 4 <= i < 6, else group + 8; four of 8 bits: the same with fours.
      const bool upper = i < per_word || (i >= 2 * per_word && i < 3 * per_word);
      const int row = upper ? group : group + 8;
      const int k = in_group * per_word + i % per_word + (i >= 2 * per_word ? k_count / 2 : 0);
      x[row][k] = number(element<type>(lanes[lane].x, i));
    }
    for (int i = 0; i < 2 * per_word; ++i) {
      const int k = in_group * per_word + i % per_word + (i >= per_word ? k_count / 2 : 0);
      y[k][group] = number(element<type>(lanes[lane].y, i));
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane >> 2, in_group = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = i < 2 ? group : group + 8, column = in_group * 2 + (i & 1);
      for (int k = 0; k < k_count; ++k) lanes[lane].sums[i] += x[row][k] * y[k][column];
    }
  }
}

}  // namespace emulation

inline void copy_async(void *to, const void *from, bool inside) {
  if (reinterpret_cast<std::uintptr_t>(to) % 16 || (inside && reinterpret_cast<std::uintptr_t>(from) % 16))
    emulation::fail("a copy of 16 bytes is not aligned to 16 bytes");
  const emulation::copy one = {to, from, inside};
  if (LATE)
    emulation::now->fibers[emulation::now->current].groups.back().push_back(one);
  else
    emulation::make({one});
}
inline void copies_commit() { emulation::now->fibers[emulation::now->current].groups.emplace_back(); }
template <int pending> inline void copies_wait() {
  auto &groups = emulation::now->fibers[emulation::now->current].groups;
  // The last one is still open.
  while (groups.size() > pending + 1) {
    emulation::make(groups.front());
    groups.pop_front();
  }
}

inline void load_matrices(unsigned (&words)[4], const void *row) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16) emulation::fail("a row of a matrix is not aligned to 16 bytes");
  emulation::rows8 *const rows = emulation::posted<emulation::rows8>();
  const int lane = emulation::lane_of();
  rows[lane].row = row;
  emulation::meet_warp([] {});
  for (int matrix = 0; matrix < 4; ++matrix)
    std::memcpy(&words[matrix], static_cast<const char *>(rows[8 * matrix + lane / 4].row) + lane % 4 * 4, 4);
  emulation::meet_warp([] {});
}

template <class type, class sum>
inline void multiply(sum (&sums)[4], const unsigned (&x)[4], const unsigned (&y)[2], type) {
  auto *const lanes = emulation::posted<emulation::operands<4, sum>>();
  auto &mine = lanes[emulation::lane_of()];
  std::memcpy(mine.x, x, sizeof x);
  std::memcpy(mine.y, y, sizeof y);
  std::memcpy(mine.sums, sums, sizeof sums);
  emulation::meet_warp([lanes] { emulation::multiply_warp<type, sum>(lanes); });
  std::memcpy(sums, mine.sums, sizeof sums);
}
