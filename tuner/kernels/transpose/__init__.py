"""Transpose of a matrix: nothing but memory access, so the kernel to learn tuning with."""
