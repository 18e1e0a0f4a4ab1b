from __future__ import annotations

from pathlib import Path

import pytest

from tuner.cli.options import task_from
from tuner.cli.spec import read_spec
from tuner.errors import SpecError
from tuner.objective import Limit, Statistic


def spec(folder: Path, limits: str, workload: str = "{M: 1, N: 64}") -> Path:
    path = folder / "spec.yaml"
    path.write_text(f"{limits}\ntasks:\n- kernel: softmax\n  workloads: [{workload}]\n")
    return path


def test_limits_reach_the_objective_and_the_workload(tmp_path: Path) -> None:
    read = read_spec(spec(tmp_path, "limits: [rel_error<1e-2, 'p99:seconds<0.01']"))
    assert read.plan.objective.limits == (Limit("seconds", 0.01, Statistic.P99),)
    assert dict(read.tasks[0].workload) == {"M": 1, "N": 64, "rel_error": 0.01}
    named = read_spec(spec(tmp_path, "limits: [rel_error<1e-2]", "llama3-8b-logits-batch8"))
    assert named.tasks[0].workload["rel_error"] == 0.01


def test_a_float_needs_no_dot_as_a_field(tmp_path: Path) -> None:
    (task,) = read_spec(spec(tmp_path, "", "{M: 1, N: 64, rel_error: 1e-2, cache: cold}")).tasks
    assert dict(task.workload) == {"M": 1, "N": 64, "cache": "cold", "rel_error": 0.01}
    words = ["M=1", "N=64", "rel_error=1e-2", "cache=cold"]
    assert task_from("softmax", words, None, "cpu").workload == task.workload


def test_a_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"spec\.yaml:1: limit 'seconds=1' is not METRIC<NUMBER"):
        read_spec(spec(tmp_path, "limits: ['seconds=1']"))
