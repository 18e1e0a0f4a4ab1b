"""The formula beside NVIDIA's own, in C, which comes with Triton."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tuner.gpus import GPUS, Gpu, limits_of, target_device
from tuner.kernels.gpu.binary import Binary, Resources
from tuner.kernels.gpu.occupancy import occupancy
from tuner.kernels.gpu.pruning import Pruning

PROGRAM = r"""
#include <stdio.h>
#include <stddef.h>
#include <string.h>
#include <limits.h>
#include <cuda_occupancy.h>
int main(void) {
  int major, minor, threads_block, threads_sm, regs_block, regs_sm, shared_optin, shared_sm, reserved;
  int threads, regs, shared, barriers;
  while (scanf("%d %d %d %d %d %d %d %d %d %d %d %d %d", &major, &minor, &threads_block, &threads_sm, &regs_block,
               &regs_sm, &shared_optin, &shared_sm, &reserved, &threads, &regs, &shared, &barriers) == 13) {
    struct cudaOccDeviceProp device;
    struct cudaOccFuncAttributes function;
    struct cudaOccDeviceState state;
    struct cudaOccResult result;
    memset(&device, 0, sizeof device); memset(&function, 0, sizeof function); memset(&state, 0, sizeof state);
    device.computeMajor = major; device.computeMinor = minor; device.maxThreadsPerBlock = threads_block;
    device.maxThreadsPerMultiprocessor = threads_sm; device.regsPerBlock = regs_block;
    device.regsPerMultiprocessor = regs_sm; device.warpSize = 32; device.sharedMemPerBlock = 49152;
    device.sharedMemPerMultiprocessor = shared_sm; device.numSms = 1; device.sharedMemPerBlockOptin = shared_optin;
    device.reservedSharedMemPerBlock = reserved;
    function.maxThreadsPerBlock = INT_MAX; function.numRegs = regs; function.sharedSizeBytes = 0;
    function.partitionedGCConfig = PARTITIONED_GC_OFF; function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    function.maxDynamicSharedSizeBytes = shared; function.numBlockBarriers = barriers;
    state.carveoutConfig = SHAREDMEM_CARVEOUT_DEFAULT;
    int status = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, threads, shared);
    printf("%d\n", status == CUDA_OCC_SUCCESS ? result.activeBlocksPerMultiprocessor : -status);
  }
  return 0;
}
"""

NVIDIA = [gpu for gpu in GPUS.values() if gpu.kind == "cuda"]
CASES = 4000


@pytest.fixture(scope="module")
def calculator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler, triton = shutil.which("gcc"), find_spec("triton")
    if compiler is None or triton is None or triton.origin is None:
        pytest.skip("needs gcc, and NVIDIA's header from Triton: pip install triton")
    folder = tmp_path_factory.mktemp("occupancy")
    (folder / "main.c").write_text(PROGRAM)
    include = Path(triton.origin).parent / "backends/nvidia/include"
    subprocess.run([compiler, "-O1", "-w", f"-I{include}", "main.c", "-o", "main"], cwd=folder, check=True)
    return folder / "main"


def told(calculator: Path, gpu: Gpu, cases: list[Resources]) -> list[int]:
    limits, version = gpu.limits, gpu.target.partition(":")[2]
    device = [
        *(version[:-1], version[-1], limits.block_threads, limits.multiprocessor_threads, limits.block_registers),
        *(limits.multiprocessor_registers, limits.block_shared_bytes, limits.multiprocessor_shared_bytes),
        limits.reserved_shared_bytes,
    ]
    lines = [" ".join(map(str, [*device, c.threads, c.registers, c.shared_bytes, c.barriers])) for c in cases]
    done = subprocess.run([calculator], input="\n".join(lines), capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.parametrize("gpu", NVIDIA, ids=[gpu.name for gpu in NVIDIA])
def test_occupancy_is_what_nvidia_s_own_calculator_says(calculator: Path, gpu: Gpu) -> None:
    rng = np.random.default_rng(5)
    cases = [
        Resources(
            threads=int(rng.integers(1, 1025)),
            registers=int(rng.integers(16, 256)),
            shared_bytes=int(rng.integers(2) * rng.integers(gpu.limits.block_shared_bytes + 4096)),
            barriers=int(rng.integers(1, 17)),
        )
        for _ in range(CASES)
    ]
    theirs = told(calculator, gpu, cases)
    assert len(theirs) == CASES
    assert min(theirs) == 0
    assert max(theirs) > 4
    for case, blocks in zip(cases, theirs, strict=True):
        assert occupancy(case, gpu.limits).blocks == blocks, case


@pytest.mark.parametrize("gpu", NVIDIA, ids=[gpu.name for gpu in NVIDIA])
def test_pruning_refuses_exactly_what_no_multiprocessor_holds(calculator: Path, gpu: Gpu) -> None:
    rng = np.random.default_rng(7)
    cases = [
        Resources(int(rng.integers(32, 1025)), int(rng.integers(16, 256)), int(rng.integers(0, 250_000)))
        for _ in range(CASES)
    ]
    for case, blocks in zip(cases, told(calculator, gpu, cases), strict=True):
        refusal = Pruning().refusal([Binary("f", gpu.target, b"", (), case)], gpu.limits)
        assert bool(refusal) == (blocks == 0), case


@pytest.mark.parametrize(
    ("resources", "reason"),
    [
        (Resources(2048, 16, 0), "2048 threads, and may have 1024"),
        (Resources(128, 16, 240_000), "240000 bytes of shared memory, and may take 232448"),
        (Resources(1024, 128, 0), "no block fits"),
        (Resources(128, 255, 0, spill_bytes=4000), "spills 4000 bytes"),
    ],
)
def test_a_refusal_says_what_is_too_much(resources: Resources, reason: str) -> None:
    binary = Binary("attention", "cuda:90", b"", (), resources)
    refusal = Pruning().refusal([binary], limits_of(target_device("h100")))
    assert refusal.startswith("attention: ")
    assert reason in refusal


def test_lds_and_registers_bound_an_amd_compute_unit() -> None:
    limits = limits_of(target_device("mi300x"))
    assert occupancy(Resources(256, 64, 0), limits).blocks == 8
    assert occupancy(Resources(256, 256, 0), limits).blocks == 2
    assert occupancy(Resources(256, 64, 40_000), limits).blocks == 1
    assert occupancy(Resources(256, 64, 70_000), limits).blocks == 0
