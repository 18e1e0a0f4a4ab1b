// Names of dtypes as workloads have them, and vectors of 16 bytes.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

using bf16 = __nv_bfloat16;
using fp16 = __half;
using fp32 = float;

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ float wide(fp16 x) { return __half2float(x); }
__device__ __forceinline__ float wide(bf16 x) { return __bfloat162float(x); }

template <class type> __device__ __forceinline__ type narrow(float x);
template <> __device__ __forceinline__ float narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ fp16 narrow<fp16>(float x) { return __float2half_rn(x); }
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x) { return __float2bfloat16_rn(x); }

// Some values that are loaded and stored in one instruction.
template <class type, int count> struct __align__(sizeof(type) * count) pack { type at[count]; };
