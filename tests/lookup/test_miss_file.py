"""Files of misses while several processes write them and others add them to a store: each miss counts once."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.lookup.proofs import GPU
from tuner.db import MemoryStore
from tuner.errors import SnapshotError, TunerError
from tuner.lookup import JsonLinesSink, miss_file, read_misses
from tuner.lookup.miss_file import take_misses, unfinished
from tuner.types import Miss, Workload, canonical_json

WRITER = """
import json, sys
from tuner.lookup import JsonLinesSink
from tuner.types import Miss
sink = JsonLinesSink(sys.argv[1])
miss = Miss.from_json(json.loads(sys.argv[2]))
for _ in range(400):
    sink.add([miss] * 3)
"""


def miss(rows: int = 1, count: int = 1) -> Miss:
    return Miss("k", Workload(M=rows), GPU, count, "default", "2026-01-01T00:00:00+00:00")


def test_each_miss_of_servers_that_go_on_counts_once(tmp_path: Path) -> None:
    path, store = tmp_path / "misses.jsonl", MemoryStore()
    words = [[sys.executable, "-c", WRITER, str(path), miss_json(rows)] for rows in (1, 2)]
    writers = [subprocess.Popen(command) for command in words]
    taken = 0
    while any(writer.poll() is None for writer in writers) or path.exists():
        if path.exists():
            take_misses(path, store.add_misses)
            taken += 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert {one.workload["M"]: one.count for one in store.misses()} == {1: 1200, 2: 1200}
    assert taken > 1
    assert len(list(tmp_path.glob("misses.jsonl.*.added"))) == taken == len(list(tmp_path.iterdir()))


def miss_json(rows: int) -> str:
    return canonical_json(miss(rows).to_json())


def test_what_is_being_written_is_waited_for(tmp_path: Path) -> None:
    path, store = tmp_path / "misses.jsonl", MemoryStore()
    JsonLinesSink(path).add([miss(1)])
    writing = path.open("a")
    fcntl.flock(writing, fcntl.LOCK_EX)
    adding = threading.Thread(target=take_misses, args=(path, store.add_misses))
    adding.start()
    while path.exists():
        os.sched_yield()
    writing.write(miss_json(2) + "\n")
    writing.close()
    adding.join()
    assert {one.workload["M"] for one in store.misses()} == {1, 2}


def test_who_opened_the_file_before_it_was_taken_writes_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, store = tmp_path / "misses.jsonl", MemoryStore()
    JsonLinesSink(path).add([miss(1)])
    lock = miss_file._lock
    waited: list[int] = []

    def late(handle: int) -> None:
        if not waited:
            waited.append(handle)
            take_misses(path, store.add_misses)
        lock(handle)

    monkeypatch.setattr(miss_file, "_lock", late)
    JsonLinesSink(path).add([miss(2)])
    assert {one.workload["M"] for one in store.misses()} == {1}
    assert {one.workload["M"] for one in read_misses(path)} == {2}


def test_what_a_store_refuses_is_put_back_or_stays_aside(tmp_path: Path) -> None:
    path = tmp_path / "misses.jsonl"
    JsonLinesSink(path).add([miss(1)])

    def refuse(_: Sequence[Miss]) -> None:
        raise TunerError("the store is locked")

    def refuse_late(_: Sequence[Miss]) -> None:
        JsonLinesSink(path).add([miss(2)])
        raise TunerError("the store is locked")

    with pytest.raises(TunerError, match=rf"^the store is locked; the misses are in {path}$"):
        take_misses(path, refuse)
    assert [one.name for one in tmp_path.iterdir()] == ["misses.jsonl"]
    with pytest.raises(TunerError, match=r"the misses are in .*\.adding$"):
        take_misses(path, refuse_late)
    assert [one.workload["M"] for one in read_misses(path)] == [2]
    [aside] = unfinished(path)
    assert [one.workload["M"] for one in read_misses(aside)] == [1]


def test_a_file_that_is_being_added_is_not_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "misses.jsonl"
    JsonLinesSink(path).add([miss(1)])
    seen: list[list[Path]] = []
    take_misses(path, lambda _: seen.append(unfinished(path)))
    assert (seen, unfinished(path)) == ([[]], [])


def test_a_part_that_was_written_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "misses.jsonl"
    JsonLinesSink(path).add([miss(1)])
    write, before = os.write, path.read_bytes()

    def full(handle: int, data: bytes) -> int:
        if len(data) <= 10:
            raise OSError(28, "No space left on device")
        return write(handle, data[: len(data) - 10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(SnapshotError, match="No space left"):
            JsonLinesSink(path).add([miss(2)])
    assert path.read_bytes() == before
