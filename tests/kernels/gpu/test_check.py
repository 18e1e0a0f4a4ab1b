"""The check of tensors finds each kind of mistake; on a CPU, where torch is the same."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import torch

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.check import _held, cases, check_tensors
from tuner.kernels.gpu.memory import Memory
from tuner.kernels.gpu.operator import TensorOperator
from tuner.kernels.gpu.tensor import Tensor
from tuner.kernels.problem import Field
from tuner.tunable import load
from tuner.types import Work

OPERATOR = TensorOperator(
    name="double",
    fields=(Field("N"),),
    inputs=lambda w: {"x": Tensor((w.integer("N"), 8), "fp32"), "index": Tensor((4,), "int32", low=0, high=8)},
    outputs=lambda w: {"out": Tensor((w.integer("N"), 8), "bf16")},
    reference=lambda w, inputs: {"out": 2 * inputs["x"].to(torch.float64)},
    work=lambda w: Work(flops=w.integer("N"), bytes=w.integer("N")),
)
WORKLOAD = OPERATOR.workload({"N": 100})


def right(memory: Memory) -> None:
    memory.outputs["out"].copy_(2 * memory.inputs["x"])


def forgets_the_last(memory: Memory) -> None:
    memory.outputs["out"][:-1].copy_(2 * memory.inputs["x"][:-1])


def wrong_by_a_little(memory: Memory) -> None:
    memory.outputs["out"].copy_(2.05 * memory.inputs["x"])


def loses_nan(memory: Memory) -> None:
    memory.outputs["out"].copy_(torch.nan_to_num(2 * memory.inputs["x"]))


def wrong_on_zeros(memory: Memory) -> None:
    x = memory.inputs["x"]
    memory.outputs["out"].copy_(torch.where(x == 0, 1.0, 2 * x))


def writes_an_input(memory: Memory) -> None:
    right(memory)
    memory.inputs["x"][0, 0] += 1


def writes_beyond(memory: Memory) -> None:
    right(memory)
    out = memory.outputs["out"]
    torch.as_strided(out, (1,), (1,), out.storage_offset() + out.numel())[0] = 0.0


def other_bits_each_time() -> Callable[[Memory], None]:
    calls = 0

    def call(memory: Memory) -> None:
        nonlocal calls
        calls += 1
        memory.outputs["out"].copy_(2 * memory.inputs["x"] * (1 + 1e-3 * (calls % 4)))

    return call


def verdicts(*calls: Callable[[Memory], None], thorough: bool = True, seed: int = 0) -> list[str]:
    memory = Memory(OPERATOR.inputs(WORKLOAD), OPERATOR.outputs(WORKLOAD), "cpu")
    found = cases(OPERATOR, WORKLOAD, seed, "cpu", thorough=thorough)
    return [one.error for one in check_tensors(calls, memory, found, Tolerance(relative=2**-7, absolute=1e-6))]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (forgets_the_last, r"output 'out': 8 of 800 values are wrong; the first, at \[99, 0\], is nan"),
        (wrong_by_a_little, "values are wrong"),
        (loses_nan, "of the kind 'nan'"),
        (wrong_on_zeros, "of the kind 'sparse'"),
        (writes_an_input, "input 'x' was written to"),
        (writes_beyond, "output 'out': wrote outside of its 1600 bytes"),
        (other_bits_each_time(), "another result"),
    ],
)
def test_a_mistake_is_found_and_blamed_on_its_kernel_alone(call: Callable[[Memory], None], message: str) -> None:
    before, wrong, after = verdicts(right, call, right)
    assert (before, after) == ("", "")
    assert re.search(message, wrong)


def test_what_is_right_passes_with_its_error() -> None:
    memory = Memory(OPERATOR.inputs(WORKLOAD), OPERATOR.outputs(WORKLOAD), "cpu")
    [verdict] = check_tensors([right], memory, cases(OPERATOR, WORKLOAD, 1, "cpu", thorough=True), Tolerance(2**-7))
    assert verdict.error == ""
    assert 0 < verdict.rel_error < 2**-8


def test_all_inputs_stay_what_they_were_drawn() -> None:
    """Distributions derive new tensors: the first case is needed again at the end."""
    found = cases(OPERATOR, WORKLOAD, 3, "cpu", thorough=True)
    first = next(found)
    before = {name: tensor.clone() for name, tensor in first.inputs.items()}
    names = [case.distribution for case in found]
    assert set(names) >= {"sparse", "constant", "nan"}
    assert all(torch.equal(before[name], tensor) for name, tensor in first.inputs.items())


def test_a_seed_decides_the_inputs() -> None:
    drawn = [next(cases(OPERATOR, WORKLOAD, seed, "cpu")).inputs["x"] for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("name", ["triton:matmul", "triton:softmax", "triton:add_rmsnorm"])
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_references_agree_with_torch_on_what_it_computes(name: str, dtype: str) -> None:
    """References are not only consistent with themselves."""
    operator: Any = load(name).operator  # type: ignore[attr-defined]
    sizes = {"M": 24, "N": 48, "dtype": dtype, **({"K": 64} if name == "triton:matmul" else {})}
    workload = operator.workload(sizes)
    case = next(cases(operator, workload, 0, "cpu"))
    x = case.inputs["x"].float()
    if name == "triton:matmul":
        expected = torch.nn.functional.linear(x, case.inputs["weight"].float())
    elif name == "triton:softmax":
        expected = x.softmax(1)
    else:
        total = x + case.inputs["residual"].float()
        expected = torch.nn.functional.rms_norm(total, (48,), case.inputs["weight"].float(), eps=1e-5)
    torch.testing.assert_close(case.expected["out"].float(), expected, rtol=1e-4, atol=1e-4)


def test_what_a_dtype_cannot_hold_is_infinite() -> None:
    """The truth is computed in float64; 65,520 and more are infinite in float16, and 65,519 is its greatest number."""
    truth = torch.tensor([65519.0, 65520.0, -70000.0, math.nan, math.inf], dtype=torch.float64)
    held = _held(truth, torch.float16)
    assert held[:3].tolist() == [65519.0, math.inf, -math.inf]
    assert math.isnan(held[3])
    assert held[4] == math.inf
    assert _held(truth, torch.float32)[1] == 65520.0
