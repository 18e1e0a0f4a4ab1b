"""Runs on a GPU are put together, and shown as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.summary import gathered, main
from benchmarks.report import tables_of


def ratio(value: float) -> dict[str, Any]:
    return {"seconds": 1e-5, "ratio": value, "low": value - 0.1, "high": value + 0.1}


def task(workload: str, **changes: Any) -> dict[str, Any]:
    told = {"kernel": "triton:softmax", "workload": workload, "tuned_seconds": 2e-5, "default": ratio(1.25)}
    told |= {"rivals": {"torch": ratio(0.8)}, "peak_share": 0.5, "bound": "memory", "joules": None}
    return {**told, "trials": 60, "search_seconds": 5.0, **changes}


def run(*tasks: dict[str, Any], gpu: str = "NVIDIA H200") -> dict[str, Any]:
    return {"campaigns": {"machine": {"gpu": gpu}, "tasks": list(tasks)}}


def test_campaigns_of_runs_are_put_together_and_the_last_counts() -> None:
    found = gathered([run(task("a"), task("b", trials=1)), run(task("b"))])["campaigns"]
    assert [(one["workload"], one["trials"]) for one in found["tasks"]] == [("a", 60), ("b", 60)]


def test_runs_of_two_gpus_are_not_put_together() -> None:
    with pytest.raises(ValueError, match="different GPUs"):
        gathered([run(task("a")), run(task("b"), gpu="NVIDIA H100 80GB HBM3")])


def test_the_table_shows_shares_of_a_rivals_time(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    failed = {"kernel": "triton:softmax", "workload": "b", "error": "no"}
    (tmp_path / "run" / "campaigns.json").write_text(json.dumps(run(task("a"), failed)["campaigns"]))
    main([str(tmp_path / "run"), "--out", str(tmp_path / "out")])
    [row] = tables_of(tmp_path / "out")["gpu-campaigns"].rows
    # The rival takes 0.8 of our time: we take 1.25 of its.
    assert row[3:6] == ["0.800 [0.741, 0.870]", "torch 1.250 [1.111, 1.429]", "50% (bandwidth)"]


def test_a_step_that_failed_has_no_table() -> None:
    found = gathered([{"noise": {"machine": {"gpu": None}, "error": "asked to fail"}}])
    assert found["noise"]["tables"] == []


def test_tables_of_peaks_of_vllms_configs_and_of_priors() -> None:
    machine = {"machine": {"gpu": "NVIDIA H200"}}
    peaks = {"what": "bf16", "unit": "FLOP/s", "measured": 8e14, "data_sheet": 1e15}
    moe = {"kernel": "triton:fused_moe", "workload": "a", "seconds": 1e-4, "ratios": {"vLLM's file": ratio(1.25)}}
    prior = {"kernel": "cuda:sgemm", "workload": "b", "without": "> 40", "with": "3", "best": 0.5}
    found = gathered(
        [
            {
                "campaigns": {**machine, "tasks": [task("a")]},
                "peaks": {**machine, "rows": [peaks]},
                "vllm": {**machine, "tasks": [moe]},
                "transfer": {**machine, "tasks": [prior]},
            }
        ]
    )
    # What other steps call their tasks are no campaigns.
    assert len(found["campaigns"]["tasks"]) == 1
    assert found["peaks"]["tables"][0]["rows"] == [["bf16", "800 TFLOP/s", "1000", "80.0%"]]
    assert found["vllm"]["tables"][0]["rows"] == [["a", "100", "-", "-", "0.800 [0.741, 0.870]"]]
    assert found["transfer"]["tables"][0]["rows"] == [["cuda:sgemm", "b", "> 40", "3", "2.00"]]
