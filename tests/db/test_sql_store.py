"""The SQL store keeps the contract on SQLite and on a real PostgreSQL, also when processes share it or are killed."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from tests.postgres import PostgresServer
from tuner.db import schema
from tuner.db.codec import dumps
from tuner.db.engine import connect, locate, place
from tuner.db.rows import WinnerRow
from tuner.db.schema import REVISIONS, upgrade_store
from tuner.db.sql import SqlStore
from tuner.db.store import Store
from tuner.errors import StoreError
from tuner.testing.store import StoreContract, make_miss, make_task, make_trial, make_winner
from tuner.types import Config, State, Task, Trial, Winner, Workload

PROCESS = Path(__file__).with_name("store_process.py")
BACKENDS = ["sqlite", "postgresql"]


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


def kept(store: Store, winner: Winner) -> int:
    """Return the identifier of a winner as a campaign of its own keeps it."""
    found = store.finish_task(store.create_campaign({}, [winner.task]), winner.task, {}, winner)
    assert found is not None
    return found.id


@on_both
def test_processes_roll_the_same_winner_back_once(url: str) -> None:
    task = make_task()
    store = SqlStore(url)
    winners = [kept(store, make_winner(task, x=x)) for x in range(4)]
    said = race(*[("roll-back", url, str(winners[3]))] * 3)
    assert sorted(said) == sorted([str(winners[2]), *["refused"] * 2])
    assert [winner.id for winner in store.winners()] == [winners[2]]
    assert [change.state for change in store.history(winners[3])] == [State.PROMOTED, State.QUARANTINED]
    store.close()


@on_both
def test_what_one_process_quarantines_no_other_promotes(url: str) -> None:
    """Neither the winner, nor the same config of another version of the kernel, whenever it happens."""
    store = SqlStore(url)
    old, new = (kept(store, make_winner(make_task(version=version), x=3)) for version in ("1", "2"))
    other = kept(store, make_winner(make_task(version="2"), x=4))
    race(
        ("promote-once", url, str(new)),
        ("promote-once", url, str(old)),
        ("quarantine", url, str(old)),
        ("promote-once", url, str(other)),
    )
    assert store.winner(old).state is State.QUARANTINED
    assert store.winner(new).state is not State.PROMOTED
    assert [winner.id for winner in store.winners()] in ([other], [])
    with pytest.raises(StoreError, match="quarantined"):
        store.promote(new, "after the race")
    store.close()


@on_both
def test_processes_count_misses_at_once(url: str) -> None:
    SqlStore(url).close()
    race(*[("miss", url)] * 2)
    store = SqlStore(url)
    assert [miss.count for miss in store.misses()] == [2 * 25] * 8
    store.close()


# Faults


@pytest.fixture
def reader_of_before(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqlStore:
    """An open store of this version, while this tuner gets another version, whose migration takes its time."""
    store = SqlStore(url)
    store.create_campaign({"seed": 1}, [make_task()])
    migrations = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, migrations)
    (migrations / "versions" / "next.py").write_text(
        "import time\n"
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f"revision, down_revision, branch_labels, depends_on = 'next', '{REVISIONS[-1]}', None, None\n"
        "def upgrade():\n"
        "    op.add_column('campaigns', sa.Column('note', sa.Text()))\n"
        "    time.sleep(0.5)\n"
    )
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    monkeypatch.setattr(schema, "REVISIONS", (*REVISIONS, "next"))
    return store


@on_both
def test_who_reads_and_writes_during_a_migration_loses_nothing(url: str, reader_of_before: SqlStore) -> None:
    """Readers see what there is, before, during and after; what is written meanwhile is kept."""
    done = threading.Event()
    failures: list[BaseException] = []
    written = [0]

    def read() -> None:
        try:
            while not done.is_set():
                assert [record.spec for record in reader_of_before.campaigns()] == [{"seed": 1}]
        except BaseException as error:
            failures.append(error)

    def write() -> None:
        try:
            while not done.is_set():
                reader_of_before.add_misses([make_miss()])
                written[0] += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=target) for target in (read, read, write)]
    for thread in threads:
        thread.start()
    assert upgrade_store(url) == REVISIONS[-1]
    time.sleep(0.1)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [miss.count for miss in reader_of_before.misses()] == [written[0]]
    reader_of_before.close()
    again = SqlStore(url)
    assert [miss.count for miss in again.misses()] == [written[0]]
    again.close()


@on_both
def test_store_of_before_says_how_to_upgrade_it(url: str, reader_of_before: SqlStore) -> None:
    reader_of_before.close()
    with pytest.raises(StoreError) as refused:
        SqlStore(url)
    command = re.findall("`tuner store upgrade --store ([^`]+)`", str(refused.value))
    assert command == [place(locate(url))]


@on_both
def test_winners_and_histories_survive_the_upgrade(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the version before winners could be imported: with their order of promotion."""
    migrations = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, migrations)
    for script in (migrations / "versions").glob("0*.py"):
        if script.name > "0003":
            script.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", migrations)
        patch.setattr(schema, "REVISIONS", ("0001", "0002"))
        assert upgrade_store(url) is None
    engine = connect(locate(url), timeout_seconds=5)
    task = make_task()
    evidence = dumps(
        {
            name: value
            for name, value in make_winner(task).evidence.to_json().items()
            if name not in ("seeds", "edge_shapes", "source_hash", "origin")
        }
    )
    with engine.begin() as connection:
        for statement in second_version_rows(task, evidence):
            connection.exec_driver_sql(statement)
        if engine.dialect.name == "postgresql":
            for table in ("devices", "environments", "tasks", "winners", "winner_history"):
                connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 9)")
    engine.dispose()
    assert upgrade_store(url) == "0002"
    store = SqlStore(url)
    first, second = reversed(store.winners(state=None))
    assert (first.id, first.state, first.config, first.campaign) == (1, State.RETIRED, Config(X=1), "0123abcd")
    assert first.evidence == second.evidence == make_winner(task).evidence
    assert [change.state for change in store.history(2)] == [State.PROMOTED]
    assert store.winners(place=task.place) == [second]
    assert store.rollback(2, "crashes").id == 1
    assert store.add_winner(replace(first, id=0, campaign="", state=State.CANDIDATE), "imported").id > 2
    store.close()


def second_version_rows(task: Task, evidence: str) -> Iterator[str]:
    """Yield what version 0002 wrote: a campaign whose second winner replaced its first."""
    device, time_ = task.device, "2025-01-01T00:00:00.000000+00:00"
    model = dumps({k: v for k, v in device.to_json().items() if k not in ("memory_bytes", "environment")})
    varying = dumps({"memory_bytes": device.memory_bytes, "environment": dict(device.environment)})
    yield f"INSERT INTO devices (id, fingerprint, data) VALUES (1, '{device.fingerprint}', '{model}')"
    yield f"INSERT INTO environments (id, key, fingerprint, data) VALUES (1, 'x', 'y', '{varying}')"
    yield (
        "INSERT INTO tasks (id, key, tunable, version, workload, device_id) "
        f"VALUES (1, '{task.key}', '{task.tunable}', '{task.version}', '{dumps(dict(task.workload))}', 1)"
    )
    yield (
        "INSERT INTO campaigns (id, state, spec, created_at, wall_seconds) "
        f"VALUES ('0123abcd', 'finished', '{{}}', '{time_}', 1.0)"
    )
    yield "INSERT INTO campaign_tasks (campaign_id, task_id, environment_id, position) VALUES ('0123abcd', 1, 1, 0)"
    for x, state in ((1, "retired"), (2, "promoted")):
        config = Config(X=x)
        yield (
            "INSERT INTO winners (id, task_id, campaign_id, environment_id, config, config_key, evidence, state, "
            f"created_at) VALUES ({x}, 1, '0123abcd', 1, '{config.json}', '{config.key}', '{evidence}', '{state}', "
            f"'{time_}')"
        )
    history = [(1, 1, "promoted"), (2, 1, "retired"), (3, 2, "promoted")]
    for number, winner, state in history:
        yield (
            "INSERT INTO winner_history (id, winner_id, at, state, why) "
            f"VALUES ({number}, {winner}, '{time_}', '{state}', 'because')"
        )


def test_server_that_is_gone_says_so_and_is_found_again(postgres: PostgresServer) -> None:
    store = SqlStore(postgres.new_database(), timeout_seconds=2)
    store.add_misses([make_miss()])
    postgres.stop()
    try:
        with pytest.raises(StoreError, match=r"the store postgresql.* failed: connection") as gone:
            store.winners()
        assert "\n" not in str(gone.value)
    finally:
        postgres.start()
    assert store.misses() == [make_miss()]
    store.add_misses([make_miss()])
    store.close()


@pytest.mark.parametrize("act", [lambda store: store.winners(), lambda store: store.add_misses([make_miss()])])
def test_file_that_was_deleted_or_replaced_says_so(tmp_path: Path, act: Callable[[Store], object]) -> None:
    """What would be written to a deleted file would be lost without a word."""
    path = tmp_path / "tuner.db"
    store = SqlStore(path)
    store.add_misses([make_miss()])
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(StoreError, match="deleted or replaced since it was opened; open it again"):
        act(store)
    assert not path.exists()
    other = SqlStore(path)
    with pytest.raises(StoreError, match="deleted or replaced"):
        act(store)
    store.close()
    assert other.misses() == []
    other.close()


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
