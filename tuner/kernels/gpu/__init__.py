"""What GPU kernels of all toolchains share: operators of tensors, launches, resources, pruning, checking and timing.

No operator and no compiler is known here. Builders import nothing of torch; only what measures does.
"""

from tuner.kernels.gpu.kernel import GpuKernel
from tuner.kernels.gpu.launch import Launch, Program
from tuner.kernels.gpu.operator import TensorOperator
from tuner.kernels.gpu.tensor import Tensor

__all__ = ["GpuKernel", "Launch", "Program", "Tensor", "TensorOperator"]
