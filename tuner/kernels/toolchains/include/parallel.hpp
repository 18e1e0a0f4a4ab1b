// One loop for one thread and for several: the same source serves devices of one core, whose configs know no threads and
// which are compiled without OpenMP.
#pragma once
#include "vec.hpp"

#ifndef THREADS
#define THREADS 1
#endif

// A static buffer of which each thread has its own: `static per_thread float scratch[N];`
#if THREADS > 1
#define per_thread thread_local
#else
#define per_thread
#endif

// Calls each(begin, end) for ranges that together are 0 to count - 1. THREADS threads share them, eight parts for each:
// with SCHEDULE=static, eight in a row are one thread's; with SCHEDULE=dynamic, the next is whose turn comes. What they
// streamed past the caches is in memory when this returns. `each` is copied: capture by value, since a reference to
// one of the kernel's arguments would be read again after every store.
template <class body> inline void parallel_parts(long count, body each) {
#if THREADS > 1
  const long parts = count < 8 * THREADS ? count : 8 * THREADS;
#pragma omp parallel num_threads(THREADS) firstprivate(each)
  {
#pragma omp for schedule(SCHEDULE) nowait
    for (long part = 0; part < parts; ++part) each(count * part / parts, count * (part + 1) / parts);
    stream_done();
  }
#else
  each(0L, count);
#endif
}

// Calls each(i) for every i from 0 to count - 1, shared in the same way.
template <class body> inline void parallel(long count, body each) {
  parallel_parts(count, [each](long begin, long end) {
    for (long i = begin; i < end; ++i) each(i);
  });
}
