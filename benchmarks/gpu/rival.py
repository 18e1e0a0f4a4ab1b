"""What a kernel is compared with: torch's own calls, captured in a graph and timed as ours are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuner.kernels.clock import Elapsed
from tuner.kernels.gpu.memory import Memory, torch_of
from tuner.types import Workload

__all__ = ["TorchLauncher", "rivals_of"]

Call = Callable[[Mapping[str, Any]], Any]


class TorchLauncher:
    """A call of torch, timed as a graph over tensors that rotate.

    Args:
        call: Takes the tensors by name.
        flush: Memory to overwrite where caches are to be emptied.
    """

    def __init__(self, call: Call, flush: Any) -> None:
        self._call = call
        self._flush = flush
        self._graphs: dict[int, tuple[Any, Any, Any]] = {}

    def call(self, arguments: Sequence[Memory]) -> None:
        """Run once and wait for it."""
        self._call(arguments[0].tensors)
        torch_of().cuda.synchronize()

    def time(self, arguments: Sequence[Memory], calls: int) -> Elapsed:
        """Return what `calls` consecutive calls took on the device."""
        if calls not in self._graphs:
            self._graphs[calls] = self._captured([arguments[i % len(arguments)] for i in range(calls)])
        graph, start, stop = self._graphs[calls]
        graph.replay()
        torch_of().cuda.synchronize()
        return Elapsed(1e-3 * start.elapsed_time(stop))

    def evict(self, arguments: Sequence[Memory]) -> None:
        """Overwrite more than the L2 cache holds."""
        self._flush.zero_()

    def _captured(self, turns: Sequence[Memory]) -> tuple[Any, Any, Any]:
        torch = torch_of()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._call(turns[0].tensors)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        start, stop = (torch.cuda.Event(enable_timing=True, external=True) for _ in range(2))
        with torch.cuda.graph(graph):
            start.record()
            for memory in turns:
                self._call(memory.tensors)
            stop.record()
        torch.cuda.synchronize()
        return graph, start, stop


def rivals_of(kernel: str, workload: Workload) -> dict[str, Call]:
    """Return torch's ways to compute what `kernel` does, by name; none where there is no like of it."""
    make = _RIVALS.get(kernel.partition(":")[2])
    return make(workload) if make else {}


def _compiled(call: Call) -> Call:
    """Return the call through torch's compiler."""
    compiled: Call = torch_of().compile(call, dynamic=False)
    return compiled


def _matmul(workload: Workload) -> dict[str, Call]:
    torch = torch_of()
    functional = torch.nn.functional
    epilogue, dtype = workload["epilogue"], workload["dtype"]
    if dtype == "fp8":

        def scaled(t: Mapping[str, Any]) -> Any:
            return torch._scaled_mm(
                t["x"],
                t["weight"].t(),
                scale_a=t["x_scale"][:, None],
                scale_b=t["weight_scale"][None, :],
                out_dtype=torch.bfloat16,
            )

        return {"torch._scaled_mm": scaled} if epilogue == "none" else {}
    if dtype == "int8":
        return {}
    if epilogue == "none":
        return {"torch.mm": lambda t: torch.mm(t["x"], t["weight"].t())}
    if epilogue == "bias":
        return {"torch linear": lambda t: functional.linear(t["x"], t["weight"], t["bias"])}
    if epilogue == "bias_gelu":

        def gelu(t: Mapping[str, Any]) -> Any:
            return functional.gelu(functional.linear(t["x"], t["weight"], t["bias"]), approximate="tanh")

        return {"torch eager": gelu, "torch.compile": _compiled(gelu)}

    def gated(t: Mapping[str, Any]) -> Any:
        gate, up = functional.linear(t["x"], t["weight"]).chunk(2, dim=1)
        return functional.silu(gate) * up

    return {"torch eager": gated, "torch.compile": _compiled(gated)}


def _softmax(_: Workload) -> dict[str, Call]:
    torch = torch_of()

    def softmax(t: Mapping[str, Any]) -> Any:
        return torch.softmax(t["x"], dim=1)

    return {"torch eager": softmax, "torch.compile": _compiled(softmax)}


def _add_rmsnorm(workload: Workload) -> dict[str, Call]:
    functional = torch_of().nn.functional
    columns = workload.integer("N")

    def norm(t: Mapping[str, Any]) -> Any:
        total = t["x"] + t["residual"]
        return total, functional.rms_norm(total, (columns,), t["weight"], eps=1e-5)

    return {"torch eager": norm, "torch.compile": _compiled(norm)}


def _layernorm(workload: Workload) -> dict[str, Call]:
    functional = torch_of().nn.functional
    columns = workload.integer("N")

    def norm(t: Mapping[str, Any]) -> Any:
        total = t["x"] + t["residual"] if "residual" in t else t["x"]
        return total, functional.layer_norm(total, (columns,), t["weight"], t["bias"], eps=1e-5)

    return {"torch eager": norm, "torch.compile": _compiled(norm)}


def _swiglu(_: Workload) -> dict[str, Call]:
    functional = torch_of().nn.functional

    def swiglu(t: Mapping[str, Any]) -> Any:
        gate, up = t["gate_up"].chunk(2, dim=1)
        return functional.silu(gate) * up

    return {"torch eager": swiglu, "torch.compile": _compiled(swiglu)}


def _cross_entropy(_: Workload) -> dict[str, Call]:
    functional = torch_of().nn.functional

    def loss(t: Mapping[str, Any]) -> Any:
        return functional.cross_entropy(t["logits"].float(), t["targets"], reduction="none")

    return {"torch eager": loss, "torch.compile": _compiled(loss)}


def _rotary(_: Workload) -> dict[str, Call]:
    torch = torch_of()

    def rotary(t: Mapping[str, Any]) -> Any:
        at = t["positions"].long()
        cosine, sine = t["cosines"][at][:, None, :], t["sines"][at][:, None, :]
        first, second = t["x"].float().chunk(2, dim=2)
        turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=2)
        return turned.to(t["x"].dtype)

    return {"torch eager": rotary, "torch.compile": _compiled(rotary)}


def _flash_prefill(workload: Workload) -> dict[str, Call]:
    torch = torch_of()
    attention = torch.nn.attention
    causal = workload["mask"] == "causal"

    def by(backend: Any) -> Call:
        def call(t: Mapping[str, Any]) -> Any:
            with attention.sdpa_kernel(backend):
                return torch.nn.functional.scaled_dot_product_attention(
                    t["q"], t["k"], t["v"], is_causal=causal, enable_gqa=True
                )

        return call

    backends = attention.SDPBackend
    return {"SDPA FlashAttention": by(backends.FLASH_ATTENTION), "SDPA cuDNN": by(backends.CUDNN_ATTENTION)}


def _sgemm(_: Workload) -> dict[str, Call]:
    torch = torch_of()
    return {"torch.mm (fp32)": lambda t: torch.mm(t["x"], t["y"])}


def _transpose(_: Workload) -> dict[str, Call]:
    return {"torch eager": lambda t: t["x"].t().contiguous()}


_RIVALS: dict[str, Callable[[Workload], dict[str, Call]]] = {
    "add_rmsnorm": _add_rmsnorm,
    "cross_entropy": _cross_entropy,
    "flash_prefill": _flash_prefill,
    "layernorm": _layernorm,
    "matmul": _matmul,
    "rotary": _rotary,
    "sgemm": _sgemm,
    "softmax": _softmax,
    "swiglu": _swiglu,
    "transpose": _transpose,
}
