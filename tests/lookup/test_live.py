from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import os
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.lookup.proofs import GPU, OTHER, proof
from tuner.db import MemoryStore
from tuner.db.sql import SqlStore
from tuner.errors import SnapshotError, TunerError
from tuner.lookup import (
    Lock,
    Lookup,
    Rules,
    Source,
    live,
    read_misses,
    read_snapshot,
    snapshot_of,
    write_snapshot,
)
from tuner.lookup.count import Count
from tuner.lookup.demand import Asked, Demand
from tuner.testing.store import make_winner
from tuner.types import Config, Device, Miss, State, Task, Winner, Workload

ASKED: dict[str, Any] = {"M": 16, "N": 4096, "dtype": "bf16"}
KERNELS = {"triton:matmul": Rules({"BLOCK": 32})}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "winners.json"
    write_snapshot(path, snapshot_of([proof(1, 64)]))
    return path


def opened(path: Path, **options: Any) -> Lookup:
    return Lookup.open(path, **{"device": GPU, "kernels": KERNELS, **options})


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_answers_are_counted_by_source_and_remembered(path: Path) -> None:
    lookup = opened(path)
    for _ in range(3):
        assert lookup.best("triton:matmul", **ASKED).source is Source.EXACT
        assert lookup.best("triton:matmul", **{**ASKED, "M": 17}).source is Source.NEAREST
        assert lookup.best("triton:matmul", M=16).source is Source.DEFAULT
        assert lookup.best("nothing", M=16).source is Source.UNKNOWN
    assert lookup.best("triton:matmul", **ASKED) is lookup.best("triton:matmul", **ASKED)
    metrics = lookup.metrics()
    assert metrics.answers == {
        **dict.fromkeys(Source, 0),
        Source.EXACT: 5,
        Source.NEAREST: 3,
        Source.DEFAULT: 3,
        Source.UNKNOWN: 3,
    }
    assert (metrics.hits, metrics.misses, metrics.stale, metrics.winners, metrics.uncounted) == (5, 9, 0, 1, 0)
    assert [(miss.kernel, dict(miss.workload), miss.count, miss.source) for miss in lookup.misses()] == [
        ("nothing", {"M": 16}, 3, "unknown"),
        ("triton:matmul", {"M": 16}, 3, "default"),
        ("triton:matmul", {**ASKED, "M": 17}, 3, "nearest"),
    ]


def test_a_hit_tells_true_from_one_though_they_are_the_same_key() -> None:
    lookup = Lookup.open(MemoryStore(), device=GPU, kernels={"k": Rules(lambda workload: workload)})
    assert [lookup.best("k", x=value).config.json for value in (1, True, 1.0, 1)] == [
        '{"x":1}', '{"x":true}', '{"x":1.0}', '{"x":1}'
    ]  # fmt: skip


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, object(), {1}, float("nan")])
def test_nothing_that_is_asked_raises(path: Path, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    lookup = opened(path)
    for _ in range(5):
        assert lookup.best("triton:matmul", **{**ASKED, "M": value}).source in (Source.UNKNOWN, Source.DEFAULT)
        assert lookup.best("nothing", kernel=value).source is Source.UNKNOWN
    assert lookup.metrics().misses == 10
    assert len(lookup.misses()) == 0
    assert len(warnings(caplog)) <= 2


def test_a_new_snapshot_is_served_and_a_broken_one_refused_and_told_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lookup = opened(path)
    digest = lookup.digest
    assert not lookup.reload()
    text = path.read_text()
    for broken in (text[:50], text[:50], text.replace('"schema":1', '"schema":3')):
        path.write_text(broken)
        assert not lookup.reload()
        assert lookup.best("triton:matmul", **ASKED).config["BLOCK"] == 64
    assert len(warnings(caplog)) == 2
    assert all(str(path) in message for message in warnings(caplog))
    assert len(lookup.problems) == 2
    write_snapshot(path, snapshot_of([proof(2, 128)]))
    assert lookup.reload()
    assert lookup.problems == []
    assert lookup.best("triton:matmul", **ASKED).config["BLOCK"] == 128
    assert lookup.digest == read_snapshot(path).digest != digest
    metrics = lookup.metrics()
    assert (metrics.refreshes, metrics.refused) == (1, 3)
    path.unlink()
    assert not lookup.reload()
    assert lookup.best("triton:matmul", **ASKED).config["BLOCK"] == 128


def test_misses_of_before_a_new_table_are_kept(path: Path) -> None:
    lookup = opened(path)
    lookup.best("triton:matmul", **{**ASKED, "M": 17})
    write_snapshot(path, snapshot_of([proof(2, M=17, N=4096, dtype="bf16")]))
    assert lookup.reload()
    assert lookup.best("triton:matmul", **{**ASKED, "M": 17}).source is Source.EXACT
    assert [(miss.workload["M"], miss.count) for miss in lookup.misses()] == [(17, 1)]


def test_a_snapshot_that_is_not_there_or_not_whole_does_not_open(path: Path) -> None:
    path.write_text("{")
    with pytest.raises(SnapshotError, match="not whole"):
        opened(path)
    path.unlink()
    with pytest.raises(SnapshotError, match="No such file"):
        opened(path)


def test_a_lock_refuses_other_winners(path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock = tmp_path / "tuner.lock"
    Lock.of(read_snapshot(path)).write(lock)
    lookup = opened(path, lock=lock)
    write_snapshot(path, snapshot_of([proof(2, 128)]))
    assert not lookup.reload()
    assert lookup.best("triton:matmul", **ASKED).config["BLOCK"] == 64
    assert "the lock is on 1" in warnings(caplog)[0]
    with pytest.raises(SnapshotError, match="the lock is on 1"):
        opened(path, lock=lock)


def kept(store: Any, block: int = 64, kernel: str = "tuner.testing.toys:PARABOLA", n: int = 9) -> int:
    device = Device("cpu", "a processor", "x86_64", 1, 1 << 30)
    task = Task(kernel, "1", Workload(N=n), device)
    campaign = store.create_campaign({}, [task])
    evidence = replace(make_winner(task).evidence, environment={})
    winner = store.finish_task(
        campaign, task, {}, Winner(task, Config(X=block, FAULT="none"), evidence, State.PROMOTED)
    )
    assert winner is not None
    return int(winner.id)


CPU = Device("cpu", "a processor", "x86_64", 1, 1 << 30)


def test_a_store_is_served_with_its_kernels_defaults_and_constraints(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tuner.db"
    store = SqlStore(url)
    first = kept(store, 9)
    lookup = Lookup.open(url, device=CPU)
    assert lookup.best("tuner.testing.toys:PARABOLA", N=9).source is Source.EXACT
    assert lookup.best("tuner.testing.toys:PARABOLA", N=8).source is Source.NEAREST
    assert not lookup.reload()
    kept(store, 7)
    assert lookup.reload()
    assert lookup.best("tuner.testing.toys:PARABOLA", N=9).config["X"] == 7
    second = store.winners()[0].id
    store.set_winner_state(second, State.QUARANTINED, "wrong at N=9")
    store.set_winner_state(first, State.PROMOTED, "back")
    assert lookup.reload()
    assert lookup.best("tuner.testing.toys:PARABOLA", N=9).config["X"] == 9
    store.close()


def test_a_store_that_is_down_is_answered_from_the_last_snapshot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, last = tmp_path / "tuner.db", tmp_path / "last.json"
    kernel = "tuner.testing.toys:PARABOLA"
    lookup = Lookup.open(path, device=CPU, kernels=[kernel], last=last)
    assert lookup.best(kernel, N=9).source is Source.DEFAULT
    assert not path.exists(), "a store that is not there is not made"
    assert len(warnings(caplog)) == 1
    store = SqlStore(path)
    kept(store, 9)
    store.close()
    assert lookup.reload()
    assert len(read_snapshot(last)) == 1
    path.write_bytes(b"this is no database, whatever it was before" * 100)
    for _ in range(3):
        assert not lookup.reload()
    assert lookup.best(kernel, N=9).source is Source.EXACT
    anew = Lookup.open(path, device=CPU, kernels=[kernel], last=last)
    assert anew.best(kernel, N=9).source is Source.EXACT
    assert len(read_snapshot(last)) == 1
    assert len(warnings(caplog)) == 3
    assert "1 winners of" in warnings(caplog)[-1]


def test_an_older_store_is_told_with_the_command_that_upgrades_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Old:
        def winners(self) -> Sequence[Winner]:
            raise TunerError("the store has an older schema; run `tuner store upgrade`")

    lookup = Lookup.open(Old(), device=CPU)
    assert lookup.best("k", N=9).source is Source.UNKNOWN
    assert "tuner store upgrade" in warnings(caplog)[0]


def test_which_device_asks(tmp_path: Path) -> None:
    path = tmp_path / "both.json"
    write_snapshot(path, snapshot_of([proof(1), proof(2, device=OTHER), proof(3, device=CPU)]))
    with pytest.raises(TunerError, match=r"the winners are of cpu:1, cuda:1; say which device asks"):
        Lookup.open(path)
    write_snapshot(path, snapshot_of([proof(1)]))
    lookup = Lookup.open(path)
    assert lookup.device.fingerprint == GPU.fingerprint


def test_readers_see_whole_tables_while_a_writer_replaces_them(path: Path) -> None:
    """Every answer is of one snapshot: block and speed-up belong together."""
    lookup = opened(path)
    stop, wrong, asked = threading.Event(), [], []

    def read() -> None:
        count = 0
        while not stop.is_set():
            choice = lookup.best("triton:matmul", **ASKED)
            count += 1
            if choice.winner is None or choice.winner.id != choice.config["BLOCK"] or choice.source is not Source.EXACT:
                wrong.append(choice)
        asked.append(count)

    write_snapshot(path, snapshot_of([proof(1, 1)]))
    lookup.reload()
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2, 60):
        write_snapshot(path, snapshot_of([proof(number, number)]))
        assert lookup.reload()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert lookup.metrics().answers[Source.EXACT] == sum(asked)


def test_counts_of_threads_add_up() -> None:
    lookup = Lookup.open(MemoryStore(), device=GPU, kernels={"k": Rules({})})

    def ask() -> None:
        for number in range(5000):
            lookup.best("k", N=number % 7)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lookup.metrics().misses == 20000
    assert sum(miss.count for miss in lookup.misses()) == 20000


def until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_thread_refreshes_and_flushes_and_ends(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "misses.jsonl"
    lookup = opened(path, misses=file, refresh_seconds=0.01, flush_seconds=0.01)
    lookup.best("triton:matmul", **{**ASKED, "M": 3})
    write_snapshot(path, snapshot_of([proof(1, 96)]))
    until(lambda: lookup.best("triton:matmul", **ASKED).config["BLOCK"] == 96 and file.exists())
    lookup.best("triton:matmul", **{**ASKED, "M": 3})
    thread = lookup._thread
    assert thread is not None
    lookup.close()
    assert not thread.is_alive()
    [miss] = read_misses(file)
    assert (miss.workload["M"], miss.count, miss.device) == (3, 2, GPU)
    assert lookup.best("triton:matmul", **ASKED).source is Source.EXACT


def test_a_lookup_that_nobody_holds_ends_its_thread(path: Path) -> None:
    lookup = opened(path, refresh_seconds=0.01)
    thread, reference = lookup._thread, weakref.ref(lookup)
    del lookup
    gc.collect()
    until(lambda: reference() is None)
    assert thread is not None
    thread.join(20)
    assert not thread.is_alive()


def test_an_interval_that_is_not_positive(path: Path) -> None:
    with pytest.raises(TunerError, match="not positive"):
        opened(path).refresh(0)


class Flaky:
    """A sink that fails at first."""

    def __init__(self) -> None:
        self.fails = True
        self.got: list[Miss] = []

    def add(self, misses: Sequence[Miss]) -> None:
        if self.fails:
            raise OSError("gone")
        self.got.extend(misses)


def test_misses_that_cannot_be_handed_on_are_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = Flaky()
    with opened(path, misses=sink, flush_seconds=3600.0) as lookup:
        for _ in range(4):
            lookup.best("triton:matmul", M=1)
            assert lookup.flush() == 0
        assert len(warnings(caplog)) == 1
        sink.fails = False
        assert lookup.flush() == 1
        assert lookup.flush() == 0
    assert [miss.count for miss in sink.got] == [4]


def test_misses_are_handed_on_to_a_store(path: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tuner.db"
    with opened(path, misses=url) as lookup:
        lookup.best("triton:matmul", M=1)
        lookup.best("triton:matmul", M=1)
        assert lookup.flush() == 1
    store = SqlStore(url)
    [miss] = store.misses()
    store.close()
    assert (miss.kernel, dict(miss.workload), miss.count, miss.device.fingerprint) == (
        "triton:matmul", {"M": 1}, 2, GPU.fingerprint
    )  # fmt: skip


def in_child(lookup: Lookup, path: Path, out: Any) -> None:
    before = lookup.metrics().hits
    lookup.best("triton:matmul", **ASKED)
    write_snapshot(path, snapshot_of([proof(1, 96)]))
    until(lambda: lookup.best("triton:matmul", **ASKED).config["BLOCK"] == 96)
    out.send((before, lookup.misses() == [], os.getpid()))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_process_goes_on_by_itself(path: Path) -> None:
    lookup = opened(path, refresh_seconds=0.01)
    lookup.best("triton:matmul", **ASKED)
    lookup.best("triton:matmul", M=5)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    with lookup._loading, lookup._flushing:  # as if the thread were at work: the child must not wait for it
        child = context.Process(target=in_child, args=(lookup, path, theirs))
        child.start()
    assert ours.poll(30)
    before, no_misses, pid = ours.recv()
    child.join(30)
    assert (before, no_misses) == (0, True)
    assert pid != os.getpid()
    assert [miss.count for miss in lookup.misses()] == [1]
    lookup.close()


def test_memory_is_bounded_and_what_was_asked_for_most_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "Demand", lambda: Demand(most=100))
    lookup = Lookup.open(MemoryStore(), device=GPU, kernels={"k": Rules({})})
    for number in range(5000):
        lookup.best("k", N=number)
        if number % 5 == 0:
            lookup.best("k", N=-1)
        if number % 1000 == 999:
            assert len(lookup.misses()) == 100
    first = lookup.misses()[0]
    assert first.workload["N"] == -1
    assert len(lookup.misses()) == 100
    metrics = lookup.metrics()
    assert metrics.misses == 6000
    assert first.count + metrics.uncounted <= 6000
    assert metrics.uncounted > 0


def test_a_store_that_is_gone_is_not_made_anew_for_misses(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "tuner.db"
    SqlStore(file).close()
    with opened(path, misses=file) as lookup:
        lookup.best("triton:matmul", **{**ASKED, "M": 17})
        file.unlink()
        assert lookup.flush() == 0
        # An empty store in its place would be read as one without winners.
        assert not file.exists()
        assert [miss.count for miss in lookup.misses()] == [1]


def test_misses_that_were_given_back_add_up() -> None:
    demand, total = Demand(), Count()
    asked = Asked("k", {"M": 4}, Lookup.open(MemoryStore(), device=GPU).best("k", M=4), total)
    demand.recent.put(1, asked)
    asked.again()
    taken = demand.take(GPU)
    asked.again()
    demand.give_back(taken)
    assert [miss.count for miss in demand.take(GPU)] == [2]
    assert demand.take(GPU) == []


def test_a_file_of_misses_is_read_back_and_a_bad_line_named(tmp_path: Path) -> None:
    file = tmp_path / "misses.jsonl"
    miss = Miss("k", Workload(M=1), GPU, 2, "default", "2026-01-01T00:00:00+00:00")
    lines = [json.dumps(miss.to_json())] * 3
    file.write_text("\n".join(lines) + "\n")
    assert [one.count for one in read_misses(file)] == [6]
    for bad in ("{", "[]", "{}", "3", json.dumps({**miss.to_json(), "count": 0}), "[" * 99999):
        file.write_text(f"{lines[0]}\n{bad}\n")
        with pytest.raises(SnapshotError, match="line 2"):
            read_misses(file)


def test_prometheus_reads_what_metrics_say(path: Path) -> None:
    client = pytest.importorskip("prometheus_client", reason="pip install 'rltuner[service]'")
    lookup = opened(path)
    lookup.best("triton:matmul", **ASKED)
    lookup.best("triton:matmul", M=1)
    registry = client.CollectorRegistry()
    registry.register(lookup.collector())
    text = client.generate_latest(registry).decode()
    assert 'tuner_lookup_answers_total{source="exact"} 1.0' in text
    assert "tuner_lookup_misses_total 1.0" in text
    assert "tuner_lookup_winners 1.0" in text
