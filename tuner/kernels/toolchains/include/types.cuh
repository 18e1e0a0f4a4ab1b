// Names of dtypes as workloads have them, and vectors of 16 bytes. NVRTC compiles this with no header of CUDA's: those come
// with a toolkit, or in packages that may lack some.
#pragma once

struct __align__(2) bf16 { unsigned short bits; };
struct __align__(2) fp16 { unsigned short bits; };
// Four bits of exponent, three of mantissa, no infinity.
struct fp8 { unsigned char bits; };
using int8 = signed char;
using fp32 = float;

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ float wide(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }
__device__ __forceinline__ float wide(fp16 x) {
  float wider;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wider) : "h"(x.bits));
  return wider;
}

// To the nearest; of two, to the even one.
template <class type> __device__ __forceinline__ type narrow(float x);
template <> __device__ __forceinline__ float narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x) {
  bf16 narrower;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrower.bits) : "f"(x));
  return narrower;
}
template <> __device__ __forceinline__ fp16 narrow<fp16>(float x) {
  fp16 narrower;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrower.bits) : "f"(x));
  return narrower;
}

// Some values that are loaded and stored in one instruction.
template <class type, int count> struct __align__(sizeof(type) * count) pack { type at[count]; };
