"""Ratios of the tuned C++ kernels to torch on one thread: interleaved pairs in one process, on the same inputs.

    python -m benchmarks.cpu_kernels --kernel int8_gemv --trials 40 --json ratios.json

A ratio below 1 means that the tuned kernel is faster. Torch's side is the fastest of its eager formulations, found by
timing them on the spot. Both sides are timed by the same clock around a call from Python, so each pays for its call.
Where outputs are as large as inputs (ALLOCATING), the kernel's are allocated at each call, as torch's are; both from
memory that the process has already.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import gelu, layer_norm, linear, rms_norm, scaled_dot_product_attention, silu, softmax

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.db import MemoryStore
from tuner.devices import detect_cpu
from tuner.kernels.add_rmsnorm.cpp import KERNEL as ADD_RMSNORM
from tuner.kernels.add_rmsnorm.operator import EPSILON
from tuner.kernels.check import Arguments, check
from tuner.kernels.clock import Elapsed
from tuner.kernels.decode_attention.cpp import KERNEL as DECODE_ATTENTION
from tuner.kernels.flash_prefill.cpp import KERNEL as FLASH_PREFILL
from tuner.kernels.int8_gemv.cpp import KERNEL as INT8_GEMV
from tuner.kernels.layernorm.cpp import KERNEL as LAYERNORM
from tuner.kernels.layernorm.operator import EPSILON as LAYERNORM_EPSILON
from tuner.kernels.sgemm.cpp import KERNEL as SGEMM
from tuner.kernels.skinny_gemm.cpp import KERNEL as SKINNY_GEMM
from tuner.kernels.softmax.cpp import KERNEL as SOFTMAX
from tuner.kernels.swiglu.cpp import KERNEL as SWIGLU
from tuner.kernels.timing import interleave
from tuner.kernels.toolchains.cpp import CppKernel, CppLauncher
from tuner.kernels.transpose.cpp import KERNEL as TRANSPOSE
from tuner.runners import LocalRunner, Runner
from tuner.statistics import Ratio, median, paired_ratio
from tuner.tuning import tune
from tuner.types import Config, Sampling, Workload

Tensors = Mapping[str, torch.Tensor]
Formulation = Callable[[], Sequence[torch.Tensor]]

KERNELS = {
    kernel.name: kernel
    for kernel in (
        ADD_RMSNORM,
        DECODE_ATTENTION,
        FLASH_PREFILL,
        INT8_GEMV,
        LAYERNORM,
        SGEMM,
        SKINNY_GEMM,
        SOFTMAX,
        SWIGLU,
        TRANSPOSE,
    )
}

# Operators whose outputs are as large as their inputs.
ALLOCATING = ("add_rmsnorm", "flash_prefill", "layernorm", "sgemm", "softmax", "swiglu", "transpose")
# mallopt's options, from malloc.h, and the largest threshold that glibc takes in all of its versions.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT_BYTES = 32 << 20
# Rounds that find the fastest of torch's formulations.
SCREENING_ROUNDS = 15
# Largest difference between torch and the kernel, relative to the largest output; torch rounds weights and outputs to
# bfloat16 where its inputs are.
AGREEMENT = {torch.bfloat16: 2e-2, torch.float32: 1e-4}


def int8_gemv_in_torch(workload: Workload, inputs: Tensors) -> dict[str, Formulation]:
    """Return torch's weight-only product in bfloat16, and a product with weights dequantised beforehand."""
    x, weight, scale = inputs["x"], inputs["weight"], inputs["scale"]
    dequantised = (weight.float() * scale.float()[:, None]).to(x.dtype)
    formulations: dict[str, Formulation] = {"linear, dequantised": lambda: [linear(x, dequantised)]}
    if workload["dtype"] == "bf16":
        # With float32 activations it has no optimised path.
        formulations["_weight_int8pack_mm"] = lambda: [torch._weight_int8pack_mm(x, weight, scale)]
    return formulations


def decode_attention_in_torch(workload: Workload, inputs: Tensors) -> dict[str, Formulation]:
    """Return attention with the query heads of a group as so many query tokens, and with grouped heads."""
    batch, heads, kv_heads, size = (workload.integer(name) for name in ("B", "HQ", "HKV", "D"))
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    folded, single = q.view(batch, kv_heads, heads // kv_heads, size), q[:, :, None]
    return {
        "sdpa, group as query length": lambda: [scaled_dot_product_attention(folded, k, v)],
        "sdpa, enable_gqa": lambda: [scaled_dot_product_attention(single, k, v, enable_gqa=True)],
    }


def add_rmsnorm_in_torch(workload: Workload, inputs: Tensors) -> dict[str, Formulation]:
    """Return the sum followed by `rms_norm`, and followed by its formula."""
    x, residual, weight = inputs["x"], inputs["residual"], inputs["weight"]

    def function() -> list[torch.Tensor]:
        total = x + residual
        return [rms_norm(total, (workload.integer("N"),), weight, EPSILON), total]

    def formula() -> list[torch.Tensor]:
        total = x + residual
        return [total * torch.rsqrt(total.pow(2).mean(-1, keepdim=True) + EPSILON) * weight, total]

    return {"rms_norm": function, "formula": formula}


def flash_prefill_in_torch(workload: Workload, inputs: Tensors) -> dict[str, Formulation]:
    """Return causal attention with grouped heads, and with keys and values repeated for each head beforehand."""
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    group = workload.integer("HQ") // workload.integer("HKV")
    keys, values = (x.repeat_interleave(group, 1) for x in (k, v))
    formulations: dict[str, Formulation] = {
        "sdpa, causal": lambda: [scaled_dot_product_attention(q, keys, values, is_causal=True)]
    }
    if group > 1:
        formulations["sdpa, causal, enable_gqa"] = lambda: [
            scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        ]
    return formulations


def sgemm_in_torch(workload: Workload, inputs: Tensors) -> dict[str, Formulation]:
    """Return the product with `b` as it is, and with `b` transposed beforehand, each followed by GELU if asked for."""
    a, b, bias = inputs["a"], inputs["b"], inputs["bias"]
    transposed = b.t().contiguous()
    if workload["epilogue"] == "none":
        return {"mm": lambda: [torch.mm(a, b)], "linear": lambda: [linear(a, transposed)]}
    return {
        "addmm, gelu": lambda: [gelu(torch.addmm(bias, a, b), approximate="tanh")],
        "linear, gelu": lambda: [gelu(linear(a, transposed, bias), approximate="tanh")],
        "linear, gelu in place": lambda: [torch.ops.aten.gelu_(linear(a, transposed, bias), approximate="tanh")],
    }


def skinny_gemm_in_torch(workload: Workload, inputs: Tensors) -> dict[str, Formulation]:
    """Return the product with `weight` as it is, and with `weight` transposed beforehand."""
    x, weight = inputs["x"], inputs["weight"]
    formulations: dict[str, Formulation] = {"linear": lambda: [linear(x, weight)]}
    if workload["dtype"] == "fp32":
        # In bfloat16 it takes a hundred times as long, where the processor has no such instructions.
        transposed = weight.t().contiguous()
        formulations["mm, transposed"] = lambda: [torch.mm(x, transposed)]
    return formulations


def layernorm_in_torch(workload: Workload, inputs: Tensors) -> dict[str, Formulation]:
    """Return `layer_norm`."""
    x, weight, bias = inputs["x"], inputs["weight"], inputs["bias"]
    shape = (workload.integer("N"),)
    return {"layer_norm": lambda: [layer_norm(x, shape, weight, bias, LAYERNORM_EPSILON)]}


def softmax_in_torch(_: Workload, inputs: Tensors) -> dict[str, Formulation]:
    """Return `softmax`."""
    x = inputs["x"]
    return {"softmax": lambda: [softmax(x, -1)]}


def swiglu_in_torch(_: Workload, inputs: Tensors) -> dict[str, Formulation]:
    """Return the product of `silu` with the other input, in a tensor of its own and in place."""
    gate, up = inputs["gate"], inputs["up"]
    return {"silu * up": lambda: [silu(gate) * up], "silu, in place * up": lambda: [silu(gate).mul_(up)]}


def transpose_in_torch(_: Workload, inputs: Tensors) -> dict[str, Formulation]:
    """Return a contiguous copy of the transposed view."""
    x = inputs["x"]
    return {"t().contiguous()": lambda: [x.t().contiguous()]}


IN_TORCH: Mapping[str, Callable[[Workload, Tensors], dict[str, Formulation]]] = {
    "add_rmsnorm": add_rmsnorm_in_torch,
    "decode_attention": decode_attention_in_torch,
    "flash_prefill": flash_prefill_in_torch,
    "int8_gemv": int8_gemv_in_torch,
    "layernorm": layernorm_in_torch,
    "sgemm": sgemm_in_torch,
    "skinny_gemm": skinny_gemm_in_torch,
    "softmax": softmax_in_torch,
    "swiglu": swiglu_in_torch,
    "transpose": transpose_in_torch,
}


def embedded(launcher: CppLauncher, arguments: Arguments, *, fresh: bool) -> Callable[[], object]:
    """Return the call as serving code would make it: by address, where `fresh` on outputs that torch allocates."""
    function, pointers = launcher.function, arguments.pointers
    if not fresh:
        return lambda: function(*pointers)
    inputs = pointers[: len(arguments.inputs)]
    shapes = [(array.shape, tensor(array).dtype) for array in arguments.outputs.values()]

    def call() -> list[torch.Tensor]:
        outputs = [torch.empty(shape, dtype=dtype) for shape, dtype in shapes]
        function(*inputs, *[output.data_ptr() for output in outputs])
        return outputs

    return call


@dataclass
class Timed:
    """A callable under the clock that both sides share."""

    function: Callable[[], object]

    def call(self, _: Arguments) -> None:
        """Call once."""
        self.function()

    def time(self, _: Arguments, calls: int) -> Elapsed:
        """Return the seconds of `calls` calls from Python."""
        wall, cpu = time.perf_counter(), time.thread_time()
        for _unused in range(calls):
            self.function()
        return Elapsed(time.perf_counter() - wall, time.thread_time() - cpu)

    def evict(self, _: Arguments) -> None:
        """Refuse: what torch keeps is not known here."""
        raise NotImplementedError


@dataclass(frozen=True)
class Result:
    """One workload's ratios, with what they came from."""

    kernel: str
    workload: str
    fields: dict[str, Any]
    formulation: str
    tuned: dict[str, Any]
    default: dict[str, Any]
    tuned_to_torch: Ratio
    tuned_to_default: Ratio
    torch_pairs: dict[str, tuple[float, ...]]
    default_pairs: dict[str, tuple[float, ...]]

    @property
    def milliseconds(self) -> list[float]:
        """Median times of the tuned kernel, of its default and of torch."""
        pairs = (
            self.torch_pairs["tuned_seconds"],
            self.default_pairs["default_seconds"],
            self.torch_pairs["torch_seconds"],
        )
        return [1e3 * median(samples) for samples in pairs]


def compare(kernel: CppKernel, name: str, trials: int, pairs: int, seed: int, runner: Runner) -> Result:
    """Tune `kernel` on the workload `name`, then time it, its default and torch interleaved."""
    workload, device = kernel.workloads[name], detect_cpu()
    default = kernel.default(workload, device)
    tuned = tune(f"cpp:{kernel.name}", name, trials=trials, seed=seed, runner=runner, store=MemoryStore()).config

    # Inputs that the search did not see.
    cases = list(kernel.operator.cases(workload, seed + 1, thorough=True))
    outputs = {key: (output.shape, output.dtype) for key, output in kernel.operator.outputs(workload).items()}
    arguments = Arguments(cases[0].inputs, outputs)
    launchers = {config: launcher(kernel, config, workload) for config in (tuned, default)}
    verdicts = check([one.call for one in launchers.values()], arguments, cases, kernel.operator.allowed(workload))
    for config, verdict in zip(launchers, verdicts, strict=True):
        if verdict.error:
            raise SystemExit(f"{kernel.name} {name}: {config} is wrong: {verdict.error}")

    tensors = {key: tensor(array) for key, array in arguments.inputs.items()}
    formulations = IN_TORCH[kernel.name](workload, tensors)
    for formulation, call in formulations.items():
        agree(f"{kernel.name} {name}: {formulation}", call(), arguments)
    names = list(formulations)
    times = seconds_of([Timed(formulations[name]) for name in names], arguments, Sampling(seed, SCREENING_ROUNDS))
    best = min(zip(formulations, times, strict=True), key=lambda pair: median(pair[1]))[0]

    fresh = kernel.name in ALLOCATING
    ours, untuned = (Timed(embedded(launchers[config], arguments, fresh=fresh)) for config in (tuned, default))
    # Two at a time: among three, the one in the middle would never run after itself, as the outer ones do.
    beside_torch, torchs = seconds_of([ours, Timed(formulations[best])], arguments, Sampling(seed, pairs, 60.0))
    beside_default, defaults = seconds_of([ours, untuned], arguments, Sampling(seed, pairs, 60.0))
    return Result(
        kernel=kernel.name,
        workload=name,
        fields=dict(workload),
        formulation=best,
        tuned=dict(tuned),
        default=dict(default),
        tuned_to_torch=paired_ratio(beside_torch, torchs),
        tuned_to_default=paired_ratio(beside_default, defaults),
        torch_pairs={"tuned_seconds": beside_torch, "torch_seconds": torchs},
        default_pairs={"tuned_seconds": beside_default, "default_seconds": defaults},
    )


def seconds_of(calls: Sequence[Timed], arguments: Arguments, sampling: Sampling) -> list[tuple[float, ...]]:
    """Return the seconds of each call in interleaved rounds."""
    return [timing.samples["seconds"] for timing in interleave(calls, arguments, sampling)]


def keep_freed_memory() -> None:
    """Have malloc keep what is freed, where it can be told so.

    Else, some outputs of megabytes would come with a page fault every 4 KiB, which takes several times as long as
    filling them, and the order of earlier calls would decide which side pays for it.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)


def launcher(kernel: CppKernel, config: Config, workload: Workload) -> CppLauncher:
    """Return `config`, built and loaded."""
    return kernel.load(kernel.build(config, workload, detect_cpu()))


def tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    """Return `array` as a tensor on the same memory; `uint16` holds bfloat16."""
    if array.dtype == np.uint16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def agree(label: str, outputs: Sequence[torch.Tensor], arguments: Arguments) -> None:
    """Compare torch's outputs with those that the kernel left in `arguments`."""
    for output, array in zip(outputs, arguments.outputs.values(), strict=True):
        ours = tensor(array).float().flatten()
        difference = (output.float().flatten() - ours).abs().max() / ours.abs().max()
        if not float(difference) <= AGREEMENT[output.dtype]:
            raise SystemExit(f"{label}: torch and the kernel differ by {float(difference):.2g} of the largest output")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, tune and compare, print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--kernel", action="append", choices=sorted(KERNELS), help="may be repeated; default: all")
    parser.add_argument("--workload", action="append", help="a named workload; may be repeated; default: all")
    parser.add_argument("--trials", type=int, default=40, help="trials of each campaign (default %(default)s)")
    parser.add_argument("--pairs", type=int, default=100, help="interleaved rounds (default %(default)s)")
    options = options_of(
        parser, arguments, {"kernel": ["layernorm"], "workload": ["gpt2-decode"], "trials": 2, "pairs": 5}
    )
    report = Report("cpu_kernels", options, arguments)

    keep_freed_memory()
    torch.set_num_threads(1)
    runner = LocalRunner()
    results = []
    for kernel_name in options.kernel or sorted(KERNELS):
        kernel = KERNELS[kernel_name]
        for name in kernel.workloads:
            if options.workload and name not in options.workload:
                continue
            result = compare(kernel, name, options.trials, options.pairs, options.seed, runner)
            results.append(result)
            print(f"{kernel_name:17} {name:27} {interval(result.tuned_to_torch)}", flush=True)
    runner.close()
    report.finish([asdict(result) for result in results], [table(results)])


def table(results: Sequence[Result]) -> Table:
    """Return the ratios, and the milliseconds that they come from."""
    rows = [
        [
            result.kernel,
            result.workload,
            interval(result.tuned_to_torch),
            interval(result.tuned_to_default),
            ", ".join(f"{time:.3g}" for time in result.milliseconds),
            result.formulation,
        ]
        for result in results
    ]
    titles = ["kernel", "workload", "tuned / torch", "tuned / default", "ms: tuned, default, torch", "torch's fastest"]
    return Table("cpu_kernels", titles, rows)


def interval(ratio: Ratio) -> str:
    """Return the ratio with its 95% interval."""
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


if __name__ == "__main__":
    main()
