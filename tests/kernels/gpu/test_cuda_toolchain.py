from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("cuda") is None:
    pytest.skip("needs cuda-bindings: pip install 'rltuner[cuda]'", allow_module_level=True)

from tests.kernels.gpu.kernels import OPERATOR
from tuner.errors import BuildError
from tuner.gpus import target_device
from tuner.kernels.gpu.binary import unpack
from tuner.kernels.gpu.launch import blocks
from tuner.kernels.toolchains.cuda import CudaKernel
from tuner.search_spaces import Parameter, SearchSpace
from tuner.tunable import installed, load
from tuner.types import Config

HOPPER = target_device("cuda:90")
CONFIG = Config(THREADS=128, MAXNREG=0)
SPACE = SearchSpace([Parameter("THREADS", (128, 256)), Parameter("MAXNREG", (0, 32))])
SOURCE = """
#include "types.cuh"
extern "C" __global__ void __launch_bounds__(THREADS) kernel(const DTYPE *x, DTYPE *out) {
  __shared__ float copy[THREADS];
  const int i = blockIdx.x * THREADS + threadIdx.x;
  copy[threadIdx.x] = i < N ? wide(x[i]) : 0.0f;
  __syncthreads();
  if (i < N) out[i] = narrow<DTYPE>(2.0f * copy[THREADS - 1 - threadIdx.x]);
}
"""


def kernel(folder: Path, source: str = SOURCE) -> CudaKernel:
    path = folder / "scale.cu"
    path.write_text(source)
    return CudaKernel(
        OPERATOR, path, SPACE, grid=lambda config, w: (blocks(w.integer("N"), config.integer("THREADS")),)
    )


@pytest.mark.parametrize("target", ["cuda:80", "cuda:90", "cuda:100"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_kernel_compiles_for_a_gpu_that_is_not_here(tmp_path: Path, target: str, dtype: str) -> None:
    ours = kernel(tmp_path)
    artifact = ours.build(CONFIG, ours.workload({"N": 1000, "dtype": dtype}), target_device(target))
    [binary] = unpack(artifact)
    assert binary.image[:4] == b"\x7fELF"
    assert b"kernel" in binary.image
    assert [name for name, _ in binary.parameters] == ["x", "out"]
    assert binary.resources.threads == 128
    assert binary.resources.shared_bytes == 512
    assert 4 < binary.resources.registers < 64
    assert ours.refusal(artifact, target_device(target)) == ""


def test_macros_and_headers_are_part_of_the_key(tmp_path: Path) -> None:
    ours = kernel(tmp_path, SOURCE.replace('"types.cuh"', '"types.cuh"\n#include "own.cuh"'))
    workload = ours.workload({"N": 1000})
    (tmp_path / "own.cuh").write_text("")
    first = ours.build_key(CONFIG, workload, HOPPER)
    assert first == ours.build_key(CONFIG, workload, HOPPER)
    assert first != ours.build_key(Config({**CONFIG, "THREADS": 256}), workload, HOPPER)
    assert first != ours.build_key(CONFIG, ours.workload({"N": 1001}), HOPPER)
    (tmp_path / "own.cuh").write_text("// changed")
    assert first != ours.build_key(CONFIG, workload, HOPPER)


def test_a_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    ours = kernel(tmp_path, SOURCE.replace("2.0f * copy", "2.0f * cpoy"))
    with pytest.raises(BuildError, match=r'scale.cu\(8\): error: identifier "cpoy" is undefined'):
        ours.build(CONFIG, ours.workload({"N": 1000}), HOPPER)


def test_a_bound_on_registers_reaches_the_compiler(tmp_path: Path) -> None:
    # Sixty values that are all needed at the end.
    many = "".join(f"float v{j} = wide(x[(i + {j}) % N]);" for j in range(60)) + "__syncthreads();"
    product = "*".join(f"(v{j} + v{(7 * j + 3) % 60})" for j in range(60))
    source = SOURCE.replace("__syncthreads();", many, 1).replace("2.0f *", f"{product} *")
    ours = kernel(tmp_path, source.replace("__launch_bounds__(THREADS)", ""))
    workload = ours.workload({"N": 1000})
    free, bound = (unpack(ours.build(Config(THREADS=128, MAXNREG=n), workload, HOPPER))[0] for n in (0, 32))
    assert bound.resources.registers <= 32 < free.resources.registers


@pytest.mark.parametrize("name", [name for name, chains in installed().items() if "cuda" in chains])
def test_the_default_of_every_kernel_and_workload_fits(name: str) -> None:
    ours = load(f"cuda:{name}")
    assert isinstance(ours, CudaKernel)
    for target in ("cuda:80", "cuda:90"):
        device = target_device(target)
        for workload in list(ours.workloads.values())[:2]:
            config = ours.default(workload, device)
            assert ours.search_space(workload, device).violated(config) is None
            assert ours.refusal(ours.build(config, workload, device), device) == "", workload
