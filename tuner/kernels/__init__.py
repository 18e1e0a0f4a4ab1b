"""Parameterised kernels: what they compute, how each toolchain builds them, how a result is checked and timed.

One folder an operator, with its workloads, reference, flops and bytes in `operator.py` and each toolchain's source and
space beside them. Nothing here searches, stores, or starts a process that outlives a call.
"""

from tuner.kernels.base import Field, Kernel, Launcher, Operator, Output, Tolerance
from tuner.kernels.toolchains.cpp import CppKernel

__all__ = ["CppKernel", "Field", "Kernel", "Launcher", "Operator", "Output", "Tolerance"]
