from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.lookup import Lookup, Source, read_snapshot

ROOT = Path(__file__).parents[2]
TOY = "tuner.testing.toys:PARABOLA"


def tuner(*words: str, store: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TUNER_STORE": str(store)}
    done = subprocess.run([sys.executable, "-m", "tuner", *words], capture_output=True, text=True, cwd=ROOT, env=env)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.slow
def test_from_a_campaign_to_a_snapshot_a_lock_and_a_lookup(tmp_path: Path) -> None:
    store, out, lock = tmp_path / "tuner.db", tmp_path / "winners.json", tmp_path / "tuner.lock"
    empty = tuner("snapshot", "--out", str(out), store=store)
    assert (empty.returncode, out.exists()) == (1, False)
    assert "no winner is promoted" in empty.stderr
    assert tuner("tune", TOY, "-w", "N=9", "--trials", "16", store=store).returncode == 0
    done = tuner("snapshot", "--out", str(out), "--json", store=store)
    assert read_snapshot(out).digest in done.stdout
    assert tuner("lock", "--file", str(lock), "--snapshot", str(out), store=store).returncode == 0
    # A store of one device has the winners of its snapshot, and so the same digest.
    assert tuner("lock", "--file", str(lock), "--check", store=store).returncode == 0
    with Lookup.open(out, lock=lock) as lookup:
        choice = lookup.best(TOY, N=9)
    assert (choice.source, choice.config["X"], lookup.digest) == (Source.EXACT, 9, read_snapshot(out).digest)
    assert tuner("tune", TOY, "-w", "N=8", "--trials", "16", store=store).returncode == 0
    other = tuner("lock", "--file", str(lock), "--check", store=store)
    assert other.returncode == 1
    assert "the store has 2 winners of digest" in other.stderr
