"""What it computes: out = softmax(q k^T / sqrt(D)) v, where each token sees itself and those before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.base import Field, Operator, Output, Tolerance
from tuner.kernels.distribution import GENERIC, NotNumber, Unspecified, scaled
from tuner.kernels.edge import edge_shapes
from tuner.types import Scalar, Work, Workload

__all__ = ["OPERATOR"]

# Scores with a standard deviation of 2: the largest weights dominate, as in trained models, and the running maximum
# moves several times on the way.
_QUERY_SCALE = 2.0
# Tokens whose scores the reference computes at a time, with the keys that the last of them sees: about half of all.
_REFERENCE_TOKENS = 128


def _dimensions(workload: Workload) -> tuple[int, int, int, int, int]:
    batch, heads, kv_heads, tokens, size = (workload.integer(name) for name in ("B", "HQ", "HKV", "S", "D"))
    return batch, heads, kv_heads, tokens, size


def _inputs(workload: Workload, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    batch, heads, kv_heads, tokens, size = _dimensions(workload)
    query = _QUERY_SCALE * rng.standard_normal((batch, heads, tokens, size), dtype=np.float32)
    key, value = rng.standard_normal((2, batch, kv_heads, tokens, size), dtype=np.float32)
    return {"q": query, "k": key, "v": value}


def _outputs(workload: Workload) -> dict[str, Output]:
    batch, heads, _, tokens, size = _dimensions(workload)
    return {"out": Output((batch, heads, tokens, size))}


def _reference(workload: Workload, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    batch, heads, kv_heads, tokens, size = _dimensions(workload)
    query, key, value = (inputs[name].astype(np.float64) for name in "qkv")
    query /= np.sqrt(size)
    out = np.empty_like(query)
    for b, head in np.ndindex(batch, heads):
        kv_head = head * kv_heads // heads
        for start in range(0, tokens, _REFERENCE_TOKENS):
            stop = min(start + _REFERENCE_TOKENS, tokens)
            scores = query[b, head, start:stop] @ key[b, kv_head, :stop].T
            scores[np.arange(start, stop)[:, None] < np.arange(stop)] = -np.inf
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            out[b, head, start:stop] = weights @ value[b, kv_head, :stop] / weights.sum(axis=1, keepdims=True)
    return {"out": out}


def _work(workload: Workload) -> Work:
    batch, heads, kv_heads, tokens, size = _dimensions(workload)
    # Only the pairs that see each other count, whatever a kernel computes beyond them. The exponentials are not
    # counted: at D = 64 they are below 1% of the multiplications and additions.
    pairs = tokens * (tokens + 1) // 2
    return Work(
        flops=4 * batch * heads * pairs * size,
        bytes=4 * batch * 2 * (heads + kv_heads) * tokens * size,
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


def _marked(inputs: Mapping[str, npt.NDArray[Any]], rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """A NaN in the first token, which all others see."""
    name = "kv"[rng.integers(2)]
    marked = inputs[name].copy()
    marked[..., 0, rng.integers(marked.shape[-1])] = np.nan
    return {**inputs, name: marked}


def _edges(workload: Workload) -> Iterator[dict[str, Scalar]]:
    """Each group of query heads as it is: how many share a key/value head decides which configs there are."""
    heads, kv_heads = workload.integer("HQ"), workload.integer("HKV")
    return edge_shapes({**workload, "HQ": heads // kv_heads, "HKV": 1}, {"S": 1, "B": 1, "D": 32})


OPERATOR = Operator(
    name="flash_prefill",
    fields=(
        Field("B", default=1),
        Field("HQ"),
        Field("HKV"),
        Field("S"),
        Field("D", multiple_of=32),
    ),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # Scores are below about 12, and below about 50 where they are sharp: exact to some 1e-6 and 5e-6, so that weights
    # are exact to 1e-5 of themselves, and 2e-5; outputs are averages of values around 1, the largest around 4. A token
    # too many or too few would be seen: it weighs some 1/S, and more for the first tokens.
    tolerance=lambda _: Tolerance(relative=1e-4, absolute=5e-5),
    distributions={**GENERIC, "sharp": _sharp, "flat": _flat, "marked": _marked},
    unspecified=(
        *(Unspecified(name, "a token that is not seen may be computed, and weigh zero") for name in "kv"),
        Unspecified("q", "where all scores are minus infinity, none is the largest", kinds=(NotNumber.INFINITY,)),
    ),
    edges=_edges,
    workloads={
        # Heads from the models' published configurations; S is the number of tokens of the prompt.
        "gpt2-prefill-512": Workload(B=1, HQ=12, HKV=12, S=512, D=64),
        "gpt2-prefill-128-batch4": Workload(B=4, HQ=12, HKV=12, S=128, D=64),
        "gpt2-prefill-768": Workload(B=1, HQ=12, HKV=12, S=768, D=64),
        "llama3-8b-prefill-256": Workload(B=1, HQ=32, HKV=8, S=256, D=128),
        # One of eight devices that share the heads.
        "llama3-8b-prefill-1k-tp8": Workload(B=1, HQ=4, HKV=1, S=1024, D=128),
    },
    valid=_valid,
)
"""Causal attention of `S` tokens, `HQ / HKV` query heads to each key/value head (Ainslie et al., GQA: Training
Generalized Multi-Query Transformer Models from Multi-Head Checkpoints, 2023)."""
