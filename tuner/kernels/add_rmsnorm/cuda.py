"""The CUDA kernel's search space: threads of a row, vectors, and whether a row is kept in shared memory."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.add_rmsnorm.gpu import OPERATOR
from tuner.kernels.gpu.rows import cuda_row_program, cuda_row_space
from tuner.kernels.toolchains.cuda import CudaKernel

__all__ = ["KERNEL"]

KERNEL = CudaKernel(OPERATOR, Path(__file__).with_name("add_rmsnorm.cu"), cuda_row_space, cuda_row_program)
"""`cuda:add_rmsnorm`."""
