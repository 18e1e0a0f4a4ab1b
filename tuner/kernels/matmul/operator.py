"""What it computes: out = epilogue(x @ weight^T), in 16 or 8 bits, with float32 sums."""

from __future__ import annotations

from typing import Any

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import TensorOperator, Tensors
from tuner.kernels.gpu.tensor import Tensor, bytes_of
from tuner.kernels.problem import Field
from tuner.types import Work, Workload

__all__ = ["EPILOGUES", "OPERATOR", "is_scaled", "out_dtype", "weight_rows"]

EPILOGUES = ("none", "bias", "bias_gelu", "silu_mul")
"""What follows the product: nothing, a bias, a bias and GELU (tanh), or SiLU of one half times the other."""

_SCALED = ("fp8", "int8")
# How far an output may be off: it is rounded to 8, or 11, bits of mantissa, and a sum that falls on the other side of a
# midpoint is rounded away. Sums of eight-bit products keep 14 bits in tensor cores of Hopper: of 1020 sorted ones they
# were seen to be 1.7 % off, of 4096 they would be 5 to 7 %. A kernel has to add them in float32 before that.
_TOLERANCES = {
    "bf16": Tolerance(relative=2**-7, absolute=4e-3),
    "fp16": Tolerance(relative=2**-9, absolute=2e-3),
    "fp8": Tolerance(relative=2**-5, absolute=3e-2),
    "int8": Tolerance(relative=2**-7, absolute=4e-3),
}


def is_scaled(workload: Workload) -> bool:
    """Return whether eight-bit inputs come with a scale for each row of either."""
    return workload.text("dtype") in _SCALED


def out_dtype(workload: Workload) -> str:
    """Return the dtype of the output: eight-bit products give bfloat16."""
    return "fp16" if workload.text("dtype") == "fp16" else "bf16"


def weight_rows(workload: Workload) -> int:
    """Return the rows of the weight: gate and up projections lie one below the other."""
    return workload.integer("N") * (2 if workload["epilogue"] == "silu_mul" else 1)


def _inputs(workload: Workload) -> dict[str, Tensor]:
    rows, columns = workload.integer("M"), workload.integer("K")
    dtype = workload.text("dtype")
    # Outputs are around 1, whatever K is; integers have a mean square of 5.25.
    weight_scale = columns**-0.5 if not is_scaled(workload) else 1.0
    inputs = {
        "x": Tensor((rows, columns), dtype),
        "weight": Tensor((weight_rows(workload), columns), dtype, scale=weight_scale),
    }
    if is_scaled(workload):
        inputs["x_scale"] = Tensor((rows,), "fp32", draw=_scales(rows, 1.0))
        inputs["weight_scale"] = Tensor((weight_rows(workload),), "fp32", draw=_scales(weight_rows(workload), columns))
    if workload.text("epilogue").startswith("bias"):
        inputs["bias"] = Tensor((workload.integer("N"),), out_dtype(workload))
    return inputs


def _scales(count: int, columns: float) -> Any:
    """Return what draws scales that bring outputs to around 1."""

    def draw(generator: Any, device: Any) -> Any:
        scales = torch_of().rand(count, generator=generator, device=device)
        return (0.5 + scales) * columns**-0.5

    return draw


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"out": Tensor((workload.integer("M"), workload.integer("N")), out_dtype(workload))}


def _reference(workload: Workload, inputs: Tensors) -> Tensors:
    torch = torch_of()
    out = wide(inputs["x"]) @ wide(inputs["weight"]).T
    if is_scaled(workload):
        out *= wide(inputs["x_scale"])[:, None]
        out *= wide(inputs["weight_scale"])[None, :]
    epilogue = workload.text("epilogue")
    if epilogue.startswith("bias"):
        out += wide(inputs["bias"])
    if epilogue == "bias_gelu":
        out = torch.nn.functional.gelu(out, approximate="tanh")
    if epilogue == "silu_mul":
        gate, up = out.chunk(2, dim=1)
        out = torch.nn.functional.silu(gate) * up
    return {"out": out}


def _work(workload: Workload) -> Work:
    flops = 2 * workload.integer("M") * weight_rows(workload) * workload.integer("K")
    return Work(flops=flops, bytes=bytes_of(_inputs(workload), _outputs(workload)))


def _layer(rows: int, outputs: int, columns: int, dtype: str = "bf16", epilogue: str = "none") -> Workload:
    return Workload(M=rows, N=outputs, K=columns, dtype=dtype, epilogue=epilogue)


OPERATOR = TensorOperator(
    name="matmul",
    fields=(
        Field("M"),
        Field("N"),
        Field("K", multiple_of=16),
        Field("dtype", default="bf16", choices=("bf16", "fp16", "fp8", "int8")),
        Field("epilogue", default="none", choices=EPILOGUES),
    ),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    tolerance=lambda workload: _TOLERANCES[workload.text("dtype")],
    workloads={
        # Layers from the models' published configurations; M is the number of tokens: a prompt's, or one for each
        # sequence that decodes.
        "llama3-8b-qkv-prefill-4k": _layer(4096, 6144, 4096),
        "llama3-8b-out-prefill-4k": _layer(4096, 4096, 4096),
        "llama3-8b-up-prefill-4k": _layer(4096, 14336, 4096, epilogue="silu_mul"),
        "llama3-8b-down-prefill-4k": _layer(4096, 4096, 14336),
        "llama3-8b-qkv-decode-1": _layer(1, 6144, 4096),
        "llama3-8b-up-decode-64": _layer(64, 14336, 4096, epilogue="silu_mul"),
        "llama3-8b-down-decode-64": _layer(64, 4096, 14336),
        "llama3-8b-out-prefill-4k-fp8": _layer(4096, 4096, 4096, "fp8"),
        "llama3-8b-down-decode-64-fp8": _layer(64, 4096, 14336, "fp8"),
        "llama3-8b-down-decode-64-int8": _layer(64, 4096, 14336, "int8"),
        "llama3-70b-tp8-down-prefill-4k": _layer(4096, 8192, 3584),
        "llama3-70b-tp8-down-decode-128": _layer(128, 8192, 3584),
        "qwen3-32b-down-decode-16": _layer(16, 5120, 25600),
        "deepseek-v3-shared-up-decode-128": _layer(128, 2048, 7168, epilogue="silu_mul"),
        "bert-large-ffn-512": _layer(512, 4096, 1024, "fp16", "bias_gelu"),
    },
)
"""Product of `M` rows of `K` activations with `N` rows of weights, with scales for each row where they are 8 bits."""
