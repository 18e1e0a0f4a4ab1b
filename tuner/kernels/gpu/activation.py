"""Activations in Triton, for kernels that fuse them."""

import triton
import triton.language as tl


@triton.jit
def silu(x):
    """Return x times the logistic function of x."""
    return x / (1.0 + tl.exp(-x))


@triton.jit
def gelu(x):
    """Return GELU by its approximation with tanh (Hendrycks and Gimpel, 2016), whose tanh is written by exp."""
    inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)
    return x / (1.0 + tl.exp(-2.0 * inner))
