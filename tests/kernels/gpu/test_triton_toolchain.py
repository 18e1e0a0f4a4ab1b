from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("triton") is None:
    pytest.skip("needs Triton: pip install 'rltuner[triton]'", allow_module_level=True)

import triton

from tests.kernels.gpu import kernels
from tuner.errors import BuildError, TunableError, WorkloadError
from tuner.gpus import GPUS, target_device
from tuner.kernels.gpu.arch import has_fp8
from tuner.kernels.gpu.binary import unpack
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.tunable import installed, load
from tuner.types import Config, Workload

HOPPER = target_device("cuda:90")
CONFIG = Config(BLOCK=256, num_warps=4)


def workload(**fields: int | str) -> Workload:
    return kernels.SCALE.workload({"N": 1000, **fields})


@pytest.mark.parametrize("target", ["cuda:80", "cuda:90", "cuda:100", "hip:gfx942"])
def test_a_kernel_compiles_for_a_gpu_that_is_not_here(target: str) -> None:
    device = target_device(target)
    artifact = kernels.SCALE.build(CONFIG, workload(), device)
    [binary] = unpack(artifact)
    assert binary.image[:4] == b"\x7fELF"
    assert (binary.entry, binary.target) == ("scale", target)
    assert binary.parameters == (("x_ptr", "*fp32"), ("out_ptr", "*fp32"), ("N", "i32"))
    assert binary.resources.threads == 4 * (64 if target.startswith("hip") else 32)
    assert 0 < binary.resources.registers < 100
    assert artifact.key == kernels.SCALE.build_key(CONFIG, workload(), device)
    assert kernels.SCALE.refusal(artifact, device) == ""


def test_building_twice_gives_the_same_artifact() -> None:
    first, second = (kernels.SCALE.build(CONFIG, workload(), HOPPER) for _ in range(2))
    assert first == second


def test_workloads_of_one_kind_share_a_build_and_others_do_not() -> None:
    keys = {
        name: kernels.SCALE.build_key(CONFIG, w, d)
        for name, w, d in (
            ("odd", workload(N=1001), HOPPER),
            ("also odd", workload(N=77), HOPPER),
            ("divisible", workload(N=1024), HOPPER),
            ("one", workload(N=1), HOPPER),
            ("half", workload(N=1001, dtype="fp16"), HOPPER),
            ("ampere", workload(N=1001), target_device("cuda:80")),
            ("cold", workload(N=1001, cache="cold"), HOPPER),
        )
    }
    assert keys["odd"] == keys["also odd"] == keys["cold"]
    assert len({keys[name] for name in ("odd", "divisible", "one", "half", "ampere")}) == 5
    assert kernels.SCALE.build_key(Config(BLOCK=64, num_warps=4), workload(N=1001), HOPPER) != keys["odd"]
    assert kernels.TRIPLE.build_key(CONFIG, workload(N=1001), HOPPER) != keys["odd"]


def test_dtypes_are_not_mixed_up_when_many_kernels_are_built() -> None:
    """Triton remembers dtypes by their address: stand-ins that come and go would be taken for each other."""
    for round_ in range(12):
        for dtype, kind in (("fp32", "*fp32"), ("fp16", "*fp16"), ("bf16", "*bf16")):
            [binary] = unpack(kernels.SCALE.build(CONFIG, workload(N=1000 + round_, dtype=dtype), HOPPER))
            assert [one for _, one in binary.parameters][:2] == [kind, kind]


def test_a_one_is_specialised_away() -> None:
    [binary] = unpack(kernels.SCALE.build(CONFIG, workload(N=1), HOPPER))
    assert [name for name, _ in binary.parameters] == ["x_ptr", "out_ptr"]


@pytest.mark.parametrize(
    ("kernel", "config", "message"),
    [
        (kernels.SCALE, Config(BLOCK=100, num_warps=4), "power of 2"),
        (kernels.SCALE, Config(BLOCK=256, num_warps=3), "num_warps must be a power of 2"),
        (kernels.kernel("needs_more"), CONFIG, "needs_more needs a value for 'missing'"),
        (kernels.kernel("wrong_language"), CONFIG, "no_such_thing"),
        (kernels.kernel("scale", options={"num_stagess": 2}), CONFIG, "num_stagess"),
    ],
    ids=["tile", "warps", "argument", "language", "option"],
)
def test_what_is_refused_is_one_clear_message(kernel: TritonKernel, config: Config, message: str) -> None:
    with pytest.raises(BuildError, match=message) as caught:
        kernel.build(config, workload(), HOPPER)
    assert len(str(caught.value)) < 700
    assert len(str(caught.value).splitlines()) <= 6


def test_after_a_refusal_the_next_build_works() -> None:
    with pytest.raises(BuildError):
        kernels.SCALE.build(Config(BLOCK=100, num_warps=4), workload(), HOPPER)
    assert kernels.SCALE.build(CONFIG, workload(), HOPPER).payload


def test_too_many_threads_are_pruned() -> None:
    artifact = kernels.SCALE.build(Config(BLOCK=1024, num_warps=64), workload(), HOPPER)
    assert "2048 threads" in kernels.SCALE.refusal(artifact, HOPPER)


def test_a_function_that_is_not_there() -> None:
    with pytest.raises(TunableError, match=r"no function 'nothing'; it has: .*scale"):
        kernels.kernel("nothing").build(CONFIG, workload(), HOPPER)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "dtype"),
    [("cuda:80", "bf16"), ("cuda:80", "int8"), ("cuda:90", "fp8"), ("cuda:100", "bf16"), ("hip:gfx942", "fp16")],
)
def test_the_default_product_runs_everywhere(target: str, dtype: str) -> None:
    matmul = load("triton:matmul")
    assert isinstance(matmul, TritonKernel)
    device = target_device(target)
    for rows in (8, 4096):
        fields = matmul.workload({"M": rows, "N": 4096, "K": 4096, "dtype": dtype})
        artifact = matmul.build(matmul.default(fields, device), fields, device)
        assert matmul.refusal(artifact, device) == "", rows


@pytest.mark.parametrize("descriptor", [False, True])
def test_blocks_of_eight_bit_products_are_added_in_float32(descriptor: bool, tmp_path: Path) -> None:
    matmul = load("triton:matmul")
    assert isinstance(matmul, TritonKernel)
    fields = matmul.workload({"M": 128, "N": 128, "K": 4096, "dtype": "fp8"})
    config = Config({**matmul.default(fields, HOPPER), "SPLIT_K": 1, "DESCRIPTOR": descriptor})
    [binary] = unpack(matmul.build(config, fields, HOPPER))
    (tmp_path / "matmul.cubin").write_bytes(binary.image)
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    told = subprocess.run([tool, "-sass", tmp_path / "matmul.cubin"], capture_output=True, text=True, check=True).stdout
    assert "QGMMA" in told
    # One addition for each sum that a thread keeps.
    sums = config.integer("BLOCK_M") * config.integer("BLOCK_N") // (32 * config.integer("num_warps"))
    assert told.count("FADD") >= sums


def test_tiles_loaded_by_descriptors_need_scratch_memory() -> None:
    matmul = load("triton:matmul")
    assert isinstance(matmul, TritonKernel)
    fields = matmul.workload({"M": 64, "N": 64, "K": 64})
    config = Config({**matmul.default(fields, HOPPER), "DESCRIPTOR": True})
    [binary] = unpack(matmul.build(config, fields, HOPPER))
    assert binary.scratch_bytes > 0
    assert binary.scratch_pointers == 2


def test_a_key_depends_on_the_functions_and_not_on_what_surrounds_them() -> None:
    matmul = load("triton:matmul")
    assert isinstance(matmul, TritonKernel)
    assert [path.name for path in matmul.sources()] == ["activation.py", "program.py"]


@pytest.mark.parametrize("name", [name for name, chains in installed().items() if "triton" in chains])
def test_every_workload_has_a_default_on_every_target(name: str) -> None:
    kernel = load(f"triton:{name}")
    assert isinstance(kernel, TritonKernel)
    for target in ("cuda:80", "cuda:89", "cuda:90", "cuda:100", "hip:gfx942"):
        device = target_device(target)
        for fields in kernel.workloads.values():
            assert kernel.workload(fields) == fields
            if fields.get("dtype") == "fp8" and not has_fp8(device):
                with pytest.raises(WorkloadError, match="multiplies no eight-bit floats"):
                    kernel.default(fields, device)
                continue
            config = kernel.default(fields, device)
            assert kernel.search_space(fields, device).violated(config) is None
            assert kernel.requests(config, fields, device)
            assert kernel.work(fields).flops > 0
            assert kernel.work(fields).bytes > 0
        first, *_ = kernel.workloads.values()
        edges = kernel.edges(first)
        assert edges
        assert first not in edges


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, chains in installed().items() if "triton" in chains])
def test_every_default_compiles_for_hopper(name: str) -> None:
    kernel = load(f"triton:{name}")
    assert isinstance(kernel, TritonKernel)
    first, *_ = kernel.workloads.values()
    artifact = kernel.build(kernel.default(first, HOPPER), first, HOPPER)
    assert kernel.refusal(artifact, HOPPER) == ""


def test_building_leaves_other_packages_findable() -> None:
    """Beside the functions lie `cuda.py` and `triton.py`, which must not hide the packages of these names."""
    code = """
import importlib, sys
from tuner.gpus import target_device
from tuner.tunable import load
kernel, device = load("triton:softmax"), target_device("cuda:90")
workload = kernel.workload({"M": 4, "N": 64})
kernel.build(kernel.default(workload, device), workload, device)
assert not any("softmax" in path for path in sys.path), sys.path
importlib.import_module("cuda.bindings.nvrtc")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("model", GPUS)
def test_every_workload_has_a_default_on_every_gpu(model: str) -> None:
    device = target_device(model)
    kernels = [load(f"{chain}:{name}") for name, chains in installed().items() for chain in chains if chain != "cpp"]
    for kernel in kernels:
        if device.kind in kernel.device_kinds:
            for workload in kernel.workloads.values():
                try:
                    config = kernel.default(workload, device)
                except WorkloadError as error:
                    assert "eight-bit floats" in str(error)  # noqa: PT017 - only some GPUs have them
                else:
                    assert kernel.search_space(workload, device).violated(config) is None, (kernel, workload)
