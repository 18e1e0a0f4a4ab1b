"""A module in torch itself: precision, quantization, layout, compilation, attention, CUDA graphs."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from tuner.engines.module.model import Inputs, Model
from tuner.engines.module.program import Array, Program, Setting, tensors_of

__all__ = ["TorchProgram", "WeightOnlyLinear"]

_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_BACKENDS = {
    "math": SDPBackend.MATH,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
_WARM_UP_CALLS = 3

# Options of torch.compile; frozen weights are constants, laid out as the kernels want them.
_COMPILED: dict[str, dict[str, str | int | bool | Callable[..., Any]]] = {
    "default": {},
    "freezing": {"freezing": True},
    "max-autotune": {"freezing": True, "max_autotune": True},
    "graphs": {"freezing": True, "triton.cudagraphs": True},
}


class TorchProgram(Program):
    """A module in torch under a config."""

    def __init__(self, model: Model, setting: Setting) -> None:
        config = setting.config
        self._device = torch.device(config.text("DEVICE") if "DEVICE" in config else "cpu")
        self._dtype = _DTYPES[config.text("DTYPE")]
        if config["DTYPE"] == "tf32":
            torch.set_float32_matmul_precision("high")
        self._channels_last = bool(config.get("CHANNELS_LAST", False))
        self._attention = str(config.get("SDPA", "auto"))
        self._graphs = bool(config.get("CUDA_GRAPHS", False))
        self._graph: _Graph | None = None
        if "INTEROP" in config:
            torch.set_num_interop_threads(config.integer("INTEROP"))
        if "THREADS" in config:
            torch.set_num_threads(config.integer("THREADS"))
        module = _quantized(model.module, str(config.get("QUANTIZE", "none")))
        module = module.to(self._device, self._dtype)
        if self._channels_last:
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._call: Callable[..., Any] = _compiled(module, config.text("COMPILE"))

    def serve(self, batches: Sequence[Inputs]) -> list[float]:
        """Answer every batch, its transfer to the device included."""
        seconds = []
        for batch in batches:
            started = time.perf_counter()
            self._answer(batch)
            if self._device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
        return seconds

    def outputs(self, inputs: Inputs) -> list[Array]:
        """Return the answers to one batch in float32."""
        return [one.float().cpu().numpy() for one in tensors_of(self._answer(inputs))]

    def resize(self, batch: int) -> None:
        """Let go of the graph of another size."""
        self._graph = None

    def _answer(self, inputs: Inputs) -> Any:
        placed = tuple(self._placed(one) for one in inputs)
        with torch.inference_mode(), self._attending():
            if not self._graphs:
                return self._call(*placed)
            if self._graph is None:
                self._graph = _Graph(self._call, placed)
            return self._graph.replay(placed)

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        dtype = self._dtype if tensor.is_floating_point() else tensor.dtype
        layout = torch.channels_last if self._channels_last and tensor.dim() == 4 else torch.preserve_format
        return tensor.to(self._device, dtype, memory_format=layout)

    def _attending(self) -> contextlib.AbstractContextManager[None]:
        if self._attention == "auto":
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[None] = sdpa_kernel([_BACKENDS[self._attention]])
        return context


class _Graph:
    """Calls recorded once on tensors that stay, and replayed."""

    def __init__(self, call: Callable[..., Any], inputs: Inputs) -> None:
        self._inputs = tuple(one.clone() for one in inputs)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_CALLS):
                call(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = call(*self._inputs)

    def replay(self, inputs: Inputs) -> Any:
        for ours, theirs in zip(self._inputs, inputs, strict=True):
            ours.copy_(theirs)
        self._graph.replay()
        return self._outputs


class WeightOnlyLinear(nn.Module):
    """A linear layer whose weights are kept as int8, each output with a scale of its own, and widened when used."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.abs().amax(dim=1).clamp(min=1e-12) / 127
        self.weight = nn.Buffer((linear.weight / scale[:, None]).round().to(torch.int8))
        self.scale = nn.Buffer(scale)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the linear layer would, up to the rounding of its weights."""
        y = functional.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def _quantized(module: nn.Module, how: str) -> nn.Module:
    match how:
        case "dynamic_int8":
            with warnings.catch_warnings():
                # torch announces that its quantization moves to a package of its own.
                warnings.simplefilter("ignore")
                quantize = torch.ao.quantization.quantize_dynamic
                quantized: nn.Module = quantize(module, {nn.Linear}, torch.qint8)  # type: ignore[no-untyped-call]
            return quantized
        case "weight_int8":
            for name, child in list(module.named_children()):
                # Exactly these: a subclass computes something else.
                if type(child) is nn.Linear:
                    setattr(module, name, WeightOnlyLinear(child))
                else:
                    _quantized(child, how)
            return WeightOnlyLinear(module) if type(module) is nn.Linear else module
        case _:
            return module


def _compiled(module: nn.Module, how: str) -> Callable[..., Any]:
    if how == "off":
        return module
    # One size at a time: kernels for any size are slower, and the size changes only when a config does.
    compiled: Callable[..., Any] = torch.compile(module, dynamic=False, options=dict(_COMPILED[how]))
    return compiled
