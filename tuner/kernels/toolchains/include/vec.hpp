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
template <int LANES> using ints = typename vec_types<LANES>::ints;

// One number as a float, and back, rounded to nearest even.

inline float number(fp32 value) { return value; }

inline float number(bf16 value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float result;
  __builtin_memcpy(&result, &bits, sizeof result);
  return result;
}

inline void store(fp32 *to, float value) { *to = value; }

inline void store(bf16 *to, float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  // The increment could carry a NaN over to infinity or zero: a quiet NaN stays one without it.
  to->bits = uint16_t((value == value ? bits + 0x7fff + ((bits >> 16) & 1) : bits | 0x400000) >> 16);
}

// LANES consecutive numbers as floats, in order.

template <int LANES> inline floats<LANES> load(const fp32 *from) {
  return *reinterpret_cast<const floats<LANES> *>(from);
}

template <int LANES> inline floats<LANES> load(const bf16 *from) {
  typedef typename vec_types<LANES>::halves halves;
  return (floats<LANES>)(__builtin_convertvector(*reinterpret_cast<const halves *>(from), ints<LANES>) << 16);
}

template <int LANES> inline floats<LANES> load(const int8_t *from) {
  typedef typename vec_types<LANES>::bytes bytes;
  return __builtin_convertvector(__builtin_convertvector(*reinterpret_cast<const bytes *>(from), ints<LANES>),
                                 floats<LANES>);
}

// GCC 12 converts these element by element or in halves; one instruction does it.
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX2__)
typedef char char16 __attribute__((vector_size(16)));
typedef short short8 __attribute__((vector_size(16), aligned(2), may_alias));
typedef long long long2 __attribute__((vector_size(16)));

template <> inline floats<8> load<8>(const bf16 *from) {
  return (floats<8>)((ints<8>)__builtin_ia32_pmovzxwd256(*reinterpret_cast<const short8 *>(from)) << 16);
}

template <> inline floats<8> load<8>(const int8_t *from) {
  long long eight;
  __builtin_memcpy(&eight, from, sizeof eight);
  return __builtin_convertvector((ints<8>)__builtin_ia32_pmovsxbd256((char16)long2{eight, 0}), floats<8>);
}
#endif

// LANES words of 32 bits, taken apart by shifts: with P numbers in a word, vector p takes every P-th number from p on.
// The order within LANES * P numbers differs from the memory's (a dot product does not mind), but no instruction
// crosses lanes. Little-endian.

template <class T> struct word {
  static constexpr int PARTS = 4 / sizeof(T);
};

template <int LANES> inline void split(const fp32 *from, floats<LANES> *to) { to[0] = load<LANES>(from); }

template <int LANES> inline void split(const bf16 *from, floats<LANES> *to) {
  const ints<LANES> words = *reinterpret_cast<const ints<LANES> *>(from);
  to[0] = (floats<LANES>)(words << 16);
  to[1] = (floats<LANES>)(words & int32_t(0xffff0000));
}

template <int LANES> inline void split(const int8_t *from, floats<LANES> *to) {
  const ints<LANES> words = *reinterpret_cast<const ints<LANES> *>(from);
  to[0] = __builtin_convertvector((words << 24) >> 24, floats<LANES>);
  to[1] = __builtin_convertvector((words << 16) >> 24, floats<LANES>);
  to[2] = __builtin_convertvector((words << 8) >> 24, floats<LANES>);
  to[3] = __builtin_convertvector(words >> 24, floats<LANES>);
}

template <int LANES> inline void store(fp32 *to, floats<LANES> value) {
  *reinterpret_cast<floats<LANES> *>(to) = value;
}

template <int LANES> inline float sum(floats<LANES> value) {
  float total = 0;
  for (int i = 0; i < LANES; ++i) total += value[i];
  return total;
}
