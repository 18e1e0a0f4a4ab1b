"""What it computes: loss = log(sum(exp(logits))) - logits[target] of each row, and the logarithm itself."""

from __future__ import annotations

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import Tensors
from tuner.kernels.gpu.rows import FLOATS, row_operator
from tuner.kernels.gpu.tensor import Tensor
from tuner.types import Workload

__all__ = ["OPERATOR"]

_SCALE = 3.0


def _inputs(workload: Workload) -> dict[str, Tensor]:
    rows, columns = workload.integer("M"), workload.integer("N")
    return {
        "logits": Tensor((rows, columns), workload.text("dtype"), scale=_SCALE),
        "targets": Tensor((rows,), "int64", low=0, high=columns),
    }


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"loss": Tensor((workload.integer("M"),)), "logsumexp": Tensor((workload.integer("M"),))}


def _reference(_: Workload, inputs: Tensors) -> Tensors:
    logits = wide(inputs["logits"])
    total = torch_of().logsumexp(logits, dim=1)
    return {"loss": total - logits.gather(1, inputs["targets"][:, None])[:, 0], "logsumexp": total}


OPERATOR = row_operator(
    "cross_entropy",
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    operations=4,
    # Logits are read exactly, sums are kept in float32, and their logarithm is around 15.
    tolerances=dict.fromkeys(FLOATS, Tolerance(relative=1e-5, absolute=1e-4)),
    workloads={
        # Vocabularies from the models' published configurations; M is the number of tokens of a batch.
        "llama3-8b-4k": Workload(M=4096, N=128256, dtype="bf16"),
        "qwen3-32b-2k": Workload(M=2048, N=151936, dtype="bf16"),
        "gpt2-8k": Workload(M=8192, N=50257, dtype="fp32"),
    },
)
"""Cross-entropy of `M` rows of `N` logits."""
