"""The first checks: the device beside the table, and one kernel through Triton's launcher and through ours."""

from __future__ import annotations

import statistics
from typing import Any

import triton
import triton.testing

from benchmarks.gpu.step import Run, kernel_of, median_text, table
from tuner.devices import detect_gpu
from tuner.gpus import GPUS, known_gpu, limits_of
from tuner.kernels.gpu.bench import GpuLauncher
from tuner.kernels.gpu.binary import unpack
from tuner.kernels.gpu.check import cases
from tuner.kernels.gpu.driver import Driver, Function
from tuner.kernels.gpu.memory import Memory, same_bits, torch_of
from tuner.kernels.gpu.nvml import GpuConditions
from tuner.kernels.gpu.occupancy import occupancy
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.types import Build, Config

__all__ = ["first_checks"]

# A few configs of a few kernels: large shared memory, descriptors, two launches, a row kernel.
_CASES: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("triton:softmax", {"M": 1024, "N": 4096}, {}),
    ("triton:matmul", {"M": 512, "N": 1024, "K": 1024}, {"DESCRIPTOR": False}),
    ("triton:matmul", {"M": 512, "N": 1024, "K": 1024}, {"SPLIT_K": 1}),
    ("triton:matmul", {"M": 512, "N": 1024, "K": 1024}, {"PERSISTENT": True, "SPLIT_K": 1}),
    ("triton:matmul", {"M": 1, "N": 6144, "K": 4096}, {}),
    ("triton:matmul", {"M": 16, "N": 1024, "K": 4096}, {"SPLIT_K": 8}),
    ("cuda:softmax", {"M": 1024, "N": 4096}, {}),
    ("cuda:softmax", {"M": 128, "N": 16384, "dtype": "fp32"}, {"KEEP": True}),
    ("cuda:matmul", {"M": 4096, "N": 4096, "K": 4096}, {}),
)
_CALLS = 50
_ROUNDS = 11


def first_checks(run: Run) -> dict[str, Any]:
    """Return the device, its limits beside the table's, and how both launchers compare."""
    torch = torch_of()
    device = detect_gpu()
    torch.zeros(1, device="cuda")
    model = known_gpu(device)
    ours = limits_of(device).features()
    theirs = (model or GPUS["h100"]).limits.features()
    print(f"{device.name} ({device.arch}), {device.memory_bytes / 2**30:.1f} GiB; in the table: {bool(model)}")
    rows = [[name, ours[name], theirs[name], "" if ours[name] == theirs[name] else "DIFFERS"] for name in ours]
    table(["limit", "device", "table", ""], rows)
    conditions = GpuConditions().seen()
    print(f"conditions: {conditions}")
    launches = [_compared(run, *case) for case in _CASES]
    table(
        ["kernel", "config", "ours us", "JIT us", "ours / JIT", "same bits", "registers", "driver", "JIT", "blocks"],
        [
            [
                one["kernel"],
                one["config"],
                median_text(one["seconds"]),
                median_text(one["jit_seconds"]) if one["jit_seconds"] else "-",
                f"{one['seconds'] / one['jit_seconds']:.3f}" if one["jit_seconds"] else "-",
                one["same_bits"],
                one["registers"],
                one["driver_registers"],
                one["jit_registers"],
                f"{one['blocks']} (driver {one['driver_blocks']})",
            ]
            for one in launches
        ],
    )
    return {
        "device": device.to_json(),
        "table": model.name if model else None,
        "limits_that_differ": [name for name in ours if ours[name] != theirs[name]],
        "conditions": conditions,
        "launches": launches,
    }


def _compared(run: Run, reference: str, fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    torch = torch_of()
    kernel, device = kernel_of(reference), detect_gpu()
    workload = kernel.workload(fields)
    config = Config({**kernel.default(workload, device), **changes})
    assert kernel.search_space(workload, device).violated(config) is None, config
    artifact = kernel.build(config, workload, device)
    binaries = unpack(artifact)
    driver = Driver()
    job = kernel.job(Build(config, artifact), workload, device)
    launcher = GpuLauncher(driver, job, torch.device("cuda", 0), torch.empty(1, dtype=torch.uint8, device="cuda"))
    memory = Memory(kernel.operator.inputs(workload), kernel.operator.outputs(workload), "cuda")
    case = next(cases(kernel.operator, workload, run.seed, "cuda"))
    memory.fill(case.inputs)
    launcher.run(memory)
    ours = {name: tensor.clone() for name, tensor in memory.outputs.items()}
    torch.cuda.synchronize()
    seconds = statistics.median(launcher.time([memory], _CALLS).wall / _CALLS for _ in range(_ROUNDS))
    functions = [Function(driver, binary) for binary in binaries]
    found = {
        "kernel": reference,
        "workload": dict(workload),
        "config": " ".join(f"{name}={value}" for name, value in changes.items()) or "default",
        "seconds": seconds,
        "registers": [one.resources.registers for one in binaries],
        "driver_registers": [one.attribute("NUM_REGS") for one in functions],
        "blocks": [occupancy(one.resources, limits_of(device)).blocks for one in binaries],
        "driver_blocks": [one.blocks() for one in functions],
        "jit_seconds": None,
        "jit_registers": None,
        "same_bits": None,
    }
    if isinstance(kernel, TritonKernel):
        found |= _by_triton(kernel, config, workload, device, memory, ours)
    launcher.close()
    return found


def _by_triton(
    kernel: TritonKernel, config: Config, workload: Any, device: Any, memory: Memory, ours: dict[str, Any]
) -> dict[str, Any]:
    """Return what Triton's own compiler and launcher make of the same call."""
    torch = torch_of()
    # Building has left its stand-in for the driver.
    triton.runtime.driver.reset_active()
    if hasattr(triton, "set_allocator"):
        triton.set_allocator(lambda size, _, __: torch.empty(size, dtype=torch.int8, device="cuda"))
    program = kernel.program(config, workload, device)
    scratch = {
        name: torch.empty(spec.shape, dtype=torch.int32 if spec.dtype == "int32" else torch.float32, device="cuda")
        for name, spec in program.scratch.items()
    }
    compiled: list[Any] = []

    def call() -> None:
        compiled.clear()
        tensors = {**memory.tensors, **scratch}
        for bound in kernel.bound(program, config, workload):
            values = {name: tensors[v] if isinstance(v, str) else v for name, v in bound.values.items()}
            options = {"enable_fp_fusion": True, **bound.launch.options}
            function = kernel.function(bound.launch.entry)
            compiled.append(function[bound.launch.grid](**values, **bound.constants, **options))

    for function in {bound.launch.entry for bound in kernel.bound(program, config, workload)}:
        kernel.function(function).device_caches.clear()
    memory.poison(0x4B)
    call()
    torch.cuda.synchronize()
    same = all(same_bits(tensor, ours[name]) for name, tensor in memory.outputs.items())
    registers = [one.n_regs for one in compiled]
    milliseconds = triton.testing.do_bench_cudagraph(call, return_mode="median")
    for bound in kernel.bound(program, config, workload):
        kernel.function(bound.launch.entry).device_caches.clear()
    return {"same_bits": same, "jit_registers": registers, "jit_seconds": 1e-3 * milliseconds}
