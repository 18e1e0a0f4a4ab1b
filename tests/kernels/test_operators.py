import math

import numpy as np
import pytest

from tuner.errors import WorkloadError
from tuner.kernels.add_rmsnorm.operator import EPSILON
from tuner.kernels.add_rmsnorm.operator import OPERATOR as ADD_RMSNORM
from tuner.kernels.base import Operator
from tuner.kernels.bfloat16 import from_bfloat16, to_bfloat16
from tuner.kernels.decode_attention.operator import OPERATOR as DECODE_ATTENTION
from tuner.kernels.flash_prefill.operator import OPERATOR as FLASH_PREFILL
from tuner.kernels.int8_gemv.operator import OPERATOR as INT8_GEMV
from tuner.kernels.layernorm.operator import EPSILON as LAYERNORM_EPSILON
from tuner.kernels.layernorm.operator import OPERATOR as LAYERNORM
from tuner.kernels.sgemm.operator import OPERATOR as SGEMM
from tuner.kernels.skinny_gemm.operator import OPERATOR as SKINNY_GEMM
from tuner.kernels.softmax.operator import OPERATOR as SOFTMAX
from tuner.kernels.swiglu.operator import OPERATOR as SWIGLU
from tuner.kernels.transpose.operator import OPERATOR as TRANSPOSE
from tuner.types import Scalar, Work, Workload

OPERATORS = (
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
by_name = pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def small(operator: Operator) -> Workload:
    fields: dict[str, dict[str, Scalar]] = {
        "add_rmsnorm": {"M": 2, "N": 64},
        "decode_attention": {"HQ": 4, "HKV": 2, "S": 5, "D": 32},
        "flash_prefill": {"HQ": 4, "HKV": 2, "S": 5, "D": 32},
        "int8_gemv": {"M": 2, "N": 3, "K": 64},
        "layernorm": {"M": 2, "N": 64},
        "sgemm": {"M": 2, "N": 16, "K": 3},
        "skinny_gemm": {"M": 2, "N": 3, "K": 64},
        "softmax": {"M": 2, "N": 64},
        "swiglu": {"M": 2, "N": 64},
        "transpose": {"M": 16, "N": 32},
    }
    return operator.workload(fields[operator.name])


def floats(array: np.ndarray) -> np.ndarray:
    """Return what the bits of an array mean: uint16 holds bfloat16."""
    return from_bfloat16(array) if array.dtype == np.uint16 else array


def test_add_rmsnorm_reference_is_the_formula() -> None:
    workload = ADD_RMSNORM.workload({"M": 3, "N": 64})
    inputs = ADD_RMSNORM.inputs(workload, rng())
    actual = ADD_RMSNORM.reference(workload, inputs)
    for row in range(3):
        total = [float(a) + float(b) for a, b in zip(inputs["x"][row], inputs["residual"][row], strict=True)]
        scale = 1 / math.sqrt(sum(value * value for value in total) / 64 + EPSILON)
        normed = [value * scale * float(weight) for value, weight in zip(total, inputs["weight"], strict=True)]
        np.testing.assert_allclose(actual["residual_out"][row], total, rtol=1e-12)
        np.testing.assert_allclose(actual["out"][row], normed, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
# More rows of weights than the reference converts at a time, and one left over.
@pytest.mark.parametrize("outputs", [1, 7, 129])
def test_int8_gemv_reference_is_the_sum_of_products(dtype: str, outputs: int) -> None:
    workload = INT8_GEMV.workload({"M": 2, "N": outputs, "K": 64, "dtype": dtype})
    inputs = INT8_GEMV.inputs(workload, rng())
    x, scale = floats(inputs["x"]).tolist(), floats(inputs["scale"]).tolist()
    weight = inputs["weight"].tolist()
    expected = [[scale[n] * sum(x[m][k] * weight[n][k] for k in range(64)) for n in range(outputs)] for m in range(2)]
    np.testing.assert_allclose(INT8_GEMV.reference(workload, inputs)["out"], expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (4, 4), (6, 2)])
def test_decode_attention_reference_is_softmax_of_each_head(dtype: str, heads: int, kv_heads: int) -> None:
    workload = DECODE_ATTENTION.workload({"B": 2, "HQ": heads, "HKV": kv_heads, "S": 7, "D": 32, "KV_DTYPE": dtype})
    inputs = DECODE_ATTENTION.inputs(workload, rng())
    q, k, v = (floats(inputs[name]).tolist() for name in "qkv")
    expected = np.empty((2, heads, 32))
    for b in range(2):
        for head in range(heads):
            keys, values = (cache[b][head * kv_heads // heads] for cache in (k, v))
            scores = [sum(q[b][head][d] * key[d] for d in range(32)) / math.sqrt(32) for key in keys]
            weights = [math.exp(score) for score in scores]
            expected[b, head] = [
                sum(w * value[d] for w, value in zip(weights, values, strict=True)) / sum(weights) for d in range(32)
            ]
    np.testing.assert_allclose(DECODE_ATTENTION.reference(workload, inputs)["out"], expected, rtol=1e-9, atol=1e-12)


# More tokens than the reference computes at a time, too.
@pytest.mark.parametrize(("heads", "kv_heads", "tokens"), [(1, 1, 130), (6, 2, 5)])
def test_flash_prefill_reference_is_softmax_of_what_each_token_sees(heads: int, kv_heads: int, tokens: int) -> None:
    workload = FLASH_PREFILL.workload({"B": 2, "HQ": heads, "HKV": kv_heads, "S": tokens, "D": 32})
    inputs = FLASH_PREFILL.inputs(workload, rng())
    q, k, v = (inputs[name].astype(np.float64) for name in "qkv")
    actual = FLASH_PREFILL.reference(workload, inputs)["out"]
    for b, head, token in np.ndindex(2, heads, tokens):
        keys, values = (x[b, head * kv_heads // heads, : token + 1] for x in (k, v))
        weights = [math.exp(score / math.sqrt(32)) for score in keys @ q[b, head, token]]
        expected = sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)
        np.testing.assert_allclose(actual[b, head, token], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("epilogue", ["none", "bias_gelu"])
def test_sgemm_reference_is_the_formula(epilogue: str) -> None:
    workload = SGEMM.workload({"M": 2, "N": 16, "K": 3, "epilogue": epilogue})
    inputs = SGEMM.inputs(workload, rng())
    a, b, bias = (inputs[name].tolist() for name in ("a", "b", "bias"))
    expected = [[sum(a[m][k] * b[k][n] for k in range(3)) for n in range(16)] for m in range(2)]
    if epilogue == "bias_gelu":
        sums = [[x + bias[n] for n, x in enumerate(row)] for row in expected]
        slope = math.sqrt(2 / math.pi)
        expected = [[x / 2 * (1 + math.tanh(slope * (x + 0.044715 * x**3))) for x in row] for row in sums]
    np.testing.assert_allclose(SGEMM.reference(workload, inputs)["out"], expected, rtol=1e-11, atol=1e-14)


def test_sgemm_tolerance_refuses_the_erf_form_of_gelu() -> None:
    workload = SGEMM.workload({"M": 32, "N": 64, "K": 64, "epilogue": "bias_gelu"})
    inputs = SGEMM.inputs(workload, rng())
    exact = SGEMM.reference(workload, inputs)["out"]
    sums = SGEMM.reference(SGEMM.workload({**workload, "epilogue": "none"}), inputs)["out"] + inputs["bias"]
    other = sums / 2 * (1 + np.vectorize(math.erf)(sums / math.sqrt(2)))
    tolerance = SGEMM.tolerance(workload)
    refused = np.abs(other - exact) > tolerance.absolute + tolerance.relative * np.abs(exact)
    assert refused.mean() > 0.25


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
# More rows of weights than the reference converts at a time, and one left over.
@pytest.mark.parametrize("outputs", [1, 17])
def test_skinny_gemm_reference_is_the_sum_of_products(dtype: str, outputs: int) -> None:
    workload = SKINNY_GEMM.workload({"M": 2, "N": outputs, "K": 64, "dtype": dtype})
    inputs = SKINNY_GEMM.inputs(workload, rng())
    x, weight = floats(inputs["x"]).tolist(), floats(inputs["weight"]).tolist()
    expected = [[sum(x[m][k] * weight[n][k] for k in range(64)) for n in range(outputs)] for m in range(2)]
    np.testing.assert_allclose(SKINNY_GEMM.reference(workload, inputs)["out"], expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_skinny_gemm_weights_have_both_signs_and_outputs_are_around_one(dtype: str) -> None:
    workload = SKINNY_GEMM.workload({"M": 4, "N": 512, "K": 1024, "dtype": dtype})
    inputs = SKINNY_GEMM.inputs(workload, rng())
    weight = floats(inputs["weight"])
    assert abs(weight.mean()) < 0.01
    assert np.abs(weight).min() >= 0.5
    assert np.abs(weight).max() < 2
    assert SKINNY_GEMM.reference(workload, inputs)["out"].std() == pytest.approx(1, rel=0.1)


def test_skinny_gemm_tolerance_refuses_rounded_weights() -> None:
    workload = SKINNY_GEMM.workload({"M": 2, "N": 64, "K": 1024, "dtype": "fp32"})
    inputs = SKINNY_GEMM.inputs(workload, rng())
    exact = SKINNY_GEMM.reference(workload, inputs)["out"]
    rounded = {**inputs, "weight": from_bfloat16(to_bfloat16(inputs["weight"]))}
    tolerance = SKINNY_GEMM.tolerance(workload)
    difference = np.abs(SKINNY_GEMM.reference(workload, rounded)["out"] - exact)
    assert (difference > tolerance.absolute + tolerance.relative * np.abs(exact)).mean() > 0.5


def test_softmax_reference_is_the_formula() -> None:
    workload = SOFTMAX.workload({"M": 2, "N": 64})
    inputs = SOFTMAX.inputs(workload, rng())
    actual = SOFTMAX.reference(workload, inputs)["out"]
    for row, x in enumerate(inputs["x"].tolist()):
        powers = [math.exp(value) for value in x]
        np.testing.assert_allclose(actual[row], [power / sum(powers) for power in powers], rtol=1e-12)


def test_layernorm_reference_is_the_formula() -> None:
    workload = LAYERNORM.workload({"M": 2, "N": 64})
    inputs = LAYERNORM.inputs(workload, rng())
    weight, bias = inputs["weight"].tolist(), inputs["bias"].tolist()
    actual = LAYERNORM.reference(workload, inputs)["out"]
    for row, x in enumerate(inputs["x"].tolist()):
        mean = sum(x) / 64
        scale = 1 / math.sqrt(sum((value - mean) ** 2 for value in x) / 64 + LAYERNORM_EPSILON)
        expected = [(value - mean) * scale * w + b for value, w, b in zip(x, weight, bias, strict=True)]
        np.testing.assert_allclose(actual[row], expected, rtol=1e-10, atol=1e-13)


def test_swiglu_reference_is_the_formula() -> None:
    workload = SWIGLU.workload({"M": 2, "N": 64})
    inputs = SWIGLU.inputs(workload, rng())
    gates, ups = inputs["gate"].ravel().tolist(), inputs["up"].ravel().tolist()
    expected = [gate / (1 + math.exp(-gate)) * up for gate, up in zip(gates, ups, strict=True)]
    np.testing.assert_allclose(SWIGLU.reference(workload, inputs)["out"].ravel(), expected, rtol=1e-12)


def test_transpose_reference_moves_every_number() -> None:
    workload = TRANSPOSE.workload({"M": 16, "N": 32})
    inputs = TRANSPOSE.inputs(workload, rng())
    actual = TRANSPOSE.reference(workload, inputs)["out"]
    assert all(actual[n, m] == inputs["x"][m, n] for m in range(16) for n in range(32))


@by_name
def test_inputs_follow_the_seed(operator: Operator) -> None:
    workload = small(operator)
    first, same, other = (operator.inputs(workload, rng(seed)) for seed in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], same[name])
        assert not np.array_equal(first[name], other[name]), f"{name} does not depend on the seed"


@by_name
def test_reference_has_the_outputs_in_their_shapes(operator: Operator) -> None:
    workload = small(operator)
    outputs = operator.outputs(workload)
    reference = operator.reference(workload, operator.inputs(workload, rng()))
    assert {name: array.shape for name, array in reference.items()} == {name: o.shape for name, o in outputs.items()}
    assert all(array.dtype == np.float64 for array in reference.values())


@by_name
def test_named_workloads_are_valid_and_complete(operator: Operator) -> None:
    assert operator.workloads
    for name, workload in operator.workloads.items():
        assert operator.workload(workload) == workload, name


def test_int8_gemv_weights_take_every_value() -> None:
    workload = INT8_GEMV.workload({"M": 1, "N": 64, "K": 256})
    assert len(np.unique(INT8_GEMV.inputs(workload, rng())["weight"])) == 256


def test_int8_gemv_tolerance_refuses_quantised_activations() -> None:
    workload = INT8_GEMV.workload({"M": 2, "N": 64, "K": 1024})
    inputs = INT8_GEMV.inputs(workload, rng())
    exact = INT8_GEMV.reference(workload, inputs)["out"]
    x = floats(inputs["x"])
    step = np.abs(x).max(axis=1, keepdims=True) / 127
    rounded = {**inputs, "x": (np.round(x / step) * step).astype(np.float32), "scale": floats(inputs["scale"])}
    quantised = INT8_GEMV.reference(INT8_GEMV.workload({**workload, "dtype": "fp32"}), rounded)["out"]
    tolerance = INT8_GEMV.tolerance(workload)
    refused = np.abs(quantised - exact) > tolerance.absolute + tolerance.relative * np.abs(exact)
    assert refused.mean() > 0.5


@pytest.mark.parametrize(
    ("operator", "fields", "message"),
    [
        (INT8_GEMV, {"M": 17, "N": 64, "K": 64}, "M=17 is more than 16 rows"),
        (INT8_GEMV, {"M": 1, "N": 64, "K": 100}, "K=100 is not a multiple of 64"),
        (INT8_GEMV, {"M": 1, "N": 64, "K": 64, "dtype": "fp8"}, "dtype='fp8' is not taken; choose one of bf16, fp32"),
        (INT8_GEMV, {"M": 1, "N": 64}, "needs the workload field 'K'"),
        (INT8_GEMV, {"M": 0, "N": 64, "K": 64}, "M=0 is not a positive integer"),
        (DECODE_ATTENTION, {"HQ": 30, "HKV": 8, "S": 16, "D": 64}, "HQ=30 query heads do not share HKV=8"),
        (DECODE_ATTENTION, {"HQ": 8, "HKV": 8, "S": 16, "D": 40}, "D=40 is not a multiple of 32"),
        (DECODE_ATTENTION, {"HQ": 8, "HKV": 8, "S": 16, "D": 64, "T": 1}, "no workload field 'T'"),
        (DECODE_ATTENTION, {"HQ": 8, "HKV": 8, "S": True, "D": 64}, "S=True is not a positive integer"),
        (ADD_RMSNORM, {"M": 1, "N": 100}, "N=100 is not a multiple of 64"),
        (FLASH_PREFILL, {"HQ": 30, "HKV": 8, "S": 16, "D": 64}, "HQ=30 query heads do not share HKV=8"),
        (SGEMM, {"M": 8, "N": 40, "K": 8}, "N=40 is not a multiple of 16"),
        (SKINNY_GEMM, {"M": 17, "N": 64, "K": 64}, "M=17 is more than 16 rows"),
        (SOFTMAX, {"M": 1, "N": 100}, "N=100 is not a multiple of 64"),
        (LAYERNORM, {"M": 1, "N": 100}, "N=100 is not a multiple of 64"),
        (SWIGLU, {"M": 1, "N": 100}, "N=100 is not a multiple of 64"),
        (TRANSPOSE, {"M": 8, "N": 64}, "M=8 is not a multiple of 16"),
    ],
)
def test_workload_that_does_not_fit_is_refused(operator: Operator, fields: dict[str, Scalar], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        operator.workload(fields)


@pytest.mark.parametrize(
    ("operator", "fields", "work"),
    [
        # x and residual in, residual_out and out, and the weights once; 4 bytes each.
        (ADD_RMSNORM, {"M": 2, "N": 64}, Work(flops=5 * 128, bytes=4 * (4 * 128 + 64))),
        (SOFTMAX, {"M": 2, "N": 64}, Work(flops=5 * 128, bytes=4 * 2 * 128)),
        # Weight and bias once.
        (LAYERNORM, {"M": 2, "N": 64}, Work(flops=7 * 128, bytes=4 * (2 * 128 + 2 * 64))),
        (SWIGLU, {"M": 2, "N": 64}, Work(flops=5 * 128, bytes=4 * 3 * 128)),
        (TRANSPOSE, {"M": 16, "N": 32}, Work(flops=512, bytes=4 * 2 * 512)),
        # Tokens see themselves and those before: 1 + 2 + ... + 5 pairs a head.
        (
            FLASH_PREFILL,
            {"B": 3, "HQ": 4, "HKV": 2, "S": 5, "D": 32},
            Work(flops=4 * 3 * 4 * 15 * 32, bytes=4 * 3 * (2 * 4 + 2 * 2) * 5 * 32),
        ),
        (SGEMM, {"M": 2, "N": 16, "K": 3}, Work(flops=2 * 2 * 16 * 3, bytes=4 * (2 * 3 + 3 * 16 + 2 * 16))),
        (
            SGEMM,
            {"M": 2, "N": 16, "K": 3, "epilogue": "bias_gelu"},
            Work(flops=2 * 2 * 16 * 3 + 10 * 2 * 16, bytes=4 * (2 * 3 + 3 * 16 + 2 * 16 + 16)),
        ),
        (SKINNY_GEMM, {"M": 2, "N": 3, "K": 64}, Work(flops=2 * 2 * 3 * 64, bytes=2 * (2 * 64 + 3 * 64 + 2 * 3))),
        # One byte a weight; activations, scales and outputs in bfloat16.
        (INT8_GEMV, {"M": 2, "N": 3, "K": 64}, Work(flops=2 * 2 * 3 * 64, bytes=3 * 64 + 2 * (2 * 64 + 3 + 2 * 3))),
        (
            INT8_GEMV,
            {"M": 2, "N": 3, "K": 64, "dtype": "fp32"},
            Work(flops=2 * 2 * 3 * 64, bytes=3 * 64 + 4 * (2 * 64 + 3 + 2 * 3)),
        ),
        # Every key and value once for all heads of its group; outputs in float32.
        (
            DECODE_ATTENTION,
            {"B": 3, "HQ": 4, "HKV": 2, "S": 5, "D": 32},
            Work(flops=4 * 3 * 4 * 5 * 32, bytes=2 * 3 * (4 * 32 + 2 * 2 * 5 * 32) + 4 * 3 * 4 * 32),
        ),
    ],
)
def test_work_counts_each_number_once(operator: Operator, fields: dict[str, Scalar], work: Work) -> None:
    assert operator.work(operator.workload(fields)) == work
