"""Triton kernels, run by Triton's interpreter on small and edge shapes, each in a process of its own."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

if find_spec("triton") is None or find_spec("torch") is None:
    pytest.skip("needs Triton and torch: pip install 'rltuner[triton]' torch", allow_module_level=True)

from tests.kernels.gpu import kernels
from tuner.errors import TunerError
from tuner.gpus import target_device
from tuner.kernels.toolchains.interpreter import interpreted
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.tunable import installed, load
from tuner.types import Config, Scalar

HERE = f"{kernels.__file__}"
HOPPER = target_device("cuda:90")
# Shapes that no tile divides, one row, one column; products in dtypes that the interpreter multiplies rightly.
SHAPES: dict[str, list[dict[str, Scalar]]] = {
    "add_rmsnorm": [{"M": 3, "N": 777, "dtype": "fp32"}, {"M": 1, "N": 1, "dtype": "fp16"}],
    "cross_entropy": [{"M": 5, "N": 1000, "dtype": "fp16"}, {"M": 1, "N": 2, "dtype": "fp32"}],
    "flash_prefill": [
        {"HQ": 4, "HKV": 2, "S": 75, "D": 16, "dtype": "fp16"},
        {"B": 2, "HQ": 2, "HKV": 2, "S": 40, "D": 48, "dtype": "fp16", "mask": "none"},
        {"HQ": 1, "HKV": 1, "S": 1, "D": 16, "dtype": "fp16"},
    ],
    "fused_moe": [{"T": 33, "N": 37, "K": 48, "E": 5, "TOPK": 2, "dtype": "fp16"}],
    "layernorm": [{"M": 3, "N": 777, "dtype": "fp32"}, {"M": 2, "N": 300, "dtype": "fp16", "residual": "yes"}],
    "matmul": [
        {"M": 50, "N": 70, "K": 96, "dtype": "fp16", "epilogue": "bias_gelu"},
        {"M": 1, "N": 33, "K": 48, "dtype": "fp16", "epilogue": "silu_mul"},
        {"M": 33, "N": 40, "K": 64, "dtype": "int8"},
        {"M": 1, "N": 40, "K": 592, "dtype": "int8"},
    ],
    "paged_attention": [
        {"B": 3, "HQ": 6, "HKV": 2, "S": 100, "D": 16, "dtype": "fp16"},
        {"B": 1, "HQ": 1, "HKV": 1, "S": 1, "D": 16, "dtype": "fp16"},
    ],
    "quantized_linear": [
        {"M": 5, "N": 37, "K": 192, "BITS": 4, "GROUP": 64, "dtype": "fp16"},
        {"M": 1, "N": 40, "K": 96, "BITS": 8, "GROUP": 96, "dtype": "fp16"},
    ],
    "rotary": [{"T": 7, "H": 5, "D": 12, "S": 50, "dtype": "fp32"}],
    "softmax": [{"M": 5, "N": 1000, "dtype": "fp16"}, {"M": 1, "N": 1, "dtype": "fp32"}],
    "swiglu": [{"M": 5, "N": 333, "dtype": "fp16"}],
}
CASES = [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]


def test_every_triton_kernel_is_checked() -> None:
    assert set(SHAPES) == {name for name, chains in installed().items() if "triton" in chains}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), CASES, ids=[f"{n}-{'-'.join(map(str, s.values()))}" for n, s in CASES])
def test_configs_are_right_on_every_distribution(name: str, shape: dict[str, Scalar]) -> None:
    kernel = load(f"triton:{name}")
    assert isinstance(kernel, TritonKernel)
    workload = kernel.workload(shape)
    space = kernel.search_space(workload, HOPPER)
    configs = [kernel.default(workload, HOPPER), *space.sample(np.random.default_rng(len(CASES)), 3)]
    for config, verdict in zip(configs, interpreted(f"triton:{name}", shape, configs), strict=True):
        assert verdict.error == "", config
        assert verdict.rel_error < 2**-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("MULTIPLIES", {"PROGRAMS": 2, "REPEATS": 3, "DEPTH_BYTES": 128, "dtype": "fp16"}),
        ("MULTIPLIES_AND_ADDS", {"N": 700, "REPEATS": 2}),
        ("MOVES", {"N": 5000, "pattern": "triad"}),
    ],
)
def test_what_peaks_are_measured_with_computes_what_it_says(name: str, fields: dict[str, Scalar]) -> None:
    reference = f"tuner.kernels.probe.triton:{name}"
    kernel = load(reference)
    configs = list(kernel.search_space(kernel.workload(fields), HOPPER).iterate())[:2]
    assert [verdict.error for verdict in interpreted(reference, fields, configs)] == [""] * len(configs)


def test_a_wrong_kernel_is_found() -> None:
    config = Config(BLOCK=256, num_warps=4)
    [right] = interpreted(f"{HERE}:SCALE", {"N": 1000}, [config])
    [wrong] = interpreted(f"{HERE}:TRIPLE", {"N": 1000}, [config])
    [beyond] = interpreted(f"{HERE}:UNMASKED", {"N": 1000}, [config])
    assert right.error == ""
    assert "values are wrong" in wrong.error
    assert "wrote outside of its 4000 bytes" in beyond.error


def test_products_of_bfloat16_are_refused() -> None:
    fields: dict[str, Scalar] = {"M": 16, "N": 16, "K": 32, "dtype": "bf16"}
    matmul = load("triton:matmul")
    config = matmul.default(matmul.workload(fields), HOPPER)
    with pytest.raises(TunerError, match="raw bits of bfloat16"):
        interpreted("triton:matmul", fields, [config])
