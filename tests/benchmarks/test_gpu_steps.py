"""The GPU run's shell: steps are kept as they end, and one that fails does not take the others with it."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if find_spec("triton") is None or find_spec("torch") is None:
    pytest.skip("needs Triton and torch", allow_module_level=True)


import torch

from benchmarks.gpu.__main__ import STEPS, main
from benchmarks.gpu.campaigns import TASKS
from benchmarks.gpu.correctness import _workloads
from benchmarks.gpu.rival import rivals_of
from benchmarks.gpu.step import Run, kernel_of
from tuner.kernels.gpu.check import cases


def fails(_: Run) -> dict[str, Any]:
    raise RuntimeError("asked to fail")


def test_what_a_step_finds_is_written_even_where_it_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, seconds=60)
    assert run.step("good", lambda _: {"value": 1}, 1)
    assert not run.step("bad", fails, 1)
    assert not run.step("late", lambda _: {}, 1000)
    assert json.loads((tmp_path / "good.json").read_text())["value"] == 1
    assert "asked to fail" in json.loads((tmp_path / "bad.json").read_text())["error"]
    assert not (tmp_path / "late.json").exists()
    assert "left out" in capsys.readouterr().out


def test_an_unknown_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--steps", "nothing"])
    assert "correctness" in STEPS


@pytest.mark.parametrize(("kernel", "name"), [task[:2] for task in TASKS], ids=str)
def test_every_campaign_is_of_a_kernel_and_workload_that_there_are(kernel: str, name: str) -> None:
    assert name in kernel_of(kernel).workloads


# torch's compiler deprecates parts of torch while it is imported.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("kernel", "sizes"),
    [
        ("triton:add_rmsnorm", {"M": 5, "N": 64}),
        ("triton:cross_entropy", {"M": 5, "N": 64}),
        ("triton:layernorm", {"M": 5, "N": 64, "residual": "yes"}),
        ("triton:matmul", {"M": 5, "N": 32, "K": 64}),
        ("triton:matmul", {"M": 5, "N": 32, "K": 64, "epilogue": "bias_gelu"}),
        ("triton:matmul", {"M": 5, "N": 32, "K": 64, "epilogue": "silu_mul"}),
        ("triton:rotary", {"T": 5, "H": 3, "D": 8, "S": 64}),
        ("triton:softmax", {"M": 5, "N": 64}),
        ("triton:swiglu", {"M": 5, "N": 64}),
        ("cuda:sgemm", {"M": 8, "N": 16, "K": 32}),
        ("cuda:transpose", {"M": 8, "N": 16}),
    ],
    ids=lambda one: one if isinstance(one, str) else "-".join(map(str, one.values())),
)
def test_a_rival_computes_the_same(kernel: str, sizes: dict[str, Any]) -> None:
    ours = kernel_of(kernel)
    workload = ours.workload(sizes)
    case = next(cases(ours.operator, workload, 0, "cpu"))
    rivals = {name: call for name, call in rivals_of(kernel, workload).items() if "compile" not in name}
    assert rivals
    for call in rivals.values():
        found = call(case.inputs)
        # A norm returns the sum with the residual, too: last comes what the others return.
        found = found[-1] if isinstance(found, tuple) else found
        expected = next(iter(case.expected.values()))
        torch.testing.assert_close(found.double(), expected, rtol=2e-2, atol=2e-2)


def test_edge_shapes_of_every_choice_are_checked() -> None:
    found = _workloads(kernel_of("triton:matmul"), np.random.default_rng(0))
    assert {workload["dtype"] for workload in found} == {"bf16", "fp16", "fp8", "int8"}
    assert {workload["epilogue"] for workload in found} == {"none", "bias", "bias_gelu", "silu_mul"}
