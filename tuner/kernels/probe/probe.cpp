// The highest rates of a device, for the roofline: multiply-adds, and loads and stores at each level of memory. Nothing
// is tuned here: the loops are simple enough to be bound by what they measure. All threads work at once, each on data of
// its own, so that what every core has for itself counts once for each.
//
// Workload:   THREADS             threads, one for each core of the device
//             VECTOR_BYTES        bytes of the widest vector register
//             L1, L2, L3, MEMORY  bytes of data that the loops of a level go through, over all threads
// Parameters: CHAINS              independent multiply-adds
#include "vec.hpp"
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

namespace {

constexpr int lanes = VECTOR_BYTES / 4;
typedef floats<lanes> vector;

// A sample of a small level goes through its data many times, to last some tenths of a millisecond: long for the clock,
// and short beside the time after which a busy machine takes the core away.
constexpr long shortest_bytes = 64000000;
constexpr long shortest_flops = 100000000;
constexpr int vectors = 4;
// One stream alone waits at each page, which the hardware's prefetcher does not cross.
constexpr int streams = 4;
constexpr long ahead_bytes = 512;

// The value is needed in a register; nothing more is done with it.
inline void use(vector value) {
#if defined(__x86_64__)
  asm volatile("" : : "v"(value));
#elif defined(__aarch64__)
  asm volatile("" : : "w"(value));
#else
  asm volatile("" : : "m"(value));
#endif
}

void multiply_add(float *, long) {
  vector sums[CHAINS];
  for (int c = 0; c < CHAINS; ++c) sums[c] = keep<lanes>(vector{} + float(c));
  // Of two values that the compiler could tell to be one, it would make a sum and a product.
  const vector half = keep<lanes>(vector{} + 0.5f), one = keep<lanes>(vector{} + 1.0f);
  for (long i = 0; i < shortest_flops / (2 * lanes * CHAINS); ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; ++c) sums[c] = sums[c] * half + one;
  }
  for (vector sum : sums) use(sum);
}

template <bool ahead> void load_all(float *data, long bytes) {
  constexpr long step = lanes * vectors;
  const long part = bytes / 4 / streams / step * step;
  for (long i = 0; i < part; i += step) {
#pragma GCC unroll 16
    for (int s = 0; s < streams; ++s) {
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) {
        const float *from = data + s * part + i + v * lanes;
        if (ahead) __builtin_prefetch(reinterpret_cast<const char *>(from) + ahead_bytes);
        use(load<lanes>(from));
      }
    }
  }
}

// a = b + c / 2, the triad of STREAM (McCalpin 1995).
template <bool past_caches> void triad(float *data, long bytes) {
  constexpr long step = lanes * vectors;
  const long part = bytes / 4 / 3 / step * step;
  float *a = data;
  const float *b = data + part, *c = data + 2 * part;
  const vector half = keep<lanes>(vector{} + 0.5f);
  for (long i = 0; i < part; i += step) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) {
      const long at = i + v * lanes;
      const vector sum = load<lanes>(b + at) + half * load<lanes>(c + at);
      if (past_caches)
        stream<lanes>(a + at, sum);
      else
        store<lanes>(a + at, sum);
    }
  }
  if (past_caches) stream_done();
}

void touch(float *data, long bytes) {
  for (long i = 0; i < bytes / 4; ++i) data[i] = 1.0f;
}

typedef void (*loop)(float *, long);

struct worker {
  loop run;
  float *data;
  long bytes, calls;
  double start, stop;
};

int waiting;

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

void *work(void *given) {
  worker &own = *static_cast<worker *>(given);
  __atomic_sub_fetch(&waiting, 1, __ATOMIC_ACQ_REL);
  while (__atomic_load_n(&waiting, __ATOMIC_ACQUIRE) > 0) sched_yield();
  own.start = now();
  for (long call = 0; call < own.calls; ++call) own.run(own.data, own.bytes);
  own.stop = now();
  return nullptr;
}

// Seconds from the first thread's start to the last one's end; 0 if a thread cannot be started.
double together(loop run, float *data, long bytes, long calls) {
  worker workers[THREADS];
  pthread_t ids[THREADS];
  const long share = bytes / THREADS, apart = MEMORY / 4 / THREADS / 16 * 16;
  waiting = THREADS;
  for (int t = THREADS - 1; t >= 0; --t) {
    workers[t] = {run, data + t * apart, share, calls, 0, 0};
    if (t && pthread_create(&ids[t], nullptr, work, &workers[t])) {
      // The others must not wait for one that never comes.
      __atomic_store_n(&waiting, 0, __ATOMIC_RELEASE);
      for (int other = t + 1; other < THREADS; ++other) pthread_join(ids[other], nullptr);
      return 0;
    }
  }
  work(&workers[0]);
  double start = workers[0].start, stop = workers[0].stop;
  for (int t = 1; t < THREADS; ++t) {
    pthread_join(ids[t], nullptr);
    if (workers[t].start < start) start = workers[t].start;
    if (workers[t].stop > stop) stop = workers[t].stop;
  }
  return stop - start;
}

}

// rates: `rounds` rows of the flops a second, then for each level its bytes a second by each loop; 0 is not measured.
extern "C" void kernel(const int64_t *rounds, double *rates) {
  constexpr long levels[] = {L1, L2, L3, MEMORY};
  constexpr loop loops[] = {load_all<false>, load_all<true>, triad<false>, triad<true>};
  constexpr long page = 2 << 20;
  constexpr int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
  void *region = mmap(nullptr, MEMORY + page, protection, flags, -1, 0);
  if (region == MAP_FAILED) return;
  // On large pages, as the arrays of kernels are: numpy asks for them too.
  float *data = reinterpret_cast<float *>((reinterpret_cast<uintptr_t>(region) + page - 1) / page * page);
#ifdef MADV_HUGEPAGE
  madvise(data, MEMORY, MADV_HUGEPAGE);
#endif
  together(touch, data, MEMORY, 1);
  for (int64_t round = 0; round < *rounds; ++round) {
    constexpr double flops = double(shortest_flops / (2 * lanes * CHAINS)) * (2 * lanes * CHAINS) * THREADS;
    const double seconds = together(multiply_add, data, 0, 1);
    *rates++ = seconds > 0 ? flops / seconds : 0;
    for (const long bytes : levels) {
      const long calls = bytes < shortest_bytes ? shortest_bytes / bytes : 1;
      for (const loop run : loops) {
        const double took = together(run, data, bytes, calls);
        *rates++ = took > 0 ? double(bytes) * double(calls) / took : 0;
      }
    }
  }
  munmap(region, MEMORY + page);
}
