// Copies past the registers, and products of small matrices, as PTX has them (NVIDIA, Parallel Thread Execution ISA,
// sections cp.async, ldmatrix and mma), for sm_80 and later; eight-bit floats for sm_89 and later.
//
// A warp holds 16 rows of 32 bytes of one operand, in four words a thread, and 8 columns of 32 bytes of the other, in two:
// 16 values of 16 bits, or 32 of 8 bits, lie alike. Rows and columns are both what lies side by side in memory.
#pragma once
#include "types.cuh"

// Sums of integers are integers.
template <class type> struct summed_as { using sum = float; };
template <> struct summed_as<int8> { using sum = int; };

__device__ __forceinline__ unsigned shared_address(const void *at) { return (unsigned)__cvta_generic_to_shared(at); }

// Sixteen bytes, or zeros where they are not inside: nothing is read then. They are there after copies_wait.
__device__ __forceinline__ void copy_async(void *to, const void *from, bool inside) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(inside ? 16 : 0)
               : "memory");
}
// What was copied since the last group is a group.
__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for this thread's copies but those of the last `pending` groups.
template <int pending> __device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Four matrices of 8 rows of 16 bytes: thread i gives the address of row i % 8 of matrix i / 8, and gets, of each matrix,
// the word i % 4 of row i / 4.
__device__ __forceinline__ void load_matrices(unsigned (&words)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(shared_address(row))
               : "memory");
}

#define MULTIPLY_FLOATS(shape, type)                                                                        \
  asm("mma.sync.aligned." shape ".row.col.f32." type "." type ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "    \
      "{%8, %9}, {%0, %1, %2, %3};"                                                                        \
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                                         \
      : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]))
// sums += x y; the last argument says what the words hold.
__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&x)[4], const unsigned (&y)[2], bf16) {
  MULTIPLY_FLOATS("m16n8k16", "bf16");
}
__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&x)[4], const unsigned (&y)[2], fp16) {
  MULTIPLY_FLOATS("m16n8k16", "f16");
}
__device__ __forceinline__ void multiply(int (&sums)[4], const unsigned (&x)[4], const unsigned (&y)[2], int8) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
}
#if __CUDA_ARCH__ >= 890
__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&x)[4], const unsigned (&y)[2], fp8) {
  MULTIPLY_FLOATS("m16n8k32", "e4m3");
}
#endif
#undef MULTIPLY_FLOATS
