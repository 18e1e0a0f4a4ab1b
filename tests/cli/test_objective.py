"""Objectives in words on the command line and in specifications."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tuner.cli import app
from tuner.cli.limit import parse_limits, request_limits, split_error
from tuner.cli.options import task_from
from tuner.cli.spec import read_spec
from tuner.errors import SpecError, TunerError, WorkloadError
from tuner.objective import Direction, Limit
from tuner.phrase import parse_objective, parse_objectives

TOY = "tuner.testing.engine:TOY"
FRONT = ("--objective", "maximize request_per_second", "--objective", "minimize memory")


def tuner(*words: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "tuner", *words, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return data


def refused(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    assert isinstance(result.exception, TunerError), result.output
    return str(result.exception)


@pytest.mark.slow
def test_a_rate_is_tuned_and_looked_up(tmp_path: Path) -> None:
    store = str(tmp_path / "store.db")
    words = ("-w", "N=3", "--store", store)
    objective = "maximize request_per_second where peak_memory<4.5"
    found = tuner("tune", TOY, *words, "--agent", "exhaustive", "--trials", "16", "--objective", objective)
    assert found["config"] == {"BATCH": 2, "THREADS": 2, "FAULT": "none"}
    assert found["metric"] == "request_per_second"
    assert found["best_value"] == pytest.approx(1000)
    winner = tuner("best", TOY, *words)["winner"]
    assert winner["objective"] == "maximize request_per_second where peak_memory_bytes<4.5"
    assert winner["config_value"] == pytest.approx(1000)


@pytest.mark.slow
def test_a_front_is_tuned_picked_from_and_picked_from_later(tmp_path: Path) -> None:
    store = str(tmp_path / "store.db")
    words = ("-w", "N=3", "--store", store)
    found = tuner(
        "tune", TOY, *words, "--trials", "16", *FRONT, "--pick", "minimize memory where request_per_second>900"
    )
    assert {one["config"]["BATCH"] for one in found["front"]} == {0, 1, 2, 3}
    assert found["front"][0]["values"].keys() == {"request_per_second", "peak_memory_bytes"}
    later = tuner("campaign", "pick", found["campaign"], "--pick", "maximize request_per_second", "--store", store)
    assert later["results"][0]["config"] == {"BATCH": 3, "THREADS": 2, "FAULT": "none"}
    assert tuner("best", TOY, *words)["config"]["BATCH"] == 3


def test_a_request_that_makes_no_sense_is_refused_before_anything_runs() -> None:
    assert "is not DIRECTION METRIC" in refused("tune", TOY, "-w", "N=3", "--objective", "faster")
    assert "there is one objective" in refused("tune", TOY, "-w", "N=3", "--pick", "knee")
    assert "--model is for engines" in refused("tune", "softmax", "-w", "M=1", "-w", "N=64", "--model", "x")
    assert "is limited twice" in refused(
        "tune", TOY, "-w", "N=3", "--objective", "minimize seconds where memory<1", "--limit", "memory<2"
    )


def test_the_allowed_error_leaves_the_objective_for_the_workload() -> None:
    objective, limits = split_error(
        parse_objective("minimize seconds where rel_error<1e-2, code_bytes<4KiB"), parse_limits(["seconds_max<1"])
    )
    assert limits.rel_error == 0.01
    assert [limit.metric for limit in objective.limits] == ["code_bytes", "seconds"]


def test_limits_on_requests_decide_which_are_good() -> None:
    goodput = parse_objective("maximize goodput where ttft_p99<0.5, ttft<0.2, tpot_p99<50ms, memory<1GiB")
    assert request_limits(goodput) == {"ttft_limit_seconds": 0.2, "tpot_limit_seconds": 0.05}
    assert request_limits(parse_objective("minimize ttft_p99 where tpot<1")) == {}
    both = parse_objectives(["minimize memory where e2e<3", "maximize goodput"])
    assert request_limits(both) == {"e2e_limit_seconds": 3.0}


def test_a_field_may_not_be_given_twice() -> None:
    with pytest.raises(WorkloadError, match="model is given twice: with --model and with -w"):
        task_from("engine:none", ["model=a"], None, "cpu", model="b")


def spec(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(f"{text}\ntasks:\n- kernel: {TOY}\n  workloads: [{{N: 3}}]\n")
    return path


def test_a_specification_has_objectives(tmp_path: Path) -> None:
    one = read_spec(
        spec(tmp_path, "objective: maximize goodput where ttft_p99<0.5\nprice_per_hour: 2\nlimits: [memory<1]")
    )
    objective = one.plan.objective
    assert (objective.metric, objective.direction) == ("goodput_per_second", Direction.MAXIMIZE)
    assert objective.limits[1] == Limit("peak_memory_bytes", 1.0)
    assert objective.price_per_hour == 2.0
    assert one.plan.agent == "auto"
    front = read_spec(spec(tmp_path, "objective: [maximize goodput, minimize cost]\npick: minimize cost where e2e<1"))
    assert len(front.plan.objective.every) == 2
    assert front.plan.agent == "optuna:nsgaii"
    assert front.plan.pick == "minimize cost where e2e<1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("objective: faster", r"spec\.yaml:1: objective 'faster' is not DIRECTION METRIC"),
        ("objective: [minimize seconds, maximize seconds]", r"spec\.yaml:1: 'seconds' is optimised twice"),
        ("objective: minimize seconds\npick: knee", r"spec\.yaml:2: pick chooses on a front"),
        ("price_per_hour: much", r"spec\.yaml:1: price_per_hour='much' is not a number"),
        ("objective: minimize cost\nprice_per_hour: -1", r"price_per_hour=-1.0 is not a positive number"),
    ],
)
def test_a_wrong_objective_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_spec(spec(tmp_path, text))


def test_a_task_has_a_kernel_or_an_engine(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("tasks:\n- {kernel: softmax, engine: torch, workloads: [x]}\n- {workloads: [x]}\n")
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    assert f"{path}:2: a task has a kernel or an engine, not both" in str(caught.value)
    assert f"{path}:3: a task needs kernel" in str(caught.value)
