// out[m][n] = sum over k of x[m][k] * weight[n][k]; sums are kept in float32. Buffers are static: one call at a time.
//
// Workload:   M rows of activations, N rows of weights, K columns of both; DTYPE of everything.
// Parameters: those of few_rows.hpp
#include "few_rows.hpp"

extern "C" void kernel(const DTYPE *x, const DTYPE *weight, DTYPE *out) {
  few_rows<DTYPE, unscaled>(x, weight, unscaled(), out).multiply();
}
