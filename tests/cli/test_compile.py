"""`tuner tune --compile-only`, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TUNER = [sys.executable, "-m", "tuner"]
NO_TRITON = find_spec("triton") is None
MATMUL = ["tune", "triton:matmul", "-w", "M=64", "-w", "N=64", "-w", "K=64"]


def run(*words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "XDG_CACHE_HOME": str(cache), "TUNER_STORE": str(cache / "store.db")}
    return subprocess.run([*TUNER, *words], capture_output=True, text=True, env=env)


@pytest.mark.slow
@pytest.mark.skipif(NO_TRITON, reason="needs Triton: pip install 'rltuner[triton]'")
@pytest.mark.parametrize("runner", ["local", "ray"])
def test_the_farm_fills_the_cache_for_a_gpu_that_is_not_here(runner: str, tmp_path: Path) -> None:
    farm = [*MATMUL, "--target", "cuda:90", "--compile-only", "--trials", "4", "--runner", runner, "--json"]
    done = run(*farm, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout.splitlines()[-1])
    assert data["target"] == "cuda:90"
    assert data["built"] + sum(data["pruned"].values()) == 4
    assert data["failed"] == {}
    assert data["builds_per_second"] > 0
    kept = {path.name for path in (tmp_path / "tuner/artifacts").glob("??/*")}
    assert {one["key"] for one in data["artifacts"]} <= kept
    again = json.loads(run(*farm, cache=tmp_path).stdout.splitlines()[-1])
    assert again["artifacts"] == data["artifacts"]
    assert {path.name for path in (tmp_path / "tuner/artifacts").glob("??/*")} == kept


def test_without_a_gpu_a_campaign_on_one_says_so_in_one_line(tmp_path: Path) -> None:
    done = run(*MATMUL, "--device", "cuda", cache=tmp_path)
    if done.returncode == 0:
        pytest.skip("this machine has a GPU")
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "no cuda device" in line
    assert "--compile-only" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "cuda:90"], "add --compile-only"),
        (["--target", "cuda:7", "--compile-only"], "unknown target 'cuda:7'; known: cuda:80"),
        (["--device", "hip"], "--compile-only"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    done = run(*MATMUL, *words, "--json", cache=tmp_path)
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert message in line
    assert message in json.loads(done.stdout)["error"]


def test_a_kernel_for_gpus_is_not_compiled_for_a_cpu(tmp_path: Path) -> None:
    done = run(*MATMUL, "--compile-only", cache=tmp_path)
    assert done.returncode == 1
    assert "does not run on cpu; it runs on: cuda, hip" in done.stderr


@pytest.mark.slow
def test_a_kernel_for_a_cpu_can_be_compiled_only(tmp_path: Path) -> None:
    done = run(
        "tune", "softmax", "-w", "M=4", "-w", "N=256", "--compile-only", "--trials", "3", "--json", cache=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["built"] == 3


def test_a_gpu_that_is_not_here_is_shown(tmp_path: Path) -> None:
    shown = run("devices", "--target", "h200", cache=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("h200: NVIDIA H200 (sm_90)")
    assert "4800 GB/s" in shown.stdout
    refused = run("devices", "--target", "h200", "--measure", cache=tmp_path)
    assert refused.returncode == 1
    assert "need not be here" in refused.stderr
