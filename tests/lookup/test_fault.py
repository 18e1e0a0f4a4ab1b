"""Lookups beside a database that is locked, down, being migrated, older, newer or read-only: the server goes on."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.postgres import PostgresServer
from tuner.db import schema
from tuner.db.sql import SqlStore, upgrade_store
from tuner.lookup import Lookup, Source, origin, write_snapshot
from tuner.lookup.demand import StoreSink
from tuner.testing.store import make_winner
from tuner.types import Config, Device, Miss, State, Task, Winner, Workload

CPU = Device("cpu", "a processor", "x86_64", 1, 1 << 30)
KERNEL = "tuner.testing.toys:PARABOLA"
KNOWN = schema.REVISIONS
NEXT = f"{int(KNOWN[-1]) + 1:04}"
SLOW_MIGRATION = f"""
import time
from pathlib import Path
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "{NEXT}", "{KNOWN[-1]}", None, None
def upgrade():
    with op.batch_alter_table("campaigns") as batch:
        batch.add_column(sa.Column("note", sa.Text()))
    folder = Path(__file__).parents[2]
    (folder / "under way").touch()
    while not (folder / "go on").exists():
        time.sleep(0.01)
"""


def keep(store: SqlStore, n: int) -> None:
    """Promote a winner for one workload; its config says which."""
    task = Task(KERNEL, "1", Workload(N=n), CPU)
    evidence = replace(make_winner(task).evidence, environment={})
    winner = Winner(task, Config(X=n, FAULT="none"), evidence, State.PROMOTED)
    store.finish_task(store.create_campaign({}, [task]), task, {}, winner)


def made(where: str | Path) -> SqlStore:
    store = SqlStore(where)
    keep(store, 9)
    return store


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "_WAIT_SECONDS", 0.2)


def goes_on(lookup: Lookup, n: int = 9) -> None:
    for _ in range(3):
        assert not lookup.reload()
        choice = lookup.best(KERNEL, N=n)
        assert (choice.source, choice.config["X"]) == (Source.EXACT, n)


def test_a_locked_database_is_waited_for_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tuner.db"
    store = made(path)
    lookup = Lookup.open(path, device=CPU)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        goes_on(lookup)
    assert warnings(caplog) == []  # who writes does not keep others from reading
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as alone:
        alone.execute("PRAGMA locking_mode = EXCLUSIVE")
        alone.execute("BEGIN EXCLUSIVE")
        alone.execute("UPDATE campaigns SET wall_seconds = 2")
        goes_on(lookup)
        late = Lookup.open(path, device=CPU, kernels=[KERNEL])
        assert late.best(KERNEL, N=9).source is Source.DEFAULT
        alone.execute("ROLLBACK")
    told = warnings(caplog)
    assert len(told) == 2
    assert all("is locked by another process" in line for line in told)
    store = SqlStore(path)
    keep(store, 7)
    assert lookup.reload()
    assert late.reload()
    goes_on(lookup, 7)
    goes_on(late)
    assert (lookup.problems, len(warnings(caplog))) == ([], 2)
    store.close()


def test_misses_beside_a_locked_database_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Impatient(StoreSink):
        """Does not wait for the lock."""

        def add(self, misses: Sequence[Miss]) -> None:
            store = SqlStore(path, timeout_seconds=0.1)
            try:
                store.add_misses(misses)
            finally:
                store.close()

    path = tmp_path / "tuner.db"
    store = made(path)
    lookup = Lookup.open(path, device=CPU, kernels=[KERNEL], misses=Impatient(path), flush_seconds=3600)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        for n in (50000, 50000, 70000):
            assert lookup.best(KERNEL, N=n).source is Source.NEAREST
            assert lookup.flush() == 0
        writer.execute("ROLLBACK")
    assert len(warnings(caplog)) == 1
    assert lookup.flush() == 2
    assert {miss.workload["N"]: miss.count for miss in store.misses()} == {50000: 2, 70000: 1}
    lookup.close()
    store.close()


def test_a_server_that_goes_down_and_comes_back(postgres: PostgresServer, caplog: pytest.LogCaptureFixture) -> None:
    url = postgres.new_database()
    store = made(url)
    lookup = Lookup.open(url, device=CPU, misses=url, refresh_seconds=0.05, flush_seconds=0.1)
    stopped, wrong = threading.Event(), []

    def serve() -> None:
        asked = 50000
        while not stopped.wait(0.001):
            asked += 1
            choices = lookup.best(KERNEL, N=9), lookup.best(KERNEL, N=asked % 5 + 50000)
            if choices[0].source is not Source.EXACT or choices[1].source is not Source.NEAREST:
                wrong.append(choices)

    server = threading.Thread(target=serve)
    server.start()
    postgres.stop()
    try:
        wait_until(lambda: any("lookups go on with" in line for line in warnings(caplog)))
    finally:
        postgres.start()
    keep(store, 7)
    wait_until(lambda: len(lookup) == 2)
    stopped.set()
    server.join()
    lookup.close()
    assert wrong == []
    assert lookup.best(KERNEL, N=7).source is Source.EXACT
    # Servers that shut down, and that are not there, say different things: each is told once.
    assert len(set(warnings(caplog))) == len(warnings(caplog)) <= 6
    # None is lost. Had the server ended between keeping some and saying so, those would count twice.
    assert sum(miss.count for miss in store.misses()) >= lookup.metrics().misses
    store.close()


def wait_until(done: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if done():
            return
        pause.wait(0.02)
    raise AssertionError("it did not come within 20 seconds")


@pytest.fixture
def newer_code(tmp_path: Path) -> Callable[[Path], subprocess.Popen[bytes]]:
    """What starts the migration of another process, with code that has a schema more, and waits until it is under way.

    It goes on when there is a file `go on`.
    """
    shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / "next.py").write_text(SLOW_MIGRATION)
    code = (
        "import sys; from pathlib import Path; from tuner.db import schema\n"
        "schema.MIGRATIONS = Path(sys.argv[2]); schema.REVISIONS = (*schema.REVISIONS, sys.argv[3])\n"
        "schema.upgrade_store(sys.argv[1])"
    )

    def start(path: Path) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", code, str(path), str(tmp_path / "migrations"), NEXT]
        process = subprocess.Popen(words)
        wait_until((tmp_path / "under way").exists)
        return process

    return start


def test_readers_during_a_migration_and_after_it(
    tmp_path: Path, newer_code: Callable[[Path], subprocess.Popen[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    """The server's own code is the older one then: it goes on, and says that it has to be upgraded."""
    path = tmp_path / "tuner.db"
    made(path).close()
    last = tmp_path / "last.json"
    lookup = Lookup.open(path, device=CPU, last=last)
    migration = newer_code(path)
    goes_on(lookup)
    during = Lookup.open(path, device=CPU)
    goes_on(during)
    assert warnings(caplog) == []
    (tmp_path / "go on").touch()
    assert migration.wait(30) == 0
    goes_on(lookup)
    assert len(warnings(caplog)) == 1
    assert "written by a newer tuner" in warnings(caplog)[0]
    after = Lookup.open(path, device=CPU, last=last)
    goes_on(after)
    assert len(warnings(caplog)) == 2
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM winners").fetchone() == (1,)


def test_readers_before_a_migration_and_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server's own code is the newer one: it serves what it kept, names the command, and then what it finds."""
    path, last = tmp_path / "tuner.db", tmp_path / "last.json"
    store = made(path)
    write_snapshot(last, Lookup.open(store, device=CPU).table.snapshot)
    keep(store, 7)
    store.close()
    shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / "next.py").write_text(SLOW_MIGRATION)
    monkeypatch.setattr(schema, "MIGRATIONS", tmp_path / "migrations")
    monkeypatch.setattr(schema, "REVISIONS", (*KNOWN, NEXT))
    lookup = Lookup.open(path, device=CPU, last=last)
    goes_on(lookup)
    assert lookup.best(KERNEL, N=7).source is Source.NEAREST
    upgrading = threading.Thread(target=upgrade_store, args=[path])
    upgrading.start()
    wait_until((tmp_path / "under way").exists)
    goes_on(lookup)
    (tmp_path / "go on").touch()
    upgrading.join()
    told = warnings(caplog)
    assert len(told) == 1
    assert f"run `tuner store upgrade --store {path}`" in told[0]
    assert lookup.reload()
    goes_on(lookup, 7)
    goes_on(lookup, 9)
    assert (lookup.problems, warnings(caplog)) == ([], told)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")
@pytest.mark.parametrize("form", ["{}", "file:{}?mode=ro"])
def test_a_store_that_is_only_read(tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tuner.db"
    store = made(path)
    where = form.format(path)
    if form == "{}":
        path.chmod(0o444)
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o755)
        os.seteuid(65534)
    try:
        lookup = Lookup.open(where, device=CPU, misses=where, flush_seconds=3600)
        goes_on(lookup)
        assert lookup.best(KERNEL, N=50000).source is Source.NEAREST
        for _ in range(3):
            assert lookup.flush() == 0
        assert [miss.count for miss in lookup.misses()] == [1]
        os.seteuid(0)
        keep(store, 7)
        os.seteuid(65534 if form == "{}" else 0)
        assert lookup.reload()
        goes_on(lookup, 7)
        lookup.close()
    finally:
        os.seteuid(0)
    assert len(warnings(caplog)) == 1
    assert "is read-only" in warnings(caplog)[0]
    store.close()
