"""What it computes: for each pair of a token and one of its experts, the token times the expert's weights."""

from __future__ import annotations

from typing import Any

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import TensorOperator, Tensors
from tuner.kernels.gpu.tensor import DTYPES, Tensor
from tuner.kernels.problem import Field
from tuner.types import Work, Workload

__all__ = ["OPERATOR"]


def _routing(tokens: int, experts: int, chosen: int, wanted: str) -> Any:
    """Return what draws the routing: random distinct experts for each token, and from them what is `wanted`.

    The generator is left as it was, so that `pairs` and `ends` tell of one and the same routing.
    """

    def draw(generator: Any, device: Any) -> Any:
        torch = torch_of()
        ours = torch.Generator(device=device).manual_seed(generator.initial_seed())
        scores = torch.rand((tokens, experts), generator=ours, device=device)
        flat = scores.topk(chosen, dim=1).indices.reshape(-1)
        if wanted == "pairs":
            return flat.sort(stable=True).indices.to(torch.int32)
        return torch.bincount(flat, minlength=experts).cumsum(0).to(torch.int32)

    return draw


def _inputs(workload: Workload) -> dict[str, Tensor]:
    tokens, outputs, columns, experts, chosen = (workload.integer(name) for name in ("T", "N", "K", "E", "TOPK"))
    dtype = workload.text("dtype")
    pairs = tokens * chosen
    return {
        "x": Tensor((tokens, columns), dtype),
        "weight": Tensor((experts, outputs, columns), dtype, scale=columns**-0.5),
        # Pairs of token and expert, sorted by expert; the token of pair p is p // TOPK.
        "pairs": Tensor((pairs,), "int32", draw=_routing(tokens, experts, chosen, "pairs")),
        # Where the pairs of each expert end.
        "ends": Tensor((experts,), "int32", draw=_routing(tokens, experts, chosen, "ends")),
    }


def _outputs(workload: Workload) -> dict[str, Tensor]:
    shape = (workload.integer("T") * workload.integer("TOPK"), workload.integer("N"))
    return {"out": Tensor(shape, workload.text("dtype"))}


def _reference(workload: Workload, inputs: Tensors) -> Tensors:
    torch = torch_of()
    [spec] = _outputs(workload).values()
    out = torch.empty(spec.shape, dtype=torch.float64, device=inputs["x"].device)
    start = 0
    for expert, end in enumerate(inputs["ends"].tolist()):
        pairs = inputs["pairs"][start:end].long()
        out[pairs] = wide(inputs["x"][pairs // workload.integer("TOPK")]) @ wide(inputs["weight"][expert]).T
        start = end
    return {"out": out}


def _work(workload: Workload) -> Work:
    tokens, outputs, columns, experts, chosen = (workload.integer(name) for name in ("T", "N", "K", "E", "TOPK"))
    # The share of the experts that any token is sent to, by chance.
    used = experts * (1 - (1 - chosen / experts) ** tokens)
    numbers = tokens * columns + used * outputs * columns + tokens * chosen * outputs
    width = DTYPES[workload.text("dtype")].bytes
    return Work(flops=2 * tokens * chosen * outputs * columns, bytes=width * numbers)


OPERATOR = TensorOperator(
    name="fused_moe",
    fields=(
        Field("T"),
        Field("N"),
        Field("K", multiple_of=16),
        Field("E"),
        Field("TOPK"),
        Field("dtype", default="bf16", choices=("bf16", "fp16")),
    ),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    tolerance=lambda workload: (
        Tolerance(relative=2**-7, absolute=4e-3) if workload["dtype"] == "bf16" else Tolerance(2**-9, 2e-3)
    ),
    # An expert that no token was sent to is not read.
    unspecified=("weight",),
    edges=lambda w: (
        {**w, "T": tokens, "N": outputs, "K": 16 * columns, "E": experts, "TOPK": min(2, experts)}
        for tokens, outputs, columns, experts in ((1, 37, 5, 3), (3, 64, 2, 8), (77, 43, 3, 2), (200, 131, 4, 8))
    ),
    workloads={
        # Experts from the models' published configurations; N is one device's share where tensors are split.
        "mixtral-8x7b-up-64": Workload(T=64, N=28672, K=4096, E=8, TOPK=2, dtype="bf16"),
        "mixtral-8x7b-tp8-up-2k": Workload(T=2048, N=3584, K=4096, E=8, TOPK=2, dtype="bf16"),
        "qwen3-30b-a3b-up-128": Workload(T=128, N=1536, K=2048, E=128, TOPK=8, dtype="bf16"),
        "deepseek-v3-tp8-up-128": Workload(T=128, N=512, K=7168, E=256, TOPK=8, dtype="bf16"),
    },
    valid=lambda workload: (
        None
        if workload.integer("TOPK") <= workload.integer("E")
        else f"TOPK={workload['TOPK']} is more than the E={workload['E']} experts there are"
    ),
)
"""Product of `T` tokens with the weights of `TOPK` of `E` experts each (Shazeer et al., 2017)."""
