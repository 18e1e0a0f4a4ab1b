"""What it computes on a GPU: attention of all tokens of a prompt, to those before them where it is causal."""

from __future__ import annotations

from typing import Any

from tuner.kernels.check import Tolerance
from tuner.kernels.edge import edge_shapes
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import TensorOperator, Tensors
from tuner.kernels.gpu.tensor import Tensor, bytes_of
from tuner.kernels.problem import Field
from tuner.types import Scalar, Work, Workload

__all__ = ["OPERATOR"]


def _inputs(workload: Workload) -> dict[str, Tensor]:
    batch, heads, kv_heads, tokens, size = (workload.integer(name) for name in ("B", "HQ", "HKV", "S", "D"))
    dtype = workload.text("dtype")
    return {
        "q": Tensor((batch, heads, tokens, size), dtype),
        "k": Tensor((batch, kv_heads, tokens, size), dtype),
        "v": Tensor((batch, kv_heads, tokens, size), dtype),
    }


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"out": _inputs(workload)["q"]}


def _reference(workload: Workload, inputs: Tensors) -> Tensors:
    torch = torch_of()
    group = workload.integer("HQ") // workload.integer("HKV")
    size, tokens = workload.integer("D"), workload.integer("S")
    out = torch.empty(inputs["q"].shape, dtype=torch.float64, device=inputs["q"].device)
    later = torch.ones((tokens, tokens), dtype=torch.bool, device=out.device).triu(1)
    # One head at a time: scores in float64 are large.
    for batch in range(workload.integer("B")):
        for head in range(workload.integer("HQ")):
            k, v = (wide(inputs[name][batch, head // group]) for name in "kv")
            scores = wide(inputs["q"][batch, head]) @ k.T / size**0.5
            if workload["mask"] == "causal":
                scores = scores.masked_fill(later, -torch.inf)
            out[batch, head] = scores.softmax(dim=1) @ v
    return {"out": out}


def _work(workload: Workload) -> Work:
    batch, heads, tokens, size = (workload.integer(name) for name in ("B", "HQ", "S", "D"))
    # With a causal mask, half of the products.
    products = batch * heads * tokens * tokens * size // (2 if workload["mask"] == "causal" else 1)
    return Work(flops=4 * products, bytes=bytes_of(_inputs(workload), _outputs(workload)))


def _sharp(inputs: Tensors, _: Any) -> Tensors:
    """Scores up to some tens: one token takes nearly all of the weight."""
    return {**inputs, "q": inputs["q"] * 4}


def _edges(workload: Workload) -> Any:
    """Each group of query heads as it is, of which one is enough."""
    group = workload.integer("HQ") // workload.integer("HKV")
    fields: dict[str, Scalar] = {**workload, "B": 1, "HQ": 2 * group, "HKV": 2}
    return edge_shapes(fields, {"S": 1})


OPERATOR = TensorOperator(
    name="flash_prefill",
    fields=(
        Field("B", default=1),
        Field("HQ"),
        Field("HKV"),
        Field("S"),
        Field("D", multiple_of=16),
        Field("dtype", default="bf16", choices=("bf16", "fp16")),
        Field("mask", default="causal", choices=("causal", "none")),
    ),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # Weights are rounded to the dtype before they meet the values, and the output is once more.
    tolerance=lambda workload: (
        Tolerance(relative=2**-6, absolute=1e-2) if workload["dtype"] == "bf16" else Tolerance(2**-8, 2e-3)
    ),
    distributions={"sharp": _sharp},
    # What a token does not see may be computed, and weigh zero.
    unspecified=("k", "v"),
    edges=_edges,
    workloads={
        # Heads from the models' published configurations; S is the number of tokens of the prompt.
        "llama3-8b-prefill-4k": Workload(B=1, HQ=32, HKV=8, S=4096, D=128, dtype="bf16", mask="causal"),
        "llama3-8b-prefill-1k-batch8": Workload(B=8, HQ=32, HKV=8, S=1024, D=128, dtype="bf16", mask="causal"),
        "qwen3-32b-prefill-2k": Workload(B=1, HQ=64, HKV=8, S=2048, D=128, dtype="bf16", mask="causal"),
        "bert-large-batch32": Workload(B=32, HQ=16, HKV=16, S=512, D=64, dtype="fp16", mask="none"),
    },
    valid=lambda workload: (
        None
        if workload.integer("HQ") % workload.integer("HKV") == 0
        else f"HQ={workload['HQ']} query heads do not share HKV={workload['HKV']} key/value heads evenly"
    ),
)
"""Attention of `S` tokens, `HQ / HKV` query heads to each key/value head."""
