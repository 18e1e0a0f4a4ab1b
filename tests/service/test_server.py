from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service.source import KERNEL, filled

pytestmark = pytest.mark.slow


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `tuner serve` and give its process and its address."""
    command = [sys.executable, "-m", "tuner", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert found, process.stderr.read() if process.stderr else ""
            yield process, found.group()
        finally:
            process.kill()


def read(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        data: dict[str, object] = json.load(answer)
        return data


def test_it_serves_a_store_until_it_is_told_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "tuner.db"
    filled(path).close()
    with serving("--store", str(path), "--device", "cpu") as (process, address):
        assert read(f"{address}/v1/winners")["total"] == 2
        assert read(f"{address}/v1/best?kernel={KERNEL}&M=3")["source"] in ("default", "unknown")
        assert read(f"{address}/healthz")["status"] in ("ok", "degraded")
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 0
    with serving("--store", str(path), "--device", "cpu") as (_, address):
        # The miss was handed on when the first one ended.
        misses = read(f"{address}/v1/misses")["misses"]
        assert isinstance(misses, list)
        assert {"M": 3} in [miss["workload"] for miss in misses]


def test_it_serves_a_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "tuner.db"
    filled(path).close()
    snapshot = tmp_path / "winners.json"
    words = ["snapshot", "--store", str(path), "--out", str(snapshot), "--all"]
    subprocess.run([sys.executable, "-m", "tuner", *words], check=True, capture_output=True)
    with serving("--snapshot", str(snapshot), "--device", "cpu") as (_, address):
        assert read(f"{address}/v1/winners")["total"] == 1


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    filled(tmp_path / "tuner.db").close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ["serve", "--port", port, "--store", str(tmp_path / "tuner.db"), "--device", "cpu"]
        done = subprocess.run([sys.executable, "-m", "tuner", *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
