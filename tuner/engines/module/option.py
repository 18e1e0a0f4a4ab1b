"""What can be set of each library, and what goes together. Needs none of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.engines.base import EngineParameter, Route
from tuner.search_spaces import Constraint, Parameter
from tuner.types import Device, Scalar

__all__ = ["LIBRARIES", "WEIGHTS", "Problem", "constraints", "libraries_installed", "parameters"]

LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "onnx": ("torch", "onnxscript", "onnxruntime"),
    "openvino": ("torch", "onnxscript", "openvino"),
}
"""The packages that each engine needs; their versions enter a result."""

WEIGHTS = "nncf"
"""The package that compresses weights for OpenVINO; without it they stay as they are."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What the space depends on.

    Attributes:
        items: Items in a window.
        batch: Items that the default serves at once.
        convolutions: Whether the layout of images may matter.
        attention: Whether the implementation of attention may matter.
    """

    items: int
    batch: int
    convolutions: bool
    attention: bool


def libraries_installed() -> list[str]:
    """Return the engines whose packages are here, torch first; nothing is imported."""
    return [name for name, needed in LIBRARIES.items() if all(importlib.util.find_spec(one) for one in needed)]


def parameters(engines: Sequence[str], problem: Problem, device: Device) -> list[EngineParameter]:
    """Return the parameters of the engines: those that all have, then each one's own.

    With several engines, `ENGINE` chooses among them, and what only one has is inactive under the others.
    """
    several = len(engines) > 1
    found = [_shape("ENGINE", engines, "the library")] if several else []
    found += _shared(problem, device)
    own = {"torch": _torch(problem, device), "onnx": _onnx(), "openvino": _openvino(device)}
    for engine in engines:
        when = Constraint.parse(f"ENGINE == {engine!r}") if several else None
        found += [_under(one, when) for one in own[engine]]
    if device.kind == "cpu" and any(engine != "openvino" for engine in engines):
        # Their own pool for parallel operators, which OpenVINO does not have.
        found.append(_call("INTEROP", _powers(device.count), "set_num_interop_threads, inter_op_num_threads"))
    return found


def constraints(engines: Sequence[str], problem: Problem, device: Device) -> list[Constraint]:
    """Return what goes together."""
    if device.kind != "cpu":
        found = [
            Constraint.parse("CUDA_GRAPHS == False or COMPILE != 'graphs'", "one of them records the graph"),
            Constraint.parse("QUANTIZE == 'none' or COMPILE != 'off'", "on a GPU int8 pays only where it is fused"),
        ]
        if problem.attention:
            found.append(
                Constraint.parse(
                    "(SDPA != 'flash' and SDPA != 'cudnn') or DTYPE == 'bf16' or DTYPE == 'fp16'",
                    "these backends of attention take 16 bits alone",
                )
            )
        return found
    found = [
        Constraint.parse(f"THREADS * REPLICAS <= {device.count}", "the replicas' threads share the cores"),
        Constraint.parse(f"{problem.items} % (BATCH * REPLICAS) == 0", "replicas serve whole batches of one size"),
    ]
    if "torch" in engines:
        found += [
            Constraint.parse(
                "QUANTIZE != 'dynamic_int8' or (DTYPE == 'fp32' and COMPILE == 'off')",
                "dynamic int8 takes float32 and is not compiled",
            ),
        ]
    if "openvino" in engines:
        found.append(Constraint.parse("OV_STREAMS <= THREADS", "every stream needs a thread"))
    return found


def _shared(problem: Problem, device: Device) -> list[EngineParameter]:
    batches = sorted({1 << i for i in range(problem.items.bit_length())} | {problem.batch})
    sizes = [size for size in batches if problem.items % size == 0]
    batch = Parameter("BATCH", sizes, problem.batch, ordered=True)
    # Fewer, larger batches do the same with less around it.
    larger = [size for size in sizes if size > problem.batch]
    found = [EngineParameter(batch, Route.CALL, "batch", False, tuple(larger[-1:]))]
    if device.kind != "cpu":
        return [*found, _shape("DEVICE", [device.kind], "device")]
    threads = Parameter("THREADS", list(range(1, device.count + 1)), device.count, ordered=True)
    return [
        *found,
        EngineParameter(threads, Route.VARIABLE, "OMP_NUM_THREADS"),
        _call("REPLICAS", _powers(device.count), "processes"),
    ]


def _torch(problem: Problem, device: Device) -> list[EngineParameter]:
    on_cpu = device.kind == "cpu"
    found = [
        _shape(
            "DTYPE",
            ["fp32", "bf16", "fp16"] if on_cpu else ["fp32", "tf32", "bf16", "fp16"],
            "Module.to(dtype)",
            # A CPU without instructions for it takes several times as long.
            ("bf16",) if not on_cpu or any(device.features.get(unit) for unit in ("bf16_dot", "amx")) else (),
        ),
        _shape(
            "QUANTIZE",
            ["none", "dynamic_int8", "weight_int8"] if on_cpu else ["none", "weight_int8"],
            "quantize_dynamic",
            ("dynamic_int8",) if on_cpu and problem.attention else (),
        ),
        # One parameter for both: configs that differ in what makes a start long would fill the space otherwise.
        _shape(
            "COMPILE",
            ["off", "default", "freezing", "max-autotune"] if on_cpu else ["off", "default", "max-autotune", "graphs"],
            "torch.compile",
            # On a GPU, graphs save more of what small modules lose, without the minute.
            ("freezing",) if on_cpu else (),
        ),
    ]
    if problem.convolutions:
        layout = Parameter.boolean("CHANNELS_LAST")
        found.append(EngineParameter(layout, Route.CALL, "Module.to(memory_format)", first=(True,)))
    if problem.attention:
        backends = ["auto", "math", "flash"] if on_cpu else ["auto", "math", "flash", "efficient", "cudnn"]
        found.append(_shape("SDPA", backends, "sdpa_kernel"))
    if not on_cpu:
        graphs = Parameter.boolean("CUDA_GRAPHS")
        found.append(EngineParameter(graphs, Route.CALL, "torch.cuda.graph", first=(True,)))
    return found


def _onnx() -> list[EngineParameter]:
    return [
        _shape("ORT_PRECISION", ["fp32", "int8"], "quantize_dynamic", ("int8",)),
        _shape("ORT_OPTIMIZATION", ["all", "extended", "basic", "disable"], "graph_optimization_level"),
        EngineParameter(Parameter.boolean("ORT_PARALLEL"), Route.CALL, "execution_mode"),
        EngineParameter(Parameter.boolean("ORT_SPINNING", True), Route.CALL, "session.intra_op.allow_spinning"),
    ]


def _openvino(device: Device) -> list[EngineParameter]:
    return [
        _shape("OV_PRECISION", ["fp32", "bf16", "fp16"], "INFERENCE_PRECISION_HINT"),
        _shape(
            "OV_WEIGHTS",
            ["fp32", "int8"] if importlib.util.find_spec(WEIGHTS) else ["fp32"],
            "nncf.compress_weights",
            ("int8",),
        ),
        _shape("OV_HINT", ["latency", "throughput"], "PERFORMANCE_HINT"),
        _call("OV_STREAMS", _powers(device.count), "NUM_STREAMS"),
    ]


def _shape(name: str, values: Sequence[Scalar], target: str, first: tuple[Scalar, ...] = ()) -> EngineParameter:
    return EngineParameter(Parameter.categorical(name, values), Route.CALL, target, first=first)


def _call(name: str, values: Sequence[int], target: str) -> EngineParameter:
    return EngineParameter(Parameter(name, values, ordered=True), Route.CALL, target)


def _powers(most: int) -> list[int]:
    return [1 << i for i in range(most.bit_length())]


def _under(one: EngineParameter, when: Constraint | None) -> EngineParameter:
    """Return the parameter, inactive unless `when` holds; a condition of its own holds only under it as well."""
    own = one.parameter
    if when is None:
        return one
    both = Constraint.parse(f"{when.text} and {own.when.text}") if own.when else when
    conditioned = Parameter(own.name, own.values, own.default, own.ordered, both)
    return EngineParameter(conditioned, one.route, one.target, one.restarts, one.first)
