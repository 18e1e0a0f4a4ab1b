"""The SQL store keeps the contract on SQLite and on a real PostgreSQL, also when processes share it or are killed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import URL, update
from sqlalchemy.exc import IntegrityError

from tuner.db.engine import connect, locate
from tuner.db.rows import WinnerRow
from tuner.db.schema import REVISIONS, upgrade_store
from tuner.db.sql import SqlStore
from tuner.db.store import Store
from tuner.testing.store import StoreContract, make_task, make_trial, make_winner
from tuner.types import Config, State, Trial, Workload

PROCESS = Path(__file__).with_name("store_process.py")
BACKENDS = ["sqlite", "postgresql"]


class PostgresServer:
    """A PostgreSQL server of its own, on a socket in a folder of its own."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._programs = programs
        # PostgreSQL refuses to run as root.
        self._user: dict[str, Any] = {"user": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if self._user:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", options)

    def new_database(self) -> str:
        """Return the URL of a new, empty place for tables: a schema, which takes less than a database."""
        name = f"schema_{uuid4().hex[:8]}"
        engine = connect(locate(self._url()), timeout_seconds=10)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        engine.dispose()
        return self._url(options=f"-csearch_path={name}")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-m", "immediate")

    def _url(self, **query: str) -> str:
        url = URL.create("postgresql", "postgres", database="postgres", query={"host": str(self._folder), **query})
        return url.render_as_string(hide_password=False)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._folder / "data"), *arguments]
        with (self._folder / f"{program}.out").open("w") as output:
            subprocess.run(
                command, check=True, stdout=output, stderr=subprocess.STDOUT, cwd=self._folder, timeout=60, **self._user
            )


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("no driver of PostgreSQL; `pip install 'psycopg[binary]'` provides it")
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *filter(None, [_which("initdb")])]
    if not found:
        pytest.skip("no PostgreSQL server; `apt-get install postgresql` provides it")
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = PostgresServer(Path(folder), sorted(found)[-1].parent)
        yield server
        server.stop()


def _which(program: str) -> Path | None:
    path = shutil.which(program)
    return Path(path) if path else None


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that does not exist yet, in the database that the test is for."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tuner.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


on_both = pytest.mark.parametrize("url", BACKENDS, indirect=True)


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = SqlStore(tmp_path / "tuner.db")
        yield store
        store.close()


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def store(self, postgres: PostgresServer) -> Iterator[Store]:
        store = SqlStore(postgres.new_database())
        yield store
        store.close()


@on_both
def test_reopened_store_holds_everything(url: str) -> None:
    task = make_task()
    store = SqlStore(url)
    campaign = store.create_campaign({"seed": 1}, [task])
    store.add_trial(task, make_trial(campaign))
    winner = store.finish_task(campaign, task, {"best": 1.0}, make_winner(task))
    before = store.campaigns()
    store.close()
    store = SqlStore(url)
    assert store.campaigns() == before
    assert store.tasks(campaign) == [task]
    assert store.trials(campaign, task) == [make_trial(campaign)]
    assert store.winners() == [winner]
    store.close()


@on_both
def test_order_and_kind_of_values_are_kept(url: str) -> None:
    config = Config({"z": 1, "a": 1.0, "m": True, "b": -0.0, "c": 10**30, "d": 1e300})
    task = make_task()
    task = type(task)("toy", "1", Workload({"z": 1.0, "a": 2}), task.device)
    store = SqlStore(url)
    campaign = store.create_campaign({}, [task])
    store.add_trial(task, Trial(config, make_trial(campaign).measurement, campaign))
    [kept] = store.trials(campaign, task)
    assert repr(kept.config) == repr(config)
    assert repr(store.tasks(campaign)[0].workload) == repr(task.workload)
    store.close()


@on_both
def test_database_refuses_a_second_promoted_winner(url: str) -> None:
    task = make_task()
    store = SqlStore(url)
    for x in (1, 2):
        campaign = store.create_campaign({}, [task])
        store.finish_task(campaign, task, {}, make_winner(task, x=x))
    engine = connect(locate(url), timeout_seconds=1)
    with pytest.raises(IntegrityError, match="winners"), engine.begin() as connection:
        connection.execute(update(WinnerRow).values(state=State.PROMOTED.value))
    engine.dispose()
    store.close()


@on_both
def test_upgrade_makes_a_new_store_once(url: str) -> None:
    assert upgrade_store(url) is None
    assert upgrade_store(url) == REVISIONS[-1]
    SqlStore(url).close()


@on_both
def test_schema_equals_the_migrations(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from tuner.db.rows import Base

    SqlStore(url).close()
    engine = connect(locate(url), timeout_seconds=1)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


# Processes


@contextlib.contextmanager
def process(role: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of `store_process.py` that is ready to begin, and has ended when the context ends."""
    command = [sys.executable, "-W", "error", str(PROCESS), role, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        try:
            yield running
        finally:
            running.kill()


def race(*commands: tuple[str, ...]) -> list[str]:
    """Let processes begin at once, and return what they say."""
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(process(*command)) for command in commands]
        for one in running:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        said = [one.communicate(timeout=120)[0].strip() for one in running]
        assert [one.returncode for one in running] == [0] * len(running)
        return said


@on_both
def test_processes_create_the_same_store_at_once(url: str) -> None:
    campaigns = race(*[("create", url)] * 4)
    store = SqlStore(url)
    assert {record.id for record in store.campaigns()} == set(campaigns)
    assert len(campaigns) == 4
    store.close()


@on_both
def test_processes_promote_at_once(url: str) -> None:
    task = make_task()
    store = SqlStore(url)
    winners = []
    for x in range(3):
        campaign = store.create_campaign({}, [task])
        winner = store.finish_task(campaign, task, {}, make_winner(task, State.CANDIDATE, x=x))
        assert winner is not None
        winners.append(winner.id)
    race(*[("promote", url, str(winner)) for winner in winners])
    [promoted] = store.winners()
    for winner_id in winners:
        states = [change.state for change in store.history(winner_id)]
        assert states.count(State.PROMOTED) == 50
        assert states[-1] is (State.PROMOTED if winner_id == promoted.id else State.RETIRED)
    store.close()


@on_both
def test_trials_survive_the_kill_of_their_writer(url: str) -> None:
    SqlStore(url).close()
    with process("write", url) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
        campaign = writer.stdout.readline().strip()
        said = [int(writer.stdout.readline()) for _ in range(25)]
        writer.kill()
        said += [int(line) for line in writer.stdout.read().splitlines() if line]
    store = SqlStore(url)
    kept = [trial.number for trial in store.trials(campaign, make_task())]
    assert kept == list(range(len(kept)))
    assert len(said) <= len(kept) <= len(said) + 1
    number = len(kept)
    store.add_trial(make_task(), make_trial(campaign, number))
    assert store.campaign(campaign).trials == number + 1
    store.close()


@on_both
def test_opening_an_existing_store_does_not_import_alembic(url: str) -> None:
    assert race(("look", url)) == ["True"]
    assert race(("look", url)) == ["False"]
