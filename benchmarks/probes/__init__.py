"""Kernels whose true ratios are known, for the benchmark of proofs."""
