"""What it computes: attention of one token of each sequence to its cache, whose pages a table tells."""

from __future__ import annotations

from typing import Any

from tuner.kernels.check import Tolerance
from tuner.kernels.edge import edge_shapes
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import TensorOperator, Tensors
from tuner.kernels.gpu.tensor import DTYPES, Tensor
from tuner.kernels.problem import Field
from tuner.types import Scalar, Work, Workload

__all__ = ["OPERATOR", "PAGE"]

PAGE = 16
"""Tokens of a page, as in vLLM."""


def _pages(workload: Workload) -> int:
    """Return the pages of one sequence."""
    return -(-workload.integer("S") // PAGE)


def _table(batch: int, pages: int) -> Any:
    """Return what draws the pages of each sequence: all different, in no order."""

    def draw(generator: Any, device: Any) -> Any:
        torch = torch_of()
        order = torch.randperm(batch * pages, generator=generator, device=device)
        return order.reshape(batch, pages).to(torch.int32)

    return draw


def _lengths(batch: int, longest: int) -> Any:
    """Return what draws the tokens in each cache: the first is as long as any, the others at least half of it."""

    def draw(generator: Any, device: Any) -> Any:
        torch = torch_of()
        least = max(1, longest // 2)
        lengths = torch.randint(least, longest + 1, (batch,), generator=generator, device=device, dtype=torch.int32)
        lengths[0] = longest
        return lengths

    return draw


def _inputs(workload: Workload) -> dict[str, Tensor]:
    batch, heads, kv_heads, size = (workload.integer(name) for name in ("B", "HQ", "HKV", "D"))
    pages, dtype = _pages(workload), workload.text("dtype")
    cache = Tensor((batch * pages, PAGE, kv_heads, size), dtype)
    return {
        "q": Tensor((batch, heads, size), dtype),
        "k_cache": cache,
        "v_cache": cache,
        "pages": Tensor((batch, pages), "int32", draw=_table(batch, pages)),
        "lengths": Tensor((batch,), "int32", draw=_lengths(batch, workload.integer("S"))),
    }


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"out": _inputs(workload)["q"]}


def _reference(workload: Workload, inputs: Tensors) -> Tensors:
    torch = torch_of()
    batch, heads, kv_heads, size = (workload.integer(name) for name in ("B", "HQ", "HKV", "D"))
    out = torch.empty((batch, heads, size), dtype=torch.float64, device=inputs["q"].device)
    for one in range(batch):
        length = int(inputs["lengths"][one])
        pages = inputs["pages"][one].long()
        k, v = (wide(inputs[f"{name}_cache"][pages]).reshape(-1, kv_heads, size)[:length] for name in "kv")
        q = wide(inputs["q"][one]).reshape(kv_heads, heads // kv_heads, size)
        scores = torch.einsum("hgd,shd->hgs", q, k) / size**0.5
        out[one] = torch.einsum("hgs,shd->hgd", scores.softmax(dim=2), v).reshape(heads, size)
    return {"out": out}


def _work(workload: Workload) -> Work:
    batch, heads, kv_heads, tokens, size = (workload.integer(name) for name in ("B", "HQ", "HKV", "S", "D"))
    # Caches are three quarters full on average, and are what is read.
    share = (1 + 0.75 * (batch - 1)) / batch
    width = DTYPES[workload.text("dtype")].bytes
    moved = 2 * batch * heads * size + 2 * share * batch * tokens * kv_heads * size
    return Work(flops=4 * share * batch * heads * tokens * size, bytes=width * moved)


def _sharp(inputs: Tensors, _: Any) -> Tensors:
    """Scores up to some tens: one token takes nearly all of the weight."""
    return {**inputs, "q": inputs["q"] * 4}


def _edges(workload: Workload) -> Any:
    group = workload.integer("HQ") // workload.integer("HKV")
    fields: dict[str, Scalar] = {**workload, "HQ": 2 * group, "HKV": 2}
    return edge_shapes(fields, {"B": 1, "S": 1})


OPERATOR = TensorOperator(
    name="paged_attention",
    fields=(
        Field("B"),
        Field("HQ"),
        Field("HKV"),
        Field("S"),
        Field("D", multiple_of=16),
        Field("dtype", default="bf16", choices=("bf16", "fp16")),
    ),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    tolerance=lambda workload: (
        Tolerance(relative=2**-6, absolute=4e-3) if workload["dtype"] == "bf16" else Tolerance(2**-8, 1e-3)
    ),
    distributions={"sharp": _sharp},
    # What lies beyond a sequence's end is not read, or weighs zero.
    unspecified=("k_cache", "v_cache"),
    edges=_edges,
    workloads={
        # Heads from the models' published configurations; S is the longest cache, B the sequences that decode.
        "llama3-8b-decode-32-4k": Workload(B=32, HQ=32, HKV=8, S=4096, D=128, dtype="bf16"),
        "llama3-8b-decode-1-32k": Workload(B=1, HQ=32, HKV=8, S=32768, D=128, dtype="bf16"),
        "llama3-70b-tp8-decode-64-2k": Workload(B=64, HQ=8, HKV=1, S=2048, D=128, dtype="bf16"),
        "qwen3-32b-decode-16-8k": Workload(B=16, HQ=64, HKV=8, S=8192, D=128, dtype="bf16"),
    },
    valid=lambda workload: (
        None
        if workload.integer("HQ") % workload.integer("HKV") == 0
        else f"HQ={workload['HQ']} query heads do not share HKV={workload['HKV']} key/value heads evenly"
    ),
)
"""Attention of `B` tokens to paged caches of up to `S` tokens (Kwon et al., PagedAttention, 2023)."""
