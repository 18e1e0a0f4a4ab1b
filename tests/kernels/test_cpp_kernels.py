import ctypes
import dataclasses
import re
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuner.devices import detect_cpu
from tuner.errors import BuildError
from tuner.kernels.add_rmsnorm.cpp import KERNEL as ADD_RMSNORM
from tuner.kernels.base import Field, Operator, Output
from tuner.kernels.check import Arguments
from tuner.kernels.clock import Elapsed
from tuner.kernels.decode_attention.cpp import KERNEL as DECODE_ATTENTION
from tuner.kernels.flash_prefill.cpp import KERNEL as FLASH_PREFILL
from tuner.kernels.int8_gemv.cpp import KERNEL as INT8_GEMV
from tuner.kernels.layernorm.cpp import KERNEL as LAYERNORM
from tuner.kernels.sgemm.cpp import KERNEL as SGEMM
from tuner.kernels.skinny_gemm.cpp import KERNEL as SKINNY_GEMM
from tuner.kernels.softmax.cpp import KERNEL as SOFTMAX
from tuner.kernels.swiglu.cpp import KERNEL as SWIGLU
from tuner.kernels.toolchains.cpp import CppKernel, CppLauncher
from tuner.kernels.transpose.cpp import KERNEL as TRANSPOSE
from tuner.search_spaces import Parameter, SearchSpace
from tuner.types import Build, Config, Device, Measurement, Sampling, Scalar, Status, Work, Workload

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

Inputs = Callable[[dict[str, Any]], dict[str, Any]]

# Shapes that leave something over: rows, tokens and heads that no tile divides, one of a kind, and the usual ones.
SHAPES: list[tuple[str, dict[str, Scalar]]] = [
    ("add_rmsnorm", {"M": 1, "N": 64}),
    ("add_rmsnorm", {"M": 3, "N": 320}),
    ("add_rmsnorm", {"M": 16, "N": 2560}),
    ("decode_attention", {"HQ": 1, "HKV": 1, "S": 1, "D": 32}),
    ("decode_attention", {"B": 2, "HQ": 6, "HKV": 2, "S": 37, "D": 96}),
    ("decode_attention", {"B": 1, "HQ": 7, "HKV": 1, "S": 131, "D": 64, "KV_DTYPE": "fp32"}),
    ("decode_attention", {"B": 1, "HQ": 8, "HKV": 2, "S": 600, "D": 128}),
    ("flash_prefill", {"HQ": 1, "HKV": 1, "S": 1, "D": 32}),
    ("flash_prefill", {"B": 2, "HQ": 4, "HKV": 2, "S": 131, "D": 96}),
    ("flash_prefill", {"HQ": 1, "HKV": 1, "S": 500, "D": 64}),
    ("int8_gemv", {"M": 1, "N": 1, "K": 64}),
    ("int8_gemv", {"M": 3, "N": 37, "K": 192, "dtype": "fp32"}),
    ("int8_gemv", {"M": 5, "N": 29, "K": 1088}),
    ("int8_gemv", {"M": 16, "N": 64, "K": 1024}),
    ("layernorm", {"M": 1, "N": 64}),
    ("layernorm", {"M": 7, "N": 320}),
    ("layernorm", {"M": 18, "N": 1600}),
    ("sgemm", {"M": 1, "N": 16, "K": 1}),
    ("sgemm", {"M": 107, "N": 208, "K": 300, "epilogue": "bias_gelu"}),
    ("skinny_gemm", {"M": 1, "N": 1, "K": 64}),
    ("skinny_gemm", {"M": 3, "N": 37, "K": 192, "dtype": "fp32"}),
    ("skinny_gemm", {"M": 16, "N": 29, "K": 1088}),
    ("softmax", {"M": 1, "N": 64}),
    ("softmax", {"M": 3, "N": 2624}),
    ("softmax", {"M": 2, "N": 9728}),
    ("swiglu", {"M": 1, "N": 64}),
    ("swiglu", {"M": 3, "N": 320}),
    ("swiglu", {"M": 4, "N": 9728}),
    ("transpose", {"M": 80, "N": 112}),
    ("transpose", {"M": 208, "N": 48}),
    ("transpose", {"M": 256, "N": 2048}),
]
# For kernels that can multiply in other ways than by one fused multiply-add a number.
UNITS: list[dict[str, Scalar]] = [{"UNIT": "dot", "ROWS": 2, "BATCH": 4}, {"UNIT": "tile", "TILES": 1, "PREFETCH": 1}]

# What machines this is not run on report of themselves.
FEATURES: dict[str, dict[str, Scalar]] = {
    "avx512": {
        "l1d_bytes": 48 << 10,
        "l2_bytes": 2 << 20,
        "l3_bytes": 32 << 20,
        "vector_bytes": 64,
        "vector_registers": 32,
    },
    "avx512_vnni": {
        "l1d_bytes": 48 << 10,
        "l2_bytes": 1 << 20,
        "l3_bytes": 32 << 20,
        "vector_bytes": 64,
        "vector_registers": 32,
        "int8_dot": True,
        "bf16_dot": True,
    },
    "avx_vnni": {
        "l1d_bytes": 48 << 10,
        "l2_bytes": 2 << 20,
        "l3_bytes": 24 << 20,
        "vector_bytes": 32,
        "vector_registers": 16,
        "int8_dot": True,
    },
    "amx": {
        "l1d_bytes": 48 << 10,
        "l2_bytes": 2 << 20,
        "l3_bytes": 105 << 20,
        "vector_bytes": 64,
        "vector_registers": 32,
        "int8_dot": True,
        "bf16_dot": True,
        "amx": True,
    },
    "neon": {
        "l1d_bytes": 64 << 10,
        "l2_bytes": 1 << 20,
        "l3_bytes": 32 << 20,
        "vector_bytes": 16,
        "vector_registers": 32,
    },
    "sse": {
        "l1d_bytes": 32 << 10,
        "l2_bytes": 256 << 10,
        "l3_bytes": 8 << 20,
        "vector_bytes": 16,
        "vector_registers": 16,
    },
}


@pytest.fixture(scope="module")
def device() -> Device:
    return detect_cpu()


@pytest.fixture(scope="module")
def narrow(device: Device) -> Device:
    """This machine with vectors of 32 bytes at most, for shapes and tiles that wider ones do not divide."""
    vector_bytes = min(32, device.feature("vector_bytes"))
    return dataclasses.replace(device, features={**device.features, "vector_bytes": vector_bytes})


def build_all(kernel: CppKernel, configs: Sequence[Config], workload: Workload, device: Device) -> list[Build]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda config: Build(config, kernel.build(config, workload, device)), configs))


@pytest.mark.parametrize(("name", "fields"), SHAPES)
def test_default_and_random_configs_are_correct(name: str, fields: dict[str, Scalar], device: Device) -> None:
    kernel = KERNELS[name]
    workload = kernel.workload(fields)
    space = kernel.search_space(workload, device)
    configs = [space.default, *space.sample(np.random.default_rng(len(repr(fields))), 4)]
    builds = build_all(kernel, configs, workload, device)
    for build, measurement in zip(builds, kernel.measure(builds, workload, Sampling(7, 1)), strict=True):
        assert measurement.status is Status.CORRECT, f"{build.config}: {measurement.error}"
        assert measurement.samples["seconds"][0] > 0


@pytest.mark.parametrize(
    "choice",
    [
        {"CHUNK": 512, "PACK": True, "WORDS": True, "ROWS": 2},
        {"CHUNK": 512, "PACK": False},
        {"CHUNK": 1024, "ROWS": 3, "BATCH": 2, "UNROLL": 2},
        {"PREFETCH": 2, "LOCALITY": 2},
        *UNITS,
    ],
    ids=repr,
)
def test_int8_gemv_parameters_do_not_change_the_result(choice: dict[str, Scalar], device: Device) -> None:
    # The last chunk is shorter than the others, and so is the last tile of rows and of activations.
    workload = INT8_GEMV.workload({"M": 5, "N": 31, "K": 1216, "dtype": "fp32"})
    assert measure_one(INT8_GEMV, choice, workload, device).status is Status.CORRECT


@pytest.mark.parametrize("choice", [{}, *UNITS], ids=repr)
@pytest.mark.parametrize(("change", "wrong"), [("wide", 0), ("zeros", 0), ("nan", 1), ("infinity", 1)])
def test_int8_gemv_holds_for_extreme_activations(
    choice: dict[str, Scalar], change: str, wrong: int, device: Device
) -> None:
    workload = INT8_GEMV.workload({"M": 5, "N": 53, "K": 320, "dtype": "fp32"})
    rng = np.random.default_rng(1)
    arguments = Arguments(INT8_GEMV.operator.inputs(workload, rng), {"out": ((5, 53), "float32")})
    x = arguments.inputs["x"]
    if change == "wide":
        # A row of tiny numbers, one of huge ones, one of both.
        x[0] *= 1e-30
        x[1] *= 1e30
        x[2] *= np.logspace(-6, 0, 320)
    elif change == "zeros":
        x[3] = 0
    else:
        x[3, 7] = np.nan if change == "nan" else np.inf
    config = in_space(INT8_GEMV, choice, workload, device)
    INT8_GEMV.load(INT8_GEMV.build(config, workload, device)).call(arguments)
    with np.errstate(invalid="ignore"):
        expected = INT8_GEMV.operator.reference(workload, arguments.inputs)["out"]
    scale = np.abs(np.where(np.isfinite(expected), expected, 0)).max(axis=1, keepdims=True) + 1e-38
    out = arguments.outputs["out"]
    assert np.all(np.isclose(out, expected, rtol=0, atol=1e-5 * scale, equal_nan=True))
    assert np.sum(~np.isfinite(out).all(axis=1)) == wrong


@pytest.mark.parametrize("unit", ["dot", "tile"])
@pytest.mark.parametrize(("activations", "smallest", "largest"), [("int8", 1e-3, 2e-2), ("exact", 0, 1e-5)])
def test_int8_gemv_approximates_only_where_it_may(
    unit: str, activations: str, smallest: float, largest: float, device: Device
) -> None:
    plain = INT8_GEMV.workload({"M": 5, "N": 53, "K": 320, "dtype": "fp32"})
    workload = Workload({**plain, "rel_error": 2e-2})
    assert "ACTIVATIONS" not in INT8_GEMV.search_space(plain, device).default
    config = in_space(
        INT8_GEMV,
        {"UNIT": unit, "ACTIVATIONS": activations, **({"ROWS": 2} if unit == "dot" else {})},
        workload,
        device,
    )
    arguments = Arguments(INT8_GEMV.operator.inputs(workload, np.random.default_rng(1)), {"out": ((5, 53), "float32")})
    INT8_GEMV.load(INT8_GEMV.build(config, workload, device)).call(arguments)
    expected = INT8_GEMV.operator.reference(workload, arguments.inputs)["out"]
    error = np.abs(arguments.outputs["out"] - expected).max() / np.abs(expected).max()
    assert smallest <= error <= largest


@pytest.mark.parametrize(
    "choice",
    [
        {"WORDS": True, "GROUP": 2, "K_ROWS": 2, "V_VECTORS": 4},
        {"WORDS": False, "GROUP": 1, "K_ROWS": 4, "V_ROWS": 16, "V_VECTORS": 4},
        {"BLOCK": 16, "SPLITS": 4, "V_ROWS": 4},
        {"BLOCK": 64, "PREFETCH": 1024, "EARLY": True},
        {"UNIT": "tile", "BLOCK": 64, "PREFETCH": 1024},
        {"UNIT": "tile", "BLOCK": 128, "EARLY": True},
    ],
    ids=repr,
)
def test_decode_attention_holds_for_extreme_scores(choice: dict[str, Scalar], device: Device) -> None:
    workload = DECODE_ATTENTION.workload({"B": 1, "HQ": 4, "HKV": 1, "S": 203, "D": 64})

    def spread(workload: Workload, rng: np.random.Generator) -> dict[str, Any]:
        """Scores of some hundreds, which float32 exponentials would not survive without their maximum."""
        inputs = dict(operator.inputs(workload, rng))
        # A bfloat16 times 64: six more in its exponent.
        return {**inputs, "q": inputs["q"] + np.uint16(6 << 7)}

    operator = DECODE_ATTENTION.operator
    harder = CppKernel(
        dataclasses.replace(operator, inputs=spread),
        DECODE_ATTENTION.source,
        DECODE_ATTENTION.search_space(workload, device),
    )
    measurement = measure_one(harder, choice, workload, device)
    assert measurement.status is Status.CORRECT, measurement.error


def with_inputs(kernel: CppKernel, change: Inputs, workload: Workload, device: Device) -> CppKernel:
    """Return `kernel` on inputs that `change` makes harder."""
    operator = kernel.operator

    def harder(workload: Workload, rng: np.random.Generator) -> dict[str, Any]:
        return change(dict(operator.inputs(workload, rng)))

    space = kernel.search_space(workload, device)
    # Compiled as the kernel is: the toolchain's own flags let sums be reassociated.
    return CppKernel(dataclasses.replace(operator, inputs=harder), kernel.source, space, kernel._flags)


@pytest.mark.parametrize(
    "choice",
    [
        {"KEEP": 0, "STREAM": True},
        {"KEEP": 0, "BLOCK": 512, "UNROLL": 2, "ACCUMULATORS": 1},
        {"KEEP": 1, "BLOCK": 512},
        {"KEEP": 2, "BLOCK": 2048, "STREAM": True, "PREFETCH": 512},
    ],
    ids=repr,
)
# The largest number first, last, and in between: later blocks shrink what came before, or are small beside it.
@pytest.mark.parametrize("largest", [0, 1300, 2623])
def test_softmax_holds_for_extreme_scores(choice: dict[str, Scalar], largest: int, device: Device) -> None:
    workload = SOFTMAX.workload({"M": 2, "N": 2624})

    def spread(inputs: dict[str, Any]) -> dict[str, Any]:
        """Far from zero, with one number that is large and others whose exponential float32 cannot hold."""
        x = inputs["x"] - 1000
        x[:, largest] += 20
        x[:, 7::50] -= 500
        return {"x": x}

    measurement = measure_one(with_inputs(SOFTMAX, spread, workload, device), choice, workload, device)
    assert measurement.status is Status.CORRECT, measurement.error


@pytest.mark.parametrize("choice", [{"ONE_PASS": False}, {"ONE_PASS": True}, {"ONE_PASS": True, "ROWS": 2}], ids=repr)
def test_layernorm_holds_far_from_zero_and_without_variance(choice: dict[str, Scalar], device: Device) -> None:
    workload = LAYERNORM.workload({"M": 5, "N": 768})

    def shift(inputs: dict[str, Any]) -> dict[str, Any]:
        """Means a hundred times what the numbers differ by; one row of the same number only."""
        x = inputs["x"] + 100
        x[3] = 3.0
        return {**inputs, "x": x}

    # Two accumulators, since those of two rows and of four do not all fit in 16 registers.
    config = {**choice, "ACCUMULATORS": 2}
    measurement = measure_one(with_inputs(LAYERNORM, shift, workload, device), config, workload, device)
    assert measurement.status is Status.CORRECT, measurement.error


@pytest.mark.parametrize("share", [1, 2, 8])
def test_swiglu_holds_for_extreme_gates(share: int, device: Device) -> None:
    workload = SWIGLU.workload({"M": 2, "N": 320})

    def spread(inputs: dict[str, Any]) -> dict[str, Any]:
        """Gates up to some hundreds, and zero: exponentials of those overflow float32, or vanish."""
        gate = inputs["gate"] * 50
        gate[:, ::9] = 0
        return {**inputs, "gate": gate}

    measurement = measure_one(
        with_inputs(SWIGLU, spread, workload, device), {"UNROLL": 8, "SHARE": share}, workload, device
    )
    assert measurement.status is Status.CORRECT, measurement.error


@pytest.mark.parametrize(
    "choice",
    [
        {"QUERIES": 48, "KEYS": 96, "ROWS": 6, "VECTORS": 2, "UNROLL": 1},
        {"QUERIES": 192, "KEYS": 16, "ROWS": 4, "VECTORS": 1, "UNROLL": 8, "PACK": True},
        {"QUERIES": 32, "KEYS": 192, "ROWS": 2, "PACK": True},
    ],
    ids=repr,
)
def test_flash_prefill_holds_for_extreme_scores(choice: dict[str, Scalar], narrow: Device) -> None:
    # The last block of queries and the last tile of keys are shorter than the others.
    workload = FLASH_PREFILL.workload({"B": 1, "HQ": 2, "HKV": 1, "S": 203, "D": 64})

    def spread(inputs: dict[str, Any]) -> dict[str, Any]:
        """Scores beyond a hundred; tokens that few may see have the largest keys."""
        k = inputs["k"] * np.linspace(1, 4, 203, dtype=np.float32)[:, None]
        # Few terms: a score of a hundred that rounds 64 times is not exact enough for the tolerance.
        k[..., np.arange(64) % 16 > 0] = 0
        return {**inputs, "q": inputs["q"] * 16, "k": k}

    measurement = measure_one(with_inputs(FLASH_PREFILL, spread, workload, narrow), choice, workload, narrow)
    assert measurement.status is Status.CORRECT, measurement.error


@pytest.mark.parametrize(
    "choice",
    [
        {"MR": 2, "NRV": 3, "MC": 48, "KC": 64, "NC": 96, "PACK_A": False, "PACK_B": False, "PREFETCH": 4},
        {"MR": 4, "NRV": 1, "MC": 48, "KC": 131, "NC": 96, "PACK_A": True, "PACK_B": False, "OPT": 2},
        {"MR": 3, "NRV": 2, "MC": 96, "KC": 64, "NC": 208, "PACK_A": False, "PACK_B": True, "UNROLL": 8},
    ],
    ids=repr,
)
def test_sgemm_holds_for_extreme_sums(choice: dict[str, Scalar], device: Device) -> None:
    # No tile and no block divides it, in any direction.
    workload = SGEMM.workload({"M": 101, "N": 208, "K": 131, "epilogue": "bias_gelu"})

    def spread(inputs: dict[str, Any]) -> dict[str, Any]:
        """Biases of some hundreds, whose exponentials float32 cannot hold, and of zero."""
        return {**inputs, "bias": np.repeat(np.array([-300, -20, 0, 300], dtype=np.float32), 52)}

    measurement = measure_one(with_inputs(SGEMM, spread, workload, device), choice, workload, device)
    assert measurement.status is Status.CORRECT, measurement.error


@pytest.mark.parametrize(
    ("dtype", "choice"),
    [
        ("bf16", {"CHUNK": 512, "PACK": True, "WORDS": True, "ROWS": 2}),
        ("bf16", {"CHUNK": 512, "PACK": False, "BATCH": 5, "ROWS": 2}),
        ("bf16", {"UNIT": "tile"}),
        ("bf16", {"UNIT": "tile", "TILES": 3, "PREFETCH": 1, "LOCALITY": 2}),
        ("fp32", {"CHUNK": 1024, "ROWS": 3, "BATCH": 2, "UNROLL": 2}),
        ("fp32", {"PACK": False, "PREFETCH": 2, "LOCALITY": 2}),
    ],
    ids=repr,
)
def test_skinny_gemm_parameters_do_not_change_the_result(dtype: str, choice: dict[str, Scalar], device: Device) -> None:
    # The last chunk is shorter than the others, and so is the last tile of rows and of activations.
    workload = SKINNY_GEMM.workload({"M": 5, "N": 31, "K": 1216, "dtype": dtype})
    assert measure_one(SKINNY_GEMM, choice, workload, device).status is Status.CORRECT


@pytest.mark.parametrize("along_out", [False, True])
@pytest.mark.parametrize("buffer", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_transpose_parameters_do_not_change_the_result(
    along_out: bool, buffer: bool, stream: bool, narrow: Device
) -> None:
    # No tile divides it: the last tiles are lower, narrower, and both.
    workload = TRANSPOSE.workload({"M": 80, "N": 112})
    choice = {"UNROLL": 2, "TILE_M": 32, "TILE_N": 64, "ALONG_OUT": along_out, "BUFFER": buffer, "STREAM": stream}
    measurement = measure_one(TRANSPOSE, {**choice, "PREFETCH": stream}, workload, narrow)
    assert measurement.status is Status.CORRECT, measurement.error


def in_space(kernel: CppKernel, choice: dict[str, Scalar], workload: Workload, device: Device) -> Config:
    """Return the default with some parameters changed, which must be in the space; skip what the device lacks."""
    space = kernel.search_space(workload, device)
    units = next((parameter.values for parameter in space.parameters if parameter.name == "UNIT"), ())
    if choice.get("UNIT", "fma") not in (*units, "fma"):
        pytest.skip(f"needs a CPU with the unit {choice['UNIT']}: one that has AMX, or dot products in one instruction")
    # Most parameters are of the plainest unit, which is no device's default that has another.
    config = Config({**space.default, **({"UNIT": "fma"} if units else {}), **choice})
    assert space.contains(config), space.violated(config)
    return config


def measure_one(kernel: CppKernel, choice: dict[str, Scalar], workload: Workload, device: Device) -> Measurement:
    """Build and measure the default with some parameters changed, which must be in the space."""
    config = in_space(kernel, choice, workload, device)
    (measurement,) = kernel.measure(build_all(kernel, [config], workload, device), workload, Sampling(3, 1))
    return measurement


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("machine", FEATURES)
def test_spaces_suit_other_machines(name: str, machine: str) -> None:
    kernel = KERNELS[name]
    features = FEATURES[machine]
    other = Device("cpu", machine, machine, 1, 1 << 34, features=features)
    shapes = [kernel.workload(fields) for shape, fields in SHAPES if shape == name]
    workloads = [*kernel.workloads.values(), *shapes]
    for edge in [edge for workload in workloads for edge in kernel.edges(workload)]:
        space = kernel.search_space(edge, other)
        assert space.contains(space.default)
    for workload in workloads:
        space = kernel.search_space(workload, other)
        assert space.contains(space.default)
        assert space.size > 100
        lanes = {int(config["LANES"]) for config in space.sample(np.random.default_rng(0), 50)}
        assert max(lanes) * 4 <= int(features["vector_bytes"])


def test_loads_lay_everything_out_anew(monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    kernel = KERNELS["add_rmsnorm"]
    workload = kernel.workload({"M": 2, "N": 64})
    builds = build_all(kernel, [kernel.default(workload, device)] * 2, workload, device)
    functions, addresses = set(), set()

    def time(self: CppLauncher, arguments: Arguments, calls: int) -> Elapsed:
        functions.add(ctypes.cast(self.function, ctypes.c_void_p).value)
        addresses.add(tuple(arguments.pointers))
        return timed(self, arguments, calls)

    timed = CppLauncher.time
    monkeypatch.setattr(CppLauncher, "time", time)
    _, measured = kernel.measure(builds, workload, Sampling(0, 15, loads=3))
    assert measured.samples["load"] == (0.0,) * 5 + (1.0,) * 5 + (2.0,) * 5
    assert len(measured.samples["seconds"]) == len(measured.samples["reference_seconds"]) == 15
    # Two builds in each of three loads; the check puts the first load's arrays elsewhere meanwhile.
    assert len(functions) == 6
    assert len(addresses) >= 3


def test_loads_end_when_time_does(device: Device) -> None:
    kernel = KERNELS["add_rmsnorm"]
    workload = kernel.workload({"M": 2, "N": 64})
    builds = build_all(kernel, [kernel.default(workload, device)] * 2, workload, device)
    _, measured = kernel.measure(builds, workload, Sampling(0, 15, seconds=1e-6, loads=3))
    assert measured.status is Status.CORRECT
    assert measured.samples["load"] == (0.0,) * 3


# A kernel for the operator add_rmsnorm that is right, or makes the one mistake that a macro asks for.
FAULTY = """\
extern "C" void kernel(const float *x, const float *residual, const float *weight, float *out, float *residual_out) {
  for (long i = 0; i < M * N; ++i) residual_out[i] = x[i] + residual[i];
  for (long row = MISTAKE == 6; row < M; ++row) {
    float squares = 0;
    for (long i = 0; i < N; ++i) squares += residual_out[row * N + i] * residual_out[row * N + i];
    const float scale = 1 / __builtin_sqrtf(squares / N + 1e-5f);
    for (long i = 0; i < N; ++i) out[row * N + i] = residual_out[row * N + i] * scale * weight[i];
  }
#if MISTAKE == 1
  out[M * N - 1] *= 1.01f;
#elif MISTAKE == 2
  residual_out[M * N] = 0;
#elif MISTAKE == 3
  out[-1] = 0;
#elif MISTAKE == 4
  out[N] = __builtin_nanf("");
#elif MISTAKE == 5
  out[5] = 1 / (residual_out[5] - residual_out[5]);
#endif
}
"""


def faulty(source: str, folder: Path) -> CppKernel:
    path = folder / "faulty.cpp"
    path.write_text(source)
    return CppKernel(ADD_RMSNORM.operator, path, SearchSpace([Parameter("MISTAKE", range(7))]))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (1, r"output 'out': 1 of 128 values are wrong; the first, at \[1, 63\]"),
        (2, "output 'residual_out': wrote outside of its 512 bytes"),
        (3, "output 'out': wrote outside of its 512 bytes"),
        (4, r"the first, at \[1, 0\], is nan"),
        (5, r"the first, at \[0, 5\], is inf"),
        (6, r"output 'out': 64 of 128 values are wrong; the first, at \[0, 0\], is nan"),
    ],
    ids=["value", "past the end", "before the start", "nan", "infinity", "unwritten"],
)
def test_wrong_kernel_is_caught(mistake: int, message: str, device: Device, tmp_path: Path) -> None:
    kernel = faulty(FAULTY, tmp_path)
    workload = kernel.workload({"M": 2, "N": 64})
    builds = build_all(kernel, [Config(MISTAKE=0), Config(MISTAKE=mistake), Config(MISTAKE=0)], workload, device)
    right, wrong, also_right = kernel.measure(builds, workload, Sampling(0, 3))
    assert wrong.status is Status.CORRECTNESS
    assert not wrong.samples
    assert re.search(message, wrong.error), wrong.error
    # The others are timed all the same.
    assert right.status is also_right.status is Status.CORRECT
    assert len(also_right.samples["reference_seconds"]) == len(right.samples["seconds"]) == 3


def test_syntax_error_is_a_build_error_with_the_compilers_message(device: Device, tmp_path: Path) -> None:
    kernel = faulty(FAULTY.replace("const float scale", "const flaot scale"), tmp_path)
    with pytest.raises(BuildError, match=r"faulty\.cpp:6:.*error.*flaot"):
        kernel.build(Config(MISTAKE=0), kernel.workload({"M": 2, "N": 64}), device)


def test_config_outside_of_the_space_does_not_build_silently(device: Device) -> None:
    workload = INT8_GEMV.workload({"M": 1, "N": 8, "K": 64})
    config = Config({**INT8_GEMV.default(workload, device), "PACK": False, "WORDS": True})
    with pytest.raises(BuildError, match="have to be packed"):
        INT8_GEMV.build(config, workload, device)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_our_kernels_need_no_cpp_library(kernel: CppKernel, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linking it would take as long as a good part of the compile, and a first attempt in vain."""
    run, compiles = subprocess.run, []

    def counted(command: list[str], **options: Any) -> Any:
        compiles.append(command)
        return run(command, **options)

    kernel.environment()
    monkeypatch.setattr(subprocess, "run", counted)
    workload = next(iter(kernel.workloads.values()))
    kernel.build(kernel.default(workload, device), workload, device)
    assert len(compiles) == 1


def test_a_kernel_may_use_the_cpp_library(device: Device, tmp_path: Path) -> None:
    source = tmp_path / "sorted.cpp"
    source.write_text(
        "#include <map>\n"
        'extern "C" void kernel(const float *x, float *out) {\n'
        "  std::map<float, int> sorted;\n"
        "  for (int i = 0; i < N; ++i) sorted[x[i]] = i;\n"
        "  for (auto &pair : sorted) *out++ = pair.first;\n"
        "}\n"
    )
    operator = Operator(
        name="sorted",
        fields=[Field("N")],
        inputs=lambda w, rng: {"x": rng.permutation(w.integer("N")).astype(np.float32)},
        outputs=lambda w: {"out": Output((w.integer("N"),))},
        reference=lambda w, inputs: {"out": np.sort(inputs["x"])},
        work=lambda w: Work(flops=1, bytes=1),
    )
    kernel = CppKernel(operator, source, SearchSpace([Parameter("UNUSED", (0, 1))]))
    workload = kernel.workload({"N": 50})
    config = kernel.default(workload, device)
    arguments = Arguments(operator.inputs(workload, np.random.default_rng(0)), {"out": ((50,), "float32")})
    kernel.load(kernel.build(config, workload, device)).call(arguments)
    assert np.array_equal(arguments.outputs["out"], np.arange(50))
