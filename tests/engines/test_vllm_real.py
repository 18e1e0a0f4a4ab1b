"""The real vLLM: two servers, of the defaults and of a challenger, measured in turns by a runner."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tuner.campaign import task_of
from tuner.devices import available_cores, detect
from tuner.engines.vllm import VLLM
from tuner.runners import LocalRunner
from tuner.types import Config, Sampling, Scalar, Status, Task

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-engines" / "bin" / "python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PYTHON.exists(), reason="there is no vLLM; make engines-venv"),
]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    model = tmp_path_factory.mktemp("model")
    small = ["--hidden", "128", "--layers", "2", "--vocabulary", "1024"]
    subprocess.run([PYTHON, ROOT / "tools" / "random_llama.py", model, *small], check=True)
    fields: dict[str, Scalar] = {
        "model": str(model),
        "parameters": "dtype,enforce_eager,max_num_seqs",
        "context_tokens": 256,
        "concurrency": 4,
        "seconds": 1.0,
        "prompt_tokens": 32,
        "output_tokens": 8,
        "ttft_limit_seconds": 20.0,
    }
    return task_of("engine:vllm", fields, detect(f"cpu:{len(available_cores())}"))


def test_the_space_is_that_of_the_installed_version(task: Task) -> None:
    assert task.device.environment["vllm"].startswith("0.")
    options = VLLM.options(task.workload, task.device)
    assert options.dropped == ()
    assert [one.name for one in options.kept] == ["dtype", "max_num_seqs", "enforce_eager", "kv_cache_gib"]


def test_a_trial_serves_the_default_and_a_challenger_in_turns(task: Task) -> None:
    default = VLLM.default(task.workload, task.device)
    challenger = Config({**default, "enforce_eager": True, "max_num_seqs": 8})
    runner = LocalRunner()
    try:
        found = runner.submit(task, challenger, Sampling(seed=0, rounds=2)).result()
        if sys.platform == "linux":
            assert marked(str(task.workload["model"]))
    finally:
        runner.close()
    assert found.status is Status.CORRECT, found.error
    assert found.resources["error_rate"] == 0
    for metric in ("goodput_per_second", "output_tokens_per_second", "cpu_seconds", "ttft_seconds_p99"):
        assert len(found.samples[metric]) == len(found.samples[f"reference_{metric}"]) == 2
        assert min(found.samples[metric]) > 0
    assert sum(found.samples["output_tokens"]) == 8 * len(found.samples["ttft_seconds"])
    until = time.monotonic() + 20
    while marked(str(task.workload["model"])) and time.monotonic() < until:
        time.sleep(0.1)
    assert marked(str(task.workload["model"])) == []
    assert yaml.safe_load(VLLM.serve_yaml(challenger, task.workload))["max-num-seqs"] == 8


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
