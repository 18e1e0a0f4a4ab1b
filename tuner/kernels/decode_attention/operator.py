"""What it computes: out = softmax(q k^T / sqrt(D)) v for one query token a sequence, with grouped query heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.base import Field, Operator, Output, Tolerance
from tuner.kernels.bfloat16 import from_bfloat16, to_bfloat16
from tuner.kernels.distribution import GENERIC, NotNumber, Unspecified, scaled
from tuner.kernels.edge import edge_shapes
from tuner.types import Scalar, Work, Workload

__all__ = ["OPERATOR"]

_BYTES = {"bf16": 2, "fp32": 4}
# Scores with a standard deviation of 2: the largest weights dominate, as in trained models, and the running maximum
# moves several times on the way.
_QUERY_SCALE = 2.0
# Normal numbers are slow to draw by the million: keys and values are drawn from a pool of this many.
_POOL = 1 << 16


def _dimensions(workload: Workload) -> tuple[int, int, int, int, int]:
    batch, heads, kv_heads, tokens, size = (workload.integer(name) for name in ("B", "HQ", "HKV", "S", "D"))
    return batch, heads, kv_heads, tokens, size


def _inputs(workload: Workload, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    batch, heads, kv_heads, tokens, size = _dimensions(workload)
    query: npt.NDArray[Any] = _QUERY_SCALE * rng.standard_normal((batch, heads, size), dtype=np.float32)
    pool: npt.NDArray[Any] = rng.standard_normal(_POOL, dtype=np.float32)
    if workload.text("KV_DTYPE") == "bf16":
        query, pool = to_bfloat16(query), to_bfloat16(pool)
    words = rng.integers(0, 1 << 64, size=(2, batch, kv_heads, tokens, size // 4), dtype=np.uint64)
    key, value = pool[words.view(np.uint16)]
    return {"q": query, "k": key, "v": value}


def _outputs(workload: Workload) -> dict[str, Output]:
    batch, heads, _, _, size = _dimensions(workload)
    return {"out": Output((batch, heads, size))}


def _reference(workload: Workload, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    batch, heads, kv_heads, _, size = _dimensions(workload)
    wide = from_bfloat16 if workload.text("KV_DTYPE") == "bf16" else np.asarray
    group = heads // kv_heads
    query = wide(inputs["q"]).astype(np.float64).reshape(batch, kv_heads, group, size) / np.sqrt(size)
    out = np.empty_like(query)
    for at in np.ndindex(batch, kv_heads):
        key, value = (wide(inputs[name][at]).astype(np.float64) for name in "kv")
        scores = query[at] @ key.T
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        out[at] = weights @ value / weights.sum(axis=1, keepdims=True)
    return {"out": out.reshape(batch, heads, size)}


def _work(workload: Workload) -> Work:
    batch, heads, kv_heads, tokens, size = _dimensions(workload)
    numbers = batch * (heads * size + 2 * kv_heads * tokens * size)
    # The exponentials are not counted: at D = 128 they are below 1% of the multiplications and additions.
    return Work(
        flops=4 * batch * heads * tokens * size,
        bytes=_BYTES[workload.text("KV_DTYPE")] * numbers + 4 * batch * heads * size,
    )


def _valid(workload: Workload) -> str | None:
    heads, kv_heads = workload.integer("HQ"), workload.integer("HKV")
    if heads % kv_heads:
        return f"HQ={heads} query heads do not share HKV={kv_heads} key/value heads evenly; use a multiple"
    return None


def _sharp(inputs: Mapping[str, npt.NDArray[Any]], _: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Scores up to some tens: one token takes nearly all of the weight."""
    return {**inputs, "q": scaled(inputs["q"], 4)}


def _flat(inputs: Mapping[str, npt.NDArray[Any]], _: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Scores of zero: all tokens weigh the same."""
    return {**inputs, "q": scaled(inputs["q"], 0)}


def _edges(workload: Workload) -> Iterator[dict[str, Scalar]]:
    """Each group of query heads as it is: how many share a key/value head decides which configs there are."""
    heads, kv_heads = workload.integer("HQ"), workload.integer("HKV")
    return edge_shapes({**workload, "HQ": heads // kv_heads, "HKV": 1}, {"S": 1, "B": 1, "D": 32})


OPERATOR = Operator(
    name="decode_attention",
    fields=(
        Field("B", default=1),
        Field("HQ"),
        Field("HKV"),
        Field("S"),
        Field("D", multiple_of=32),
        Field("KV_DTYPE", default="bf16", choices=("bf16", "fp32")),
    ),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # The same for both dtypes: bfloat16 inputs are read exactly, and everything after is float32. Scores are below
    # about 12 and exact to some 1e-6, so weights are exact to 1e-5 of themselves; outputs are averages of values around
    # 1. One token left out of 4096 would be seen: it weighs some 1/4096.
    # As long as scores are below about 12 it would be a fifth of that; where they are sharp, they reach 50.
    tolerance=lambda _: Tolerance(relative=1e-4, absolute=5e-5),
    distributions={**GENERIC, "sharp": _sharp, "flat": _flat},
    unspecified=(
        *(
            Unspecified(name, "where all scores are minus infinity, none is the largest", kinds=(NotNumber.INFINITY,))
            for name in "qk"
        ),
        Unspecified("v", "a weight in two parts of unlike signs makes NaN of an infinity", kinds=(NotNumber.INFINITY,)),
    ),
    edges=_edges,
    workloads={
        # Heads from the models' published configurations; S is the number of tokens in the cache.
        "llama3-8b-decode-1k-batch4": Workload(B=4, HQ=32, HKV=8, S=1024, D=128, KV_DTYPE="bf16"),
        "llama3-8b-decode-4k": Workload(B=1, HQ=32, HKV=8, S=4096, D=128, KV_DTYPE="bf16"),
        "llama3-8b-decode-4k-fp32": Workload(B=1, HQ=32, HKV=8, S=4096, D=128, KV_DTYPE="fp32"),
        "llama3-70b-decode-4k": Workload(B=1, HQ=64, HKV=8, S=4096, D=128, KV_DTYPE="bf16"),
        "qwen3-4b-decode-512": Workload(B=1, HQ=32, HKV=8, S=512, D=128, KV_DTYPE="bf16"),
        "qwen3-4b-decode-8k": Workload(B=1, HQ=32, HKV=8, S=8192, D=128, KV_DTYPE="bf16"),
    },
    valid=_valid,
)
"""Attention of one query token to a cache of `S` tokens, `HQ / HKV` query heads to each key/value head (Ainslie et al.,
GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints, 2023)."""
