"""CUDA C++ kernels, run on a CPU on small and edge shapes, with tensor cores as NVIDIA's manual describes them."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

if find_spec("torch") is None or (shutil.which("g++") or shutil.which("clang++")) is None:
    pytest.skip("needs torch and a C++ compiler: pip install torch; apt-get install g++", allow_module_level=True)

from tuner.errors import TunerError
from tuner.gpus import target_device
from tuner.kernels.toolchains.cuda import CudaKernel
from tuner.kernels.toolchains.emulator import emulated
from tuner.tunable import installed, load
from tuner.types import Config, Scalar

HOPPER = target_device("cuda:90")
# Shapes that no tile divides, one row, one value.
SHAPES: dict[str, list[dict[str, Scalar]]] = {
    "add_rmsnorm": [{"M": 3, "N": 776, "dtype": "fp16"}],
    "sgemm": [{"M": 70, "N": 36, "K": 44}],
    "softmax": [{"M": 3, "N": 1000}, {"M": 1, "N": 1, "dtype": "fp32"}],
    "stencil": [{"NX": 37, "NY": 11, "NZ": 5}],
    "transpose": [{"M": 70, "N": 35}],
}
CASES = [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]

TILE = Config(TILE_M=32, TILE_N=32, TILE_K=32, WARP_M=16, WARP_N=32, STAGES=3, SWIZZLE=True, GROUP_M=4, SPLIT_K=1)
# Every way in which rows lie, stages follow each other, and sums are stored, with shapes that no tile divides.
PRODUCTS: list[tuple[dict[str, Scalar], dict[str, Scalar]]] = [
    ({"M": 33, "N": 37, "K": 336, "dtype": "bf16"}, {}),
    ({"M": 33, "N": 40, "K": 336, "dtype": "bf16"}, {"TILE_K": 64, "STAGES": 2, "WARP_N": 16}),
    ({"M": 70, "N": 64, "K": 48, "dtype": "fp16"}, {"SWIZZLE": False, "STAGES": 2, "TILE_M": 64, "WARP_M": 32}),
    ({"M": 33, "N": 37, "K": 592, "dtype": "fp16"}, {"SPLIT_K": 4, "STAGES": 4}),
    ({"M": 70, "N": 38, "K": 592, "dtype": "fp8"}, {"TILE_K": 64, "STAGES": 6}),
    ({"M": 1, "N": 38, "K": 592, "dtype": "int8"}, {"SPLIT_K": 2, "TILE_K": 128, "TILE_M": 16, "WARP_N": 16}),
    ({"M": 1, "N": 1, "K": 16, "dtype": "bf16"}, {}),
]
# What takes one of these out is wrong, whatever order threads run in on a GPU of the day.
FAULTS = {
    "no barrier": (
        "        copies_wait<STAGES - 2>();\n        __syncthreads();",
        "        copies_wait<STAGES - 2>();",
    ),
    "another word": ("weights[buffer][n][1] = words[1]", "weights[buffer][n][1] = words[2]"),
}

# Each thread's value comes from its neighbour, through shared memory.
TWICE = """
#include "types.cuh"
extern "C" __global__ void kernel(const DTYPE *x, DTYPE *out) {
  __shared__ float copy[64];
  const int lane = threadIdx.x, next = (lane + 1) % 64, from = blockIdx.x * 64 + next, to = blockIdx.x * 64 + lane;
  copy[next] = from < N ? wide(x[from]) : 0.0f;
  if (FAULT != 1) {
    if (FAULT != 2 || lane) __syncthreads();
  }
  if (FAULT == 3 || to < N) out[to] = narrow<DTYPE>(2.0f * copy[lane]);
}
"""


def test_every_cuda_kernel_is_checked() -> None:
    assert {*SHAPES, "matmul"} == {name for name, chains in installed().items() if "cuda" in chains}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), CASES, ids=[f"{n}-{'-'.join(map(str, s.values()))}" for n, s in CASES])
def test_configs_are_right_on_every_distribution(name: str, shape: dict[str, Scalar]) -> None:
    kernel = load(f"cuda:{name}")
    assert isinstance(kernel, CudaKernel)
    workload = kernel.workload(shape)
    space = kernel.search_space(workload, HOPPER)
    configs = [kernel.default(workload, HOPPER), *space.sample(np.random.default_rng(len(CASES)), 1)]
    for config, verdict in zip(configs, emulated(f"cuda:{name}", shape, configs), strict=True):
        assert verdict.error == "", config
        assert verdict.rel_error < 2**-7


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "changes"), PRODUCTS, ids=["-".join(map(str, s.values())) for s, _ in PRODUCTS])
def test_products_are_right_where_values_lie_as_the_manual_says(
    shape: dict[str, Scalar], changes: dict[str, Scalar]
) -> None:
    kernel = load("cuda:matmul")
    config = Config({**TILE, **changes})
    assert kernel.search_space(kernel.workload(shape), HOPPER).violated(config) is None
    [verdict] = emulated("cuda:matmul", shape, [config], thorough=False)
    assert verdict.error == ""
    assert verdict.rel_error < 2**-7


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_product_is_found(fault: str, tmp_path: Path) -> None:
    kernel = load("cuda:matmul")
    assert isinstance(kernel, CudaKernel)
    source, (right, wrong) = kernel.source.read_text(), FAULTS[fault]
    assert source.count(right) == 1
    (tmp_path / "matmul.cu").write_text(source.replace(right, wrong))
    (tmp_path / "page.py").write_text(
        "from pathlib import Path\n"
        "from tuner.kernels.matmul.cuda import KERNEL as RIGHT\n"
        "from tuner.kernels.toolchains.cuda import CudaKernel\n"
        "KERNEL = CudaKernel(RIGHT.operator, Path(__file__).with_name('matmul.cu'), RIGHT._space, RIGHT.program)\n"
    )
    [verdict] = emulated(
        f"{tmp_path / 'page.py'}:KERNEL", {"M": 33, "N": 40, "K": 336}, [Config({**TILE, "WARP_N": 16})]
    )
    assert "values are wrong" in verdict.error


@pytest.fixture
def twice(tmp_path: Path) -> str:
    """A kernel that doubles, right with FAULT=0."""
    (tmp_path / "twice.cu").write_text(TWICE)
    (tmp_path / "twice.py").write_text(
        "from pathlib import Path\n"
        "from tests.kernels.gpu.kernels import OPERATOR\n"
        "from tuner.kernels.gpu.launch import blocks\n"
        "from tuner.kernels.toolchains.cuda import CudaKernel\n"
        "from tuner.search_spaces import Parameter, SearchSpace\n"
        "KERNEL = CudaKernel(OPERATOR, Path(__file__).with_name('twice.cu'),\n"
        "    SearchSpace([Parameter('FAULT', (0, 1, 2, 3))]), threads=lambda _: 64,\n"
        "    grid=lambda _, workload: (blocks(workload.integer('N'), 64),))\n"
    )
    return f"{tmp_path / 'twice.py'}:KERNEL"


def test_what_is_wrong_is_found(twice: str) -> None:
    right, no_barrier, beyond = emulated(twice, {"N": 1000}, [Config(FAULT=fault) for fault in (0, 1, 3)])
    assert right.error == ""
    assert "values are wrong" in no_barrier.error
    assert "wrote outside of its 4000 bytes" in beyond.error


def test_a_barrier_that_some_never_come_to_is_told(twice: str) -> None:
    with pytest.raises(TunerError, match="some threads wait at a barrier that others never come to"):
        emulated(twice, {"N": 1000}, [Config(FAULT=2)])
