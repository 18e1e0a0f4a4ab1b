from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_cli import ROOT, TOY, last_json, tuner


def test_a_recorded_space_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "parabola_here.json.gz"
    words = ("record", TOY, "-w", "N=9", "--out", str(path))
    found = last_json(tuner(*words, "--limit", "6", "--json"))
    assert (found["recorded"], found["resumed"], found["total"]) == (6, 0, 6)
    assert found["failures"] == {}
    assert found["default_seconds"] == pytest.approx(82e-3)
    done = tuner(*words)
    assert "16 of 16 configs recorded, 6 of them before" in done.stdout
    assert "X=9" in done.stdout
    [command] = [line.partition(": ")[2] for line in done.stdout.splitlines() if "judge agents" in line]
    assert command == f"tuner replay {path}"
    [agent] = last_json(tuner("replay", str(path), "--agent", "random", "--seeds", "2", "--json"))["agents"]
    [space] = agent["spaces"]
    assert (space["size"], space["kernel"]) == (16, TOY)
    assert space["optimum_seconds"] == pytest.approx(1e-3)
    assert agent["mean"]["f25"]["value"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--limit", "0", "--out", "x.json"], "--limit 0 is not positive"),
        (["--out", "nowhere/x.json"], "there is no folder nowhere"),
    ],
)
def test_what_is_refused(words: list[str], message: str) -> None:
    done = tuner("record", TOY, "-w", "N=9", *words, check=False)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "here.json"
    words = ["record", "add_rmsnorm", "-w", "M=64", "-w", "N=4096", "--out", str(path), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 90
    while not path.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "finishing what is being measured" in error
    assert "go on with the same command" in error
    found = json.loads(out.splitlines()[-1])
    assert 3 <= found["recorded"] < found["total"]
    goal = found["recorded"] + 3
    again = last_json(tuner(*words, "--limit", str(goal)))
    assert (again["recorded"], again["resumed"]) == (goal, found["recorded"])
