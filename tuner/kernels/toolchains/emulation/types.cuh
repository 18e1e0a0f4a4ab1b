// As include/types.cuh, without instructions of a GPU.
#pragma once

struct __align__(2) bf16 { unsigned short bits; };
struct __align__(2) fp16 { unsigned short bits; };
struct fp8 { unsigned char bits; };
using int8 = signed char;
using fp32 = float;

inline float wide(float x) { return x; }
inline float wide(int8 x) { return x; }
inline float wide(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }
inline float wide(fp16 x) {
  _Float16 value;
  std::memcpy(&value, &x.bits, 2);
  return value;
}
inline float wide(fp8 x) {
  const int exponent = x.bits >> 3 & 15, mantissa = x.bits & 7;
  if ((x.bits & 127) == 127) return NAN;
  const float value = exponent ? std::ldexp(8.0f + mantissa, exponent - 10) : std::ldexp(float(mantissa), -9);
  return x.bits & 128 ? -value : value;
}

template <class type> inline type narrow(float x);
template <> inline float narrow<float>(float x) { return x; }
template <> inline bf16 narrow<bf16>(float x) {
  const unsigned bits = __float_as_uint(x);
  if (std::isnan(x)) return {0x7fff};
  return {(unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
template <> inline fp16 narrow<fp16>(float x) {
  const _Float16 value = (_Float16)x;
  fp16 narrower;
  std::memcpy(&narrower.bits, &value, 2);
  return narrower;
}

template <class type, int count> struct __align__(sizeof(type) * count) pack { type at[count]; };
