// Small vector helpers for CPU kernels, on the compiler's vector extensions: <immintrin.h> alone would be most of a
// compile's time. A type's name is what a workload writes: `-DDTYPE=bf16` names the type below.
#pragma once
#include <stdint.h>

typedef float fp32;
struct bf16 {
  uint16_t bits;
};

template <int LANES> struct vec_types {
  typedef float floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
  typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
  typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
  typedef int8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
};
template <int LANES> using floats = typename vec_types<LANES>::floats;

template <int LANES> inline floats<LANES> load(const fp32 *from) {
  return *reinterpret_cast<const floats<LANES> *>(from);
}

template <int LANES> inline floats<LANES> load(const bf16 *from) {
  typedef typename vec_types<LANES>::halves halves;
  typedef typename vec_types<LANES>::ints ints;
  return (floats<LANES>)(__builtin_convertvector(*reinterpret_cast<const halves *>(from), ints) << 16);
}

template <int LANES> inline floats<LANES> load(const int8_t *from) {
  typedef typename vec_types<LANES>::bytes bytes;
  return __builtin_convertvector(*reinterpret_cast<const bytes *>(from), floats<LANES>);
}

template <int LANES> inline void store(fp32 *to, floats<LANES> value) {
  *reinterpret_cast<floats<LANES> *>(to) = value;
}

template <int LANES> inline float sum(floats<LANES> value) {
  float total = 0;
  for (int i = 0; i < LANES; ++i) total += value[i];
  return total;
}
