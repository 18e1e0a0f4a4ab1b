from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner.campaign import task_of
from tuner.edges import checked_edges
from tuner.runners import LocalRunner, Runner
from tuner.tunable import load
from tuner.types import Config, Sampling, Workload

# Rows are done in tiles; RIGHT = 0 forgets those that are left over, 1 does them, and 2 reads far beyond the inputs.
SOURCE = """\
extern "C" void kernel(const float *x, const float *y, float *out) {
  long m = 0;
  for (; m + TILE <= M; m += TILE)
    for (long i = m * N; i < (m + TILE) * N; ++i) out[i] = x[i] + y[i];
#if RIGHT == 1
  for (long i = m * N; i < M * N; ++i) out[i] = x[i] + y[i];
#elif RIGHT == 2
  for (long i = m * N; i < (m + TILE) * N; ++i) { const float sum = x[i] + y[i]; if (i < M * N) out[i] = sum; }
  volatile float beyond = x[m * N + 63];
#endif
}
"""
KERNEL = """\
from pathlib import Path
import numpy as np
from tuner import CppKernel, Field, Operator, Output, Parameter, SearchSpace, Work

def inputs(w, rng):
    return {name: rng.standard_normal((w.integer("M"), w.integer("N")), dtype=np.float32) for name in "xy"}

OPERATOR = Operator(
    name="add",
    fields=[Field("M"), Field("N", multiple_of=64)],
    inputs=inputs,
    outputs=lambda w: {"out": Output((w.integer("M"), w.integer("N")))},
    reference=lambda w, inputs: {"out": inputs["x"].astype(np.float64) + inputs["y"]},
    work=lambda w: Work(flops=w.integer("M") * w.integer("N"), bytes=12 * w.integer("M") * w.integer("N")),
)
SPACE = SearchSpace([Parameter("TILE", (4, 8)), Parameter("RIGHT", (0, 1, 2))])
KERNEL = CppKernel(OPERATOR, Path(__file__).with_name("add.cpp"), SPACE)
"""


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = LocalRunner(cache=tmp_path_factory.mktemp("cache"))
    yield runner
    runner.close()


@pytest.fixture
def reference(tmp_path: Path) -> str:
    (tmp_path / "add.cpp").write_text(SOURCE)
    (tmp_path / "add.py").write_text(KERNEL)
    return f"{tmp_path}/add.py:KERNEL"


def test_a_kernel_that_is_right_only_for_multiples_of_its_tile_is_caught(runner: Runner, reference: str) -> None:
    task = task_of(reference, {"M": 64, "N": 128})
    broken, right = (Config(TILE=8, RIGHT=number) for number in (0, 1))
    (here,) = runner.compare(task, [broken], Sampling(0, 1, thorough=True)).result()
    assert here.status.value == "correct"
    assert checked_edges(runner, task, right, seed=1).failure == ""
    assert len(checked_edges(runner, task, right, seed=1).shapes) >= 4
    found = checked_edges(runner, task, broken, seed=1)
    assert len(found.shapes) == 1
    assert "correctness: output 'out':" in found.failure
    assert "should be" in found.failure


def test_a_read_far_beyond_the_inputs_ends_the_worker_and_is_a_runtime_failure(runner: Runner, reference: str) -> None:
    task = task_of(reference, {"M": 64, "N": 128})
    found = checked_edges(runner, task, Config(TILE=8, RIGHT=2), seed=1)
    assert "runtime: the worker was killed by SIGSEGV" in found.failure


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        ("cpp:softmax", "llama3-8b-logits-batch8"),
        ("cpp:int8_gemv", "llama3-8b-ffn-decode"),
        ("cpp:decode_attention", "qwen3-4b-decode-8k"),
        ("cpp:flash_prefill", "gpt2-prefill-768"),
        ("cpp:sgemm", "square-512-bias-gelu"),
    ],
)
def test_edges_of_large_workloads_are_small_valid_and_others(kernel: str, name: str) -> None:
    tunable = load(kernel)
    workload = Workload({**tunable.workloads[name], "rel_error": 0.5})
    edges = tunable.edges(workload)
    assert len(edges) == len(set(edges)) >= 4
    for edge in edges:
        assert edge != workload
        assert tunable.workload(edge) == edge
        assert edge["rel_error"] == 0.5
        assert tunable.work(edge).bytes < 1 << 26
