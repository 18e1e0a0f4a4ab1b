"""The real vLLM: a campaign of two starts, from the command line to the command that serves what is in the store."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tuner.campaign import task_of
from tuner.cli import app
from tuner.db.sql import SqlStore
from tuner.devices import available_cores, detect
from tuner.engines.vllm import VLLM
from tuner.types import Scalar, Status, Task, Trial

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-engines" / "bin" / "python"
DEVICE = f"cpu:{len(available_cores())}"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PYTHON.exists(), reason="there is no vLLM; make engines-venv"),
]


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scalar]:
    """Return the workload: the smallest model, short windows, and a space of the default and one other config."""
    model = tmp_path_factory.mktemp("model")
    small = ["--hidden", "128", "--layers", "2", "--vocabulary", "1024"]
    subprocess.run([PYTHON, ROOT / "tools" / "random_llama.py", model, *small], check=True)
    return {
        "model": str(model),
        "parameters": "enforce_eager",
        "context_tokens": 256,
        "concurrency": 4,
        "seconds": 0.5,
        "prompt_tokens": 32,
        "output_tokens": 8,
        "ttft_limit_seconds": 20.0,
    }


def task_from(fields: dict[str, Scalar]) -> Task:
    return task_of("engine:vllm", fields, detect(DEVICE))


def words(fields: dict[str, Scalar], store: str) -> list[str]:
    given = [word for name, value in fields.items() for word in ("-w", f"{name}={value}")]
    return [*given, "--device", DEVICE, "--store", store]


def shown(*given: str) -> Any:
    done = CliRunner().invoke(app, [*given, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output.splitlines()[-1])


def test_the_space_is_that_of_the_installed_version(fields: dict[str, Scalar]) -> None:
    task = task_from({**fields, "parameters": "dtype,enforce_eager,max_num_seqs"})
    assert task.device.environment["vllm"].startswith("0.")
    options = VLLM.options(task.workload, task.device)
    assert options.dropped == ()
    assert [one.name for one in options.kept] == ["dtype", "max_num_seqs", "enforce_eager", "kv_cache_gib"]


def test_a_campaign_of_two_starts_is_kept_shown_and_served(fields: dict[str, Scalar], tmp_path: Path) -> None:
    store, model = str(tmp_path / "store.db"), str(fields["model"])
    asked = ["--agent", "exhaustive", "--trials", "2", "--finalists", "0", "--objective", "maximize goodput"]
    command = [sys.executable, "-m", "tuner", "tune", "engine:vllm", *words(fields, store), *asked, "--json"]
    servers: set[int] = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tuning:
        while tuning.poll() is None:
            servers |= set(marked(model)) - {tuning.pid}
            time.sleep(0.2)
        output, errors = tuning.communicate()
    assert tuning.returncode == 0, errors
    assert servers or sys.platform != "linux"
    until = time.monotonic() + 20
    while marked(model) and time.monotonic() < until:
        time.sleep(0.1)
    assert marked(model) == []
    campaign = json.loads(output.splitlines()[-1])["campaign"]

    opened = SqlStore(store)
    [task] = opened.tasks(campaign)
    default, other = opened.trials(campaign, task)
    opened.close()
    assert task.key == task_from(fields).key
    assert default.config == VLLM.default(task.workload, task.device)
    assert {**default.config, "enforce_eager": True} == dict(other.config)
    for trial in (default, other):
        require_served(trial)
    for metric in ("goodput_per_second", "output_tokens_per_second", "cpu_seconds", "ttft_seconds_p99"):
        assert len(other.measurement.samples[metric]) == len(other.measurement.samples[f"reference_{metric}"]) == 2

    page = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["report", campaign, "--store", store, "--out", str(page)])
    assert done.exit_code == 0, done.output
    assert "enforce_eager" in page.read_text()
    best = shown("engine", "serve-command", "vllm", "--best", *words(fields, store))
    # Nothing was proven, and so it is vLLM as it comes.
    assert best["source"] == "default"
    assert best["config"] == dict(default.config)
    assert "--enforce-eager" not in shlex.split(best["command"])
    eager = shown("engine", "serve-command", "vllm", "--best", "-c", "enforce_eager=true", *words(fields, store))
    assert "--enforce-eager" in shlex.split(eager["command"])
    assert yaml.safe_load(eager["yaml"])["enforce-eager"] is True


def require_served(trial: Trial) -> None:
    measurement = trial.measurement
    assert measurement.status is Status.CORRECT, measurement.error
    assert measurement.resources["applied"] == "start"
    assert measurement.resources["error_rate"] == 0
    samples = measurement.samples
    assert min(samples["goodput_per_second"]) > 0
    assert sum(samples["output_tokens"]) == 8 * len(samples["ttft_seconds"])


def marked(word: str) -> list[int]:
    """Return the processes with `word` among their words."""
    if sys.platform != "linux":
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
