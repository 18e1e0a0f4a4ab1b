// CUDA C++ on a CPU, for the emulator: a block's threads are fibers of one thread, and whoever comes to a barrier waits for
// the others. Nothing here is fast; what is kept is what a GPU promises, and no more:
//
// - Between two barriers of a block each warp runs alone, and between two of a warp each thread, in their order or, with
//   LATE, against it: a kernel that needs a barrier and has none is wrong in one of the two.
// - Copies into shared memory are made at once, or when they are waited for, as LATE says.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>
#include <ucontext.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// Of Hopper: whatever is newer is emulated as well.
#define __CUDA_ARCH__ 900

namespace emulation {

struct index3 { unsigned x = 0, y = 0, z = 0; };
struct copy { void *to; const void *from; bool inside; };

struct fiber {
  ucontext_t context;
  index3 index;
  bool done = false;
  std::deque<std::vector<copy>> groups = std::deque<std::vector<copy>>(1);
};

// Where fibers meet: the last that comes does what there is to do for all.
struct gate {
  int arrived = 0;
  long round = 0;
};

struct block {
  std::vector<fiber> fibers;
  ucontext_t scheduler;
  int current = 0;
  // Whether any fiber has come further since it was asked.
  bool moved = false;
  gate all;
  std::vector<gate> warps;
  index3 index;
};

inline block *now = nullptr;

[[noreturn]] inline void fail(const char *what) {
  std::fprintf(stderr, "%s\n", what);
  std::exit(3);
}

inline int members(int warp) {
  const int left = static_cast<int>(now->fibers.size()) - 32 * warp;
  return left < 32 ? left : 32;
}

template <class action> inline void meet(gate &where, int count, action act) {
  const long round = where.round;
  if (++where.arrived == count) {
    act();
    where.arrived = 0;
    ++where.round;
    now->moved = true;
    return;
  }
  const int self = now->current;
  while (where.round == round) swapcontext(&now->fibers[self].context, &now->scheduler);
}

inline int warp_of() { return now->current / 32; }
inline int lane_of() { return now->current % 32; }
template <class action> inline void meet_warp(action act) { meet(now->warps[warp_of()], members(warp_of()), act); }

// What the lanes of each warp hand to each other.
template <class type> inline type *posted() {
  static std::vector<type> all;
  if (all.size() < now->warps.size() * 32) all.resize(now->warps.size() * 32);
  return all.data() + 32 * warp_of();
}

inline std::function<void()> body;
inline void enter() {
  body();
  now->fibers[now->current].done = true;
  now->moved = true;
  setcontext(&now->scheduler);
}

inline void run_block(index3 index, int threads, bool backwards) {
  block here;
  now = &here;
  here.index = index;
  here.fibers.resize(threads);
  here.warps.resize((threads + 31) / 32);
  constexpr std::size_t stack_bytes = 256 << 10;
  // Kept from block to block.
  static std::vector<std::unique_ptr<char[]>> stacks;
  while (stacks.size() < here.fibers.size()) stacks.emplace_back(new char[stack_bytes]);
  for (int i = 0; i < threads; ++i) {
    fiber &one = here.fibers[i];
    one.index.x = i;
    getcontext(&one.context);
    one.context.uc_stack.ss_sp = stacks[i].get();
    one.context.uc_stack.ss_size = stack_bytes;
    makecontext(&one.context, enter, 0);
  }
  const int warps = static_cast<int>(here.warps.size());
  for (int left = threads; left > 0;) {
    bool any = false;
    left = 0;
    // Each warp goes as far as it can alone: to a barrier of the block, or to its end.
    for (int i = 0; i < warps; ++i) {
      const int warp = backwards ? warps - 1 - i : i, count = members(warp);
      do {
        here.moved = false;
        for (int j = 0; j < count; ++j) {
          const int at = 32 * warp + (backwards ? count - 1 - j : j);
          if (here.fibers[at].done) continue;
          here.current = at;
          swapcontext(&here.scheduler, &here.fibers[at].context);
        }
        any |= here.moved;
      } while (here.moved);
    }
    for (const fiber &one : here.fibers) left += !one.done;
    if (left && !any) fail("some threads wait at a barrier that others never come to");
  }
  now = nullptr;
}

template <class... types, std::size_t... places>
inline void run_grid(void (*kernel)(types...), void **arguments, const int *grid, int threads, bool backwards,
                     std::index_sequence<places...>) {
  body = [=] { kernel(reinterpret_cast<types>(arguments[places])...); };
  for (int z = 0; z < grid[2]; ++z)
    for (int y = 0; y < grid[1]; ++y)
      for (int x = 0; x < grid[0]; ++x) run_block({unsigned(x), unsigned(y), unsigned(z)}, threads, backwards);
}
template <class... types>
inline void run(void (*kernel)(types...), void **arguments, const int *grid, int threads, bool backwards) {
  run_grid(kernel, arguments, grid, threads, backwards, std::index_sequence_for<types...>());
}

// Values that threads of a warp exchange.
template <class type> inline type shuffled(type value, int lane) {
  type *const all = posted<type>();
  all[lane_of()] = value;
  meet_warp([] {});
  const type other = all[lane];
  meet_warp([] {});
  return other;
}

}  // namespace emulation

// In emulated code these are expressions, not variables: they belong to whichever fiber runs.
#define threadIdx (emulation::now->fibers[emulation::now->current].index)
#define blockIdx (emulation::now->index)

inline void __syncthreads() {
  emulation::meet(emulation::now->all, static_cast<int>(emulation::now->fibers.size()), [] {});
}
inline void __syncwarp(unsigned = 0xffffffffu) {
  emulation::meet_warp([] {});
}
template <class type> inline type __shfl_xor_sync(unsigned, type value, int away) {
  return emulation::shuffled(value, emulation::lane_of() ^ away);
}
template <class type> inline type __shfl_down_sync(unsigned, type value, int away) {
  const int from = emulation::lane_of() + away;
  return emulation::shuffled(value, from < 32 ? from : emulation::lane_of());
}
template <class type> inline type __shfl_sync(unsigned, type value, int lane) { return emulation::shuffled(value, lane); }

inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
inline float __expf(float x) { return std::exp(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
