// Small vector helpers for CPU kernels, on the compiler's vector extensions: <immintrin.h> alone would be most of a
// compile's time. A type's name is what a workload writes: `-DDTYPE=bf16` names the type below. Names here are in lower
// case, since workload and parameters are macros in capitals.
#pragma once
#include <stdint.h>

typedef float fp32;
struct bf16 {
  uint16_t bits;
};

template <int lanes> struct vec_types {
  typedef float floats __attribute__((vector_size(4 * lanes), aligned(4), may_alias));
  typedef int32_t ints __attribute__((vector_size(4 * lanes), aligned(4), may_alias));
  typedef uint32_t words __attribute__((vector_size(4 * lanes), aligned(4), may_alias));
  typedef uint16_t halves __attribute__((vector_size(2 * lanes), aligned(2), may_alias));
  typedef int8_t bytes __attribute__((vector_size(lanes), aligned(1), may_alias));
};
template <int lanes> using floats = typename vec_types<lanes>::floats;
template <int lanes> using ints = typename vec_types<lanes>::ints;

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

// lanes consecutive numbers as floats, in order.

template <int lanes> inline floats<lanes> load(const fp32 *from) {
  return *reinterpret_cast<const floats<lanes> *>(from);
}

template <int lanes> inline floats<lanes> load(const bf16 *from) {
  typedef typename vec_types<lanes>::halves halves;
  return (floats<lanes>)(__builtin_convertvector(*reinterpret_cast<const halves *>(from), ints<lanes>) << 16);
}

template <int lanes> inline floats<lanes> load(const int8_t *from) {
  typedef typename vec_types<lanes>::bytes bytes;
  return __builtin_convertvector(__builtin_convertvector(*reinterpret_cast<const bytes *>(from), ints<lanes>),
                                 floats<lanes>);
}

// GCC 12 converts these element by element or in halves; one instruction does it.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
typedef char char16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef short short8 __attribute__((vector_size(16), aligned(1), may_alias));
typedef short short16 __attribute__((vector_size(32), aligned(1), may_alias));
typedef int int4 __attribute__((vector_size(16)));
typedef int int16 __attribute__((vector_size(64)));
typedef long long long2 __attribute__((vector_size(16)));

inline int4 load_4_bytes(const void *from) {
  int word;
  __builtin_memcpy(&word, from, sizeof word);
  return int4{word, 0, 0, 0};
}
inline long2 load_8_bytes(const void *from) {
  long long word;
  __builtin_memcpy(&word, from, sizeof word);
  return long2{word, 0};
}

#if defined(__SSE4_1__)
template <> inline floats<4> load<4>(const bf16 *from) {
  return (floats<4>)((ints<4>)__builtin_ia32_pmovzxwd128((short8)load_8_bytes(from)) << 16);
}
template <> inline floats<4> load<4>(const int8_t *from) {
  return __builtin_convertvector((ints<4>)__builtin_ia32_pmovsxbd128((char16)load_4_bytes(from)), floats<4>);
}
#endif
#if defined(__AVX2__)
template <> inline floats<8> load<8>(const bf16 *from) {
  return (floats<8>)((ints<8>)__builtin_ia32_pmovzxwd256(*reinterpret_cast<const short8 *>(from)) << 16);
}
template <> inline floats<8> load<8>(const int8_t *from) {
  return __builtin_convertvector((ints<8>)__builtin_ia32_pmovsxbd256((char16)load_8_bytes(from)), floats<8>);
}
#endif
#if defined(__AVX512F__)
template <> inline floats<16> load<16>(const bf16 *from) {
  const auto all = __builtin_ia32_pmovzxwd512_mask(*reinterpret_cast<const short16 *>(from), int16{}, -1);
  return (floats<16>)((ints<16>)all << 16);
}
template <> inline floats<16> load<16>(const int8_t *from) {
  const auto all = __builtin_ia32_pmovsxbd512_mask(*reinterpret_cast<const char16 *>(from), int16{}, -1);
  return __builtin_convertvector((ints<16>)all, floats<16>);
}
#endif
#endif

// The same value, but in a register from here on: where a loaded vector is used several times, GCC 12 reads it from
// memory again at every use, and loads are what a core has least of. Not for vectors wider than a register.
template <int lanes> inline floats<lanes> keep(floats<lanes> value) {
#if defined(__x86_64__)
  asm("" : "+v"(value));
#elif defined(__aarch64__)
  asm("" : "+w"(value));
#endif
  return value;
}

// Words of 32 bits, taken apart by shifts: of P numbers in a word, part p takes every P-th number from p on. The order
// within lanes * P numbers differs from the memory's (a dot product does not mind), but no instruction crosses lanes.
// Little-endian.

template <class type> struct word {
  static constexpr int parts = 4 / sizeof(type);
};

template <int lanes> inline ints<lanes> load_words(const void *from) {
  return *reinterpret_cast<const ints<lanes> *>(from);
}

template <int lanes> inline floats<lanes> part(fp32, ints<lanes> words, int) { return (floats<lanes>)words; }

template <int lanes> inline floats<lanes> part(bf16, ints<lanes> words, int p) {
  return (floats<lanes>)(p ? words & int32_t(0xffff0000) : words << 16);
}

template <int lanes> inline floats<lanes> part(int8_t, ints<lanes> words, int p) {
  return __builtin_convertvector((words << (24 - 8 * p)) >> 24, floats<lanes>);
}

template <int lanes> inline void store(fp32 *to, floats<lanes> value) {
  *reinterpret_cast<floats<lanes> *>(to) = value;
}

// Stores past the caches, to an address aligned to the vector; call stream_done() before returning. A plain store where
// the compiler offers no such instruction.
template <int lanes> inline void stream(fp32 *to, floats<lanes> value) { store<lanes>(to, value); }
inline void stream_done() {
#if defined(__SSE__)
  __builtin_ia32_sfence();
#endif
}
#if defined(__clang__)
template <> inline void stream<4>(fp32 *to, floats<4> value) { __builtin_nontemporal_store(value, (floats<4> *)to); }
template <> inline void stream<8>(fp32 *to, floats<8> value) { __builtin_nontemporal_store(value, (floats<8> *)to); }
template <> inline void stream<16>(fp32 *to, floats<16> value) { __builtin_nontemporal_store(value, (floats<16> *)to); }
#else
#if defined(__SSE__)
template <> inline void stream<4>(fp32 *to, floats<4> value) { __builtin_ia32_movntps(to, value); }
#endif
#if defined(__AVX__)
template <> inline void stream<8>(fp32 *to, floats<8> value) { __builtin_ia32_movntps256(to, value); }
#endif
#if defined(__AVX512F__)
template <> inline void stream<16>(fp32 *to, floats<16> value) { __builtin_ia32_movntps512(to, value); }
#endif
#endif

// sums + the dot product of four unsigned bytes with four signed ones, for each 32-bit word.
template <int lanes> inline ints<lanes> dot_bytes(ints<lanes> sums, ints<lanes> unsigned_bytes, ints<lanes> signed_bytes) {
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p)
    sums += (unsigned_bytes >> (8 * p) & 255) * ((signed_bytes << (24 - 8 * p)) >> 24);
  return sums;
}
#if defined(__GNUC__) && !defined(__clang__)
#if defined(__AVX2__) && !defined(__AVXVNNI__) && !(defined(__AVX512VNNI__) && defined(__AVX512VL__))
template <> inline ints<8> dot_bytes<8>(ints<8> sums, ints<8> unsigned_bytes, ints<8> signed_bytes) {
  typedef short shorts __attribute__((vector_size(32)));
  const shorts u = (shorts)unsigned_bytes, s = (shorts)signed_bytes;
  return sums + (ints<8>)__builtin_ia32_pmaddwd256(u & 255, (s << 8) >> 8) +
         (ints<8>)__builtin_ia32_pmaddwd256((shorts)(unsigned_bytes >> 8) & 255, s >> 8);
}
#elif defined(__AVX2__)
template <> inline ints<8> dot_bytes<8>(ints<8> sums, ints<8> unsigned_bytes, ints<8> signed_bytes) {
  typedef int words __attribute__((vector_size(32)));
  return (ints<8>)__builtin_ia32_vpdpbusd_v8si((words)sums, (words)unsigned_bytes, (words)signed_bytes);
}
#endif
#if defined(__AVX512VNNI__)
template <> inline ints<16> dot_bytes<16>(ints<16> sums, ints<16> unsigned_bytes, ints<16> signed_bytes) {
  return (ints<16>)__builtin_ia32_vpdpbusd_v16si((int16)sums, (int16)unsigned_bytes, (int16)signed_bytes);
}
#endif
#endif

// The sum of a vector's lanes, half by half.
template <int lanes, class type> inline auto fold(type value) {
  if constexpr (lanes == 1) {
    return value[0];
  } else {
    typedef decltype(value[0] + value[0]) element;
    typedef element half __attribute__((vector_size(sizeof value / 2)));
    half halves[2];
    __builtin_memcpy(halves, &value, sizeof value);
    return fold<lanes / 2>(halves[0] + halves[1]);
  }
}
template <int lanes> inline float sum(floats<lanes> value) { return fold<lanes>(value); }
template <int lanes> inline int32_t sum_ints(ints<lanes> value) { return fold<lanes>(value); }

// 2^x for x <= 0, of relative error below 3e-7 (2^-126 for any x below -126, NaN for NaN): an integer power of two, by the exponent's
// bits, times a polynomial on [-1/2, 1/2]. Its coefficients minimise the largest relative error, 7.5e-8, and were found
// by the Remez exchange algorithm for the weight 2^-x, then rounded to float32.
template <int lanes> inline floats<lanes> exp2(floats<lanes> x) {
  // Of an unordered pair, this keeps x; so does the one instruction that it becomes.
  x = x < -126.0f ? floats<lanes>{} - 126.0f : x;
  const ints<lanes> whole = __builtin_convertvector(x - 0.5f, ints<lanes>);
  const floats<lanes> f = x - __builtin_convertvector(whole, floats<lanes>);
  floats<lanes> power = f * 1.3276472e-3f + 9.675541e-3f;
  power = power * f + 5.550713e-2f;
  power = power * f + 0.2402212f;
  power = power * f + 0.69314694f;
  power = power * f + 1.0000001f;
  return power * (floats<lanes>)((whole + 127) << 23);
}

// The inner loop of a matrix product whose tile stays in registers: sums[r][v] += a[r][k] * vector v of b[k], for each k
// of `steps`. Consecutive rows of a are a_row apart and consecutive k of a a_step; rows of b are b_step apart. With
// `ahead`, the row of b so many steps ahead is prefetched.
template <int unroll, int ahead, int lanes, int rows, int vectors>
[[gnu::always_inline]] inline void multiply(floats<lanes> (&sums)[rows][vectors], const float *a, long a_row,
                                            long a_step, const float *b, long b_step, int steps) {
  const auto step = [&](int k) __attribute__((always_inline)) {
    if (ahead) {
      for (int line = 0; line < lanes * vectors; line += 16) __builtin_prefetch(b + (k + ahead) * b_step + line);
    }
    floats<lanes> numbers[vectors];
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) numbers[v] = keep<lanes>(load<lanes>(b + k * b_step + v * lanes));
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const floats<lanes> number = keep<lanes>(floats<lanes>{} + a[r * a_row + k * a_step]);
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) sums[r][v] += number * numbers[v];
    }
  };
  int k = 0;
  for (; k + unroll <= steps; k += unroll) {
#pragma GCC unroll 16
    for (int u = 0; u < unroll; ++u) step(k + u);
  }
  for (; k < steps; ++k) step(k);
}
