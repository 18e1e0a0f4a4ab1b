from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tuner.db.sql import SqlStore
from tuner.devices import detect
from tuner.testing.store import make_peaks

ROOT = Path(__file__).parents[2]
TOY = "tuner.testing.toys:PARABOLA"


def tuner(*words: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tuner", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
    )
    assert not check or done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def last_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return data


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


def test_a_tuned_config_is_looked_up_again(store: str) -> None:
    tuned = last_json(tuner("tune", TOY, "-w", "N=9", "--trials", "16", "--store", store, "--json"))
    assert set(tuned) >= {
        "campaign",
        "task",
        "trials",
        "statuses",
        "default_seconds",
        "best_seconds",
        "speedup",
        "speedup_interval",
        "promoted",
        "config",
        "device_seconds",
        "build_seconds",
        "wall_seconds",
    }
    assert tuned["trials"] == 16
    assert tuned["promoted"] is True
    assert tuned["config"] == {"X": 9, "FAULT": "none"}
    assert tuned["speedup"] == pytest.approx(82)
    found = last_json(tuner("best", TOY, "-w", "N=9", "--store", store, "--json"))
    assert found["config"] == tuned["config"]
    assert found["source"] == "exact"
    assert found["winner"]["campaign"] == tuned["campaign"]
    near = last_json(tuner("best", TOY, "-w", "N=8", "--store", store, "--json"))
    assert (near["source"], near["winner"]["workload"]) == ("nearest", {"N": 9})


def test_people_get_a_table_and_the_command_that_looks_it_up(store: str) -> None:
    text = tuner(
        "tune", TOY, "--workload-name", "small", "--trials", "16", "--agent", "random", "--store", store
    ).stdout
    assert re.search(r"10 ms\s+1 ms\s+10\.000x \[10\.000, 10\.000\]\s+promoted", text)
    command = re.search(r"look it up: (tuner best .*)", text)
    assert command is not None
    assert "source: exact" in tuner(*command[1].split()[1:]).stdout


def test_the_store_of_the_environment_is_used(store: str) -> None:
    tuner("tune", TOY, "-w", "N=3", "--trials", "4", TUNER_STORE=store)
    assert len(last_json(tuner("campaign", "list", "--json", TUNER_STORE=store))["campaigns"]) == 1
    assert last_json(tuner("campaign", "list", "--json"))["campaigns"] == []


@pytest.mark.parametrize("words", [[], ["campaign"], ["store"]])
def test_without_a_command_there_is_help_and_no_error(words: list[str]) -> None:
    done = tuner(*words, check=False)
    assert done.returncode == 2
    assert "Usage:" in done.stdout + done.stderr
    assert "error" not in done.stderr


def test_kernels_are_listed() -> None:
    kernels = last_json(tuner("kernels", "--json"))["kernels"]
    by_name = {kernel["name"]: kernel for kernel in kernels}
    assert {"add_rmsnorm", "decode_attention", "int8_gemv"} <= set(by_name)
    rmsnorm = by_name["add_rmsnorm"]
    assert set(rmsnorm) == {"name", "toolchains", "device_kinds", "parameters", "workloads"}
    assert rmsnorm["toolchains"] == ["cpp", "triton", "cuda"]
    assert rmsnorm["device_kinds"] == ["cpu", "cuda", "hip"]
    assert 1 in rmsnorm["parameters"]["UNROLL"]
    assert "llama3-8b-decode" in rmsnorm["workloads"]


def test_devices_and_agents_are_listed() -> None:
    [device] = last_json(tuner("devices", "--json"))["devices"]
    assert device["kind"] == "cpu"
    assert device["features"]["l2_bytes"] > 0
    assert {"random", "optuna"} <= {agent["name"] for agent in last_json(tuner("agents", "--json"))["agents"]}
    assert "add_rmsnorm" in tuner("kernels").stdout
    assert "l2_bytes" in tuner("devices").stdout
    assert "random" in tuner("agents").stdout


def test_a_device_of_several_cores_is_shown_with_its_own_peaks(store: str) -> None:
    with contextlib.closing(SqlStore(store)) as opened:
        opened.keep_peaks(detect("cpu:2"), make_peaks())
    [one] = last_json(tuner("devices", "--store", store, "--json"))["devices"]
    [two] = last_json(tuner("devices", "--device", "cpu:2", "--store", store, "--json"))["devices"]
    assert (one["count"], one["peaks"]) == (1, None)
    assert (two["count"], two["peaks"]) == (2, make_peaks().to_json())
    shown = tuner("devices", "--device", "cpu:2", "--store", store).stdout
    assert shown.startswith("cpu:2: ")
    assert "GFLOP/s" in shown


@pytest.mark.slow
def test_peaks_are_measured_once_and_again_when_asked(store: str) -> None:
    [device] = last_json(tuner("devices", "--store", store, "--json"))["devices"]
    assert device["peaks"] is None
    words = ["tune", "add_rmsnorm", "-w", "M=4", "-w", "N=1024", "--trials", "2", "--agent", "random", "--store", store]
    first = tuner(*words, "--json")
    assert first.stderr.count("measuring the peaks") == 1
    [device] = last_json(tuner("devices", "--store", store, "--json"))["devices"]
    roofline = last_json(first)["roofline"]
    assert roofline["level"] in [level["name"] for level in device["peaks"]["levels"]]
    assert roofline["bound"] == "memory"
    again = tuner(*words)
    assert "measuring" not in again.stderr
    assert re.search(r"roofline: \d+% of .* bandwidth \(.* GB/s\), \d+% of .* GFLOP/s; bound by memory", again.stdout)
    measured = tuner("devices", "--measure", "--store", store)
    assert "GFLOP/s" in measured.stdout
    [other] = last_json(tuner("devices", "--store", store, "--json"))["devices"]
    assert other["peaks"]["measured_at"] > device["peaks"]["measured_at"]


def test_every_result_says_where_it_stands(tmp_path: Path, store: str) -> None:
    tuned = last_json(tuner("tune", TOY, "-w", "N=3", "--trials", "16", "--store", store, "--json"))
    assert tuned["roofline"] is None
    with contextlib.closing(SqlStore(store)) as opened:
        opened.keep_peaks(detect("cpu"), make_peaks(1e4))
    shown = tuner("show", tuned["campaign"], "--store", store)
    # One flop and one byte in the winner's millisecond.
    assert "roofline: 0% of L1 bandwidth (400 GB/s), 10% of 1e-05 GFLOP/s; bound by compute" in shown.stdout
    for words in (["show", tuned["campaign"]], ["tune", TOY, "-w", "N=3", "--trials", "16"]):
        data = last_json(tuner(*words, "--store", store, "--json"))
        roofline = data["results"][0]["roofline"] if words[0] == "show" else data["roofline"]
        assert roofline["flops_share"] == pytest.approx(0.1)
        assert (roofline["level"], roofline["bound"]) == ("L1", "compute")


def test_show_tells_of_trials_and_failures(store: str) -> None:
    words = ["tune", "tuner.testing.toys:FRAGILE", "-w", "N=3", "--trials", "12", "--seed", "3", "--agent", "random"]
    tuned = last_json(tuner(*words, "--store", store, "--json"))
    for command in (["show"], ["campaign", "show"]):
        text = tuner(*command, tuned["campaign"][:4], "--store", store).stdout
        assert "campaign " + tuned["campaign"] in text
        assert "the best of 12 trials" in text
        assert "asked to fail" in text
    data = last_json(tuner("show", tuned["campaign"], "--store", store, "--json"))
    assert data["state"] == "finished"
    assert data["results"][0]["statuses"] == tuned["statuses"]


def test_a_specification_runs_and_each_result_is_told(tmp_path: Path, store: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"agent: random\nbudget: {{trials: 16}}\ntasks:\n- kernel: {TOY}\n  workloads: [small, {{N: 9}}]\n")
    data = last_json(tuner("campaign", "run", str(spec), "--store", store, "--json"))
    assert [result["config"]["X"] for result in data["results"]] == [3, 9]
    assert [result["workload"] for result in data["results"]] == [{"N": 3}, {"N": 9}]
    [listed] = last_json(tuner("campaign", "list", "--store", store, "--json"))["campaigns"]
    assert (listed["campaign"], listed["state"], listed["trials"]) == (data["campaign"], "finished", 32)
    again = tuner("campaign", "resume", data["campaign"], "--store", store, check=False)
    assert again.returncode == 1
    assert "has finished" in again.stderr


def test_tasks_are_weighted_and_their_shares_are_shown(tmp_path: Path, store: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"agent: random\nbudget: {{trials: 10, patience: 0.01}}\ntasks:\n- kernel: {TOY}\n  use: 4\n"
        "  workloads: [small, {N: 9}, {workload: {N: 12}, use: 32}]\n"
    )
    done = tuner("campaign", "run", str(spec), "--store", store, "--json")
    data = last_json(done)
    assert [result["use"] for result in data["results"]] == [4, 4, 32]
    assert sum(result["trials"] for result in data["results"]) <= 30
    assert {"starts", "gain", "expected_gain", "stopped"} <= set(data["results"][0])
    shown = tuner("campaign", "show", data["campaign"], "--store", store).stdout
    for text in (done.stderr, shown):
        assert "how the trials were shared out" in text
        assert re.search(r"N=12\s+32\s+\d+\s+\d+%", text)
        assert "expected of 10 more" in text


def test_a_specification_may_give_each_task_its_own_budget(tmp_path: Path, store: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"agent: random\nbudget: {{trials: 9}}\nschedule: each\n"
        f"tasks:\n- kernel: {TOY}\n  workloads: [{{N: 3}}, {{N: 9}}]\n"
    )
    data = last_json(tuner("campaign", "run", str(spec), "--store", store, "--json"))
    assert [result["trials"] for result in data["results"]] == [9, 9]
    assert [result["stopped"] for result in data["results"]] == ["trials", "trials"]


def test_a_specification_s_mistakes_are_told_with_their_lines(tmp_path: Path, store: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "agnet: random\n"
        "seed: zero\n"
        "budget: {trials: 0}\n"
        "finals:\n"
        "  treshold: 1.1\n"
        "tasks:\n"
        "- kernel: add_rms\n"
        "  workloads: [{M: 1, N: 64}]\n"
        "- kernel: add_rmsnorm\n"
        "  workloads:\n"
        "  - llama9\n"
        "  - {M: 1, N: 64}\n"
        "  - {M: 1, N: 64}\n"
        "- workloads: [small]\n"
        "- kernel: add_rmsnorm\n"
        "  workloads: [5]\n"
        "- kernel: add_rmsnorm\n"
        "  use: 0\n"
        "  workloads:\n"
        "  - {workload: {M: 2, N: 64}, use: often}\n"
        "  - {workload: {M: 3, N: 64}, uses: 2}\n"
        "schedule: fair\n"
        "in_flight: 0\n"
        "prior: maybe\n"
    )
    done = tuner("campaign", "run", str(spec), "--store", store, check=False)
    assert done.returncode == 1
    mistakes = {
        1: "unknown 'agnet' in a campaign; known: agent, ",
        2: "'zero' is not a whole number",
        3: "trials=0 is not a positive whole number",
        5: "unknown 'treshold' in finals; known: finalists",
        8: "unknown kernel 'add_rms'",
        11: "no workload named 'llama9'",
        13: "listed twice",
        14: "a task needs kernel",
        16: "5 is no workload",
        18: "use=0 is not a positive number",
        20: "use='often' is not a positive number",
        21: "unknown 'uses' in a workload with its use; known: workload, use",
        22: "'fair' is no schedule; choose one of gain, each",
        23: "in_flight=0 is not positive",
        24: "'maybe' is not true or false",
    }
    for line, text in mistakes.items():
        assert f"spec.yaml:{line}: {text}" in done.stderr or re.search(rf"spec.yaml:{line}: .*{text}", done.stderr), (
            line,
            done.stderr,
        )
    assert len(done.stderr.strip().splitlines()) == len(mistakes)
    assert not Path(store).exists()


@pytest.mark.parametrize("text", ["", "- 1", "tasks: [", "tasks: []", "tasks: {a: 1}", "\x00"])
def test_a_file_that_is_no_specification(tmp_path: Path, text: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(text)
    done = tuner("campaign", "run", str(spec), check=False)
    assert done.returncode == 1
    assert "spec.yaml" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune", "add_rms", "-w", "M=1"], "unknown kernel 'add_rms'; known: add_rmsnorm"),
        (["tune", "add_rmsnorm"], "needs a workload: its fields with -w NAME=VALUE, or --workload-name with one of:"),
        (["tune", "add_rmsnorm", "-w", "M=1"], "needs the workload field 'N'; give N=VALUE"),
        (["tune", "add_rmsnorm", "-w", "M=1", "-w", "N=64", "-w", "Q=1"], "no workload field 'Q'; it has: M, N"),
        (["tune", "add_rmsnorm", "-w", "M=-1", "-w", "N=64"], "M=-1 is not a positive integer"),
        (["tune", "add_rmsnorm", "-w", "M"], "-w 'M' is not NAME=VALUE"),
        (["tune", "add_rmsnorm", "-w", "M=1", "-w", "M=2"], "-w M is given twice"),
        (["tune", "add_rmsnorm", "--workload-name", "x"], "no workload named 'x'; it has: llama3-8b-decode"),
        (["tune", TOY, "-w", "N=3", "--trials", "0"], "trials=0 is not a positive whole number"),
        (["tune", TOY, "-w", "N=3", "--agent", "nobody"], "unknown agent 'nobody'"),
        (["tune", TOY, "-w", "N=3", "--runner", "slurm"], "unknown runner 'slurm'; known: local, ray"),
        (["tune", TOY, "-w", "N=3", "--device", "tpu"], "no device of kind 'tpu'"),
        (["tune", "nowhere.py:KERNEL", "-w", "N=3"], "no such file"),
        (["best", "add_rms", "-w", "M=1"], "unknown kernel"),
        (["tune", TOY, "-w", "N=3", "--trials", "many"], "'--trials'"),
        (["tune", TOY, "-w", "N=3", "--seed", "-1"], "seed=-1 is not between 0 and"),
        (["tune"], "Missing argument 'kernel'"),
        (["tune", TOY, "--wrokload", "N=3"], "No such option: --wrokload"),
        (["show", "12345678"], "12345678"),
        (["campaign", "cancel", "12345678"], "12345678"),
        (["replay", "nowhere.json"], "cannot read nowhere.json"),
        (["replay", "nowhere.json", "--seeds", "0"], "--seeds 0 is not positive"),
    ],
)
def test_bad_input_is_one_clear_line(words: list[str], message: str, store: str) -> None:
    done = tuner(*words, check=False, TUNER_STORE=store)
    assert done.returncode != 0
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    asked = tuner(*words, "--json", check=False, TUNER_STORE=store) if "cancel" not in words else None
    assert asked is None or message in last_json(asked)["error"]


@pytest.mark.skipif(os.name != "posix", reason="paths of this kind")
def test_a_store_that_cannot_be_written() -> None:
    done = tuner("tune", TOY, "-w", "N=3", "--store", "/proc/none/store.db", check=False)
    assert done.returncode == 1
    assert "/proc/none" in done.stderr


def test_a_machine_without_a_compiler_says_what_to_install(tmp_path: Path, store: str) -> None:
    done = tuner("tune", "add_rmsnorm", "-w", "M=1", "-w", "N=64", "--store", store, check=False, PATH=str(tmp_path))
    assert done.returncode == 1
    assert "no C++ compiler found" in done.stderr
    assert "apt-get install g++" in done.stderr


def test_a_tunable_file_with_an_error_says_where(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import tuner\nKERNEL = tuner.Nothing\n")
    done = tuner("tune", f"{tmp_path}/mine.py:KERNEL", "-w", "N=3", check=False)
    assert "AttributeError" in done.stderr
    assert "mine.py, line 2" in done.stderr or "__init__.py" in done.stderr


def start_slow(store: str) -> subprocess.Popen[str]:
    words = ["tune", "add_rmsnorm", "-w", "M=64", "-w", "N=4096", "--trials", "500", "--agent", "random", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", *words, "--store", store],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 90
    while (
        not Path(store).exists()
        or last_json(tuner("campaign", "list", "--json", "--store", store))["campaigns"][:1] == []
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while last_json(tuner("campaign", "list", "--json", "--store", store))["campaigns"][0]["trials"] < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


@pytest.mark.slow
def test_ctrl_c_once_finishes_what_runs_and_prints_the_best(store: str) -> None:
    process = start_slow(store)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "finishing what is being measured" in error
    data = json.loads(out.splitlines()[-1])
    assert data["interrupted"] is True
    assert 3 <= data["trials"] < 500
    assert data["config"]
    assert f"tuner campaign resume {data['campaign']}" in error
    [listed] = last_json(tuner("campaign", "list", "--json", "--store", store))["campaigns"]
    assert listed["state"] == "interrupted"
    assert listed["trials"] == data["trials"]


@pytest.mark.slow
def test_ctrl_c_twice_ends_at_once_and_keeps_what_was_finished(store: str) -> None:
    process = start_slow(store)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    # Two signals at once would be one.
    while "finishing what is being measured" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert "Traceback" not in error
    assert process.returncode == 130
    assert "every trial that was finished is kept" in error
    assert "Ctrl-C" in json.loads(out.splitlines()[-1])["error"]
    [listed] = last_json(tuner("campaign", "list", "--json", "--store", store))["campaigns"]
    assert listed["trials"] >= 3


@pytest.mark.slow
def test_cancel_ends_a_running_campaign(store: str) -> None:
    process = start_slow(store)
    [listed] = last_json(tuner("campaign", "list", "--json", "--store", store))["campaigns"]
    tuner("campaign", "cancel", listed["campaign"], "--store", store)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert json.loads(out.splitlines()[-1])["interrupted"] is True
    [listed] = last_json(tuner("campaign", "list", "--json", "--store", store))["campaigns"]
    assert listed["state"] == "cancelled"


@pytest.mark.slow
def test_tune_on_ray(store: str) -> None:
    pytest.importorskip("ray")
    words = ["tune", TOY, "-w", "N=9", "--trials", "16", "--agent", "random", "--runner", "ray", "--json"]
    assert last_json(tuner(*words, "--store", store))["config"]["X"] == 9


def test_calibrate_says_what_can_be_resolved() -> None:
    done = tuner("calibrate", "tuner.testing.toys:PARABOLA", "-w", "N=3", "--seconds", "0.1", "--json")
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["runs"] == 3
    assert found["false_differences"] == 0
    assert [one["pairs"] for one in found["resolutions"]] == [15, 30, 60, 100, 150]
    assert "a difference of 1% is resolved in" in done.stderr
    wrong = tuner("calibrate", "--seconds", "0", check=False)
    assert wrong.returncode == 1
    assert "--seconds 0 is not positive" in wrong.stderr
