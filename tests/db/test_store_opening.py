"""Opening a store: places, versions, and files that are not stores. Each failure is one StoreError."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from tuner.db import MemoryStore, schema
from tuner.db.sql import SqlStore, default_store_url, open_store, upgrade_store
from tuner.errors import StoreError
from tuner.testing.store import make_device, make_miss, make_peaks, make_task

KNOWN = schema.REVISIONS
LATEST, NEXT = KNOWN[-1], f"{int(KNOWN[-1]) + 1:04}"

# The campaign 0123abcd with the task `make_task()`, as version 0001 wrote it: its environments held peaks, never set.
FIRST_VERSION_ROWS = """
INSERT INTO devices (id, fingerprint, data) VALUES (1, 'e84393691b1c61d2',
  '{"kind":"cpu","name":"Toy CPU","arch":"x86_64","count":2,"features":{"vector_bytes":64}}');
INSERT INTO environments (id, key, fingerprint, data) VALUES (1, '0000000000000000', '971f8559dcc7b017',
  '{"memory_bytes":1073741824,"peak_flops":null,"peak_bytes_per_second":null,"environment":{"compiler":"gcc 12.2"}}');
INSERT INTO tasks (id, key, tunable, version, workload, device_id)
  VALUES (1, 'b06b571d85a9f629', 'toy', '1', '{"N":1,"dtype":"bf16"}', 1);
INSERT INTO campaigns (id, state, spec, created_at, wall_seconds)
  VALUES ('0123abcd', 'finished', '{}', '2025-01-01T00:00:00.000000+00:00', 1.0);
INSERT INTO campaign_tasks (campaign_id, task_id, environment_id, position) VALUES ('0123abcd', 1, 1, 0);
"""


def version(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def set_version(path: Path, number: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [number])


def refused(where: str | Path, *words: str, timeout_seconds: float = 30.0) -> str:
    """Return the message with which the store is refused: short, with `words`, and no traceback of the database's."""
    with pytest.raises(StoreError) as caught:
        SqlStore(where, timeout_seconds=timeout_seconds)
    message = str(caught.value)
    assert "\n" not in message
    assert "sqlalche.me" not in message
    for word in words:
        assert word in message
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, OSError)
    return message


# Places


def test_default_store_is_in_the_users_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data %41?#"))
    store = open_store()
    store.create_campaign({}, [])
    store.close()
    assert default_store_url().startswith("sqlite:///")
    if sys.platform == "linux":
        assert (tmp_path / "data %41?#" / "tuner" / "tuner.db").exists()


@pytest.mark.parametrize("name", ["tuner.db", "new/folder/tuner.db", "odd %41?#&=é.db"])
def test_path_makes_its_folders(tmp_path: Path, name: str) -> None:
    for where in (tmp_path / name, str(tmp_path / name)):
        store = open_store(where)
        assert isinstance(store, SqlStore)
        store.create_campaign({}, [])
        store.close()
    assert (tmp_path / name).exists()


def test_relative_path_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///tuner.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.create_campaign({}, [])
    store.close()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_memory_is_a_store_in_memory() -> None:
    assert isinstance(open_store("memory:"), MemoryStore)


@pytest.mark.parametrize(
    "url", ["mysql://host/name", "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true", "://", "nothing://"]
)
def test_other_urls_are_refused(url: str) -> None:
    refused(url, "sqlite:///FILE")


def test_message_hides_the_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="`pip install 'psycopg[binary]'` provides it")
    url = f"postgresql://me:secret@/name?host={tmp_path}"
    assert "secret" not in refused(url, "me:***@", timeout_seconds=2)


# Files


def test_file_that_is_not_sqlite_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    refused(path, str(path), "is not a SQLite database")
    assert path.read_text() == "not a database " * 100


def test_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, str(tmp_path), "is a folder")


def test_file_as_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "tuner.db", "cannot make the folder")


def test_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "tuner.db"
    path.touch()
    SqlStore(path).close()
    assert version(path) == schema.REVISIONS[-1]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may reach, for tests in which root plays another user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def plain_user(open_folder: Path) -> Iterator[None]:
    """Permissions hold during the test, also for root."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(open_folder, 65534, -1)
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.usefixtures("plain_user")
def test_nothing_is_made_in_a_folder_that_is_not_writable(open_folder: Path) -> None:
    open_folder.chmod(0o555)
    refused(open_folder / "new.db", str(open_folder), "not writable")
    refused(open_folder / "new" / "tuner.db", "cannot make the folder")
    open_folder.chmod(0o755)


def filled(path: Path) -> str:
    """Make a store with a campaign at `path`, and return the campaign."""
    store = SqlStore(path)
    campaign = store.create_campaign({"seed": 1}, [make_task()])
    store.close()
    return campaign


def only_read(where: str | Path, campaign: str) -> None:
    """Check that the store is read, and that what would write says one thing, and changes nothing."""
    store = SqlStore(where)
    assert store.campaign(campaign).spec == {"seed": 1}
    assert store.winners() == []
    assert store.misses() == []
    for write in (lambda: store.create_campaign({}, []), lambda: store.add_misses([make_miss()])):
        with pytest.raises(StoreError, match=r"^the store .*tuner\.db is read-only: it can be read, not written"):
            write()
    assert [one.id for one in store.campaigns()] == [campaign]
    store.close()


@pytest.mark.usefixtures("plain_user")
@pytest.mark.parametrize(("file", "folder"), [(0o444, 0o755), (0o644, 0o555), (0o444, 0o555)])
def test_store_that_this_user_may_not_write_is_read(open_folder: Path, file: int, folder: int) -> None:
    path = open_folder / "tuner.db"
    campaign = filled(path)
    path.chmod(file)
    open_folder.chmod(folder)
    try:
        only_read(path, campaign)
        only_read(f"sqlite:///{path}", campaign)
        assert upgrade_store(path) == LATEST
    finally:
        open_folder.chmod(0o755)
    assert [one.name for one in open_folder.iterdir() if not one.name.startswith("tuner.db-")] == ["tuner.db"]


@pytest.mark.usefixtures("plain_user")
def test_store_that_this_user_may_not_read_is_refused(open_folder: Path) -> None:
    path = open_folder / "tuner.db"
    filled(path)
    path.chmod(0o000)
    refused(path, str(path), "may not read it")


@pytest.mark.parametrize("form", ["file:{}?mode=ro", "file://{}?mode=ro", "sqlite:///file:{}?mode=ro&uri=true"])
def test_address_may_ask_for_reading_only(tmp_path: Path, form: str) -> None:
    path = tmp_path / "odd ?" / "tuner.db"
    campaign = filled(path)
    where = form.format(str(path).replace("?", "%3f").replace(" ", "%20"))
    only_read(where, campaign)
    refused(where.replace("tuner.db", "other.db"), "other.db", "is not there")
    assert not (path.parent / "other.db").exists()


@pytest.mark.parametrize("where", ["file:tuner.db", "file:?mode=ro", "file:tuner.db?mode=rw", "file:x?mode=ro&vfs=y"])
def test_other_addresses_of_files_are_refused(where: str) -> None:
    refused(where, where, "write file:FILE?mode=ro")


def test_empty_file_is_not_read_as_a_store(tmp_path: Path) -> None:
    (tmp_path / "tuner.db").touch()
    refused(f"file:{tmp_path}/tuner.db?mode=ro", "is empty and read-only")


@pytest.mark.parametrize("form", ["file:{}?mode=ro", "{}"])
@pytest.mark.usefixtures("plain_user")
def test_what_is_only_read_shows_what_others_write(open_folder: Path, form: str) -> None:
    path = open_folder / "tuner.db"
    campaign = filled(path)
    writer = SqlStore(path)
    if form == "{}":
        path.chmod(0o444)  # who has it open goes on writing
    reader = SqlStore(form.format(path))
    other = writer.create_campaign({}, [])
    assert {one.id for one in reader.campaigns()} == {campaign, other}
    writer.close()
    assert {one.id for one in reader.campaigns()} == {campaign, other}
    reader.close()


def test_locked_new_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tuner.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        refused(path, str(path), "locked by another process", timeout_seconds=0.1)
    SqlStore(path).close()


def test_new_database_that_is_locked_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "tuner.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, other.execute, ["ROLLBACK"])
        timer.start()
        SqlStore(path).close()
        timer.join()


def test_locked_store_is_read_but_not_written(tmp_path: Path) -> None:
    path = tmp_path / "tuner.db"
    SqlStore(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store = SqlStore(path, timeout_seconds=0.1)
        assert store.campaigns() == []
        with pytest.raises(StoreError, match="locked by another process"):
            store.create_campaign({}, [])
        other.execute("ROLLBACK")
        store.create_campaign({}, [])
        store.close()


def test_damaged_store_says_so(tmp_path: Path) -> None:
    path = tmp_path / "tuner.db"
    store = SqlStore(path)
    for _ in range(100):
        store.create_campaign({"text": "x" * 1000}, [make_task()])
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    refused(path, str(path), "damaged")


def test_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    before = path.read_bytes()
    refused(path, str(path), "not a store's", "recipes")
    with pytest.raises(StoreError, match="not a store's"):
        upgrade_store(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
    refused(path, "not a store's", "recipes")
    assert before != path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_sqlite_is_set_up_as_promised(tmp_path: Path) -> None:
    store = SqlStore(tmp_path / "tuner.db", timeout_seconds=7)
    with store._engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    store.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 7000}


# Versions


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make this tuner one with another version of the tables; the store that is returned has the one before."""
    path = tmp_path / "tuner.db"
    SqlStore(path).close()
    migrations = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, migrations)
    (migrations / "versions" / "next.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f"revision, down_revision, branch_labels, depends_on = '{NEXT}', '{LATEST}', None, None\n"
        "def upgrade():\n"
        "    with op.batch_alter_table('campaigns') as batch:\n"
        "        batch.add_column(sa.Column('note', sa.Text()))\n"
    )
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, NEXT))
    return path


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(schema.REVISIONS)


def test_older_store_asks_for_an_upgrade(newer: Path) -> None:
    message = refused(newer)
    command = f"tuner store upgrade --store {newer}"
    assert message == f"store {newer} has schema {LATEST}, this tuner needs {NEXT}; run `{command}`"
    assert version(newer) == LATEST


def test_older_store_that_is_read_only_is_not_upgraded(newer: Path) -> None:
    refused(f"file:{newer}?mode=ro", f"has schema {LATEST}", "tuner store upgrade")
    with pytest.raises(StoreError, match=f"has schema {LATEST} and is read-only"):
        upgrade_store(f"file:{newer}?mode=ro")
    assert version(newer) == LATEST


def test_upgrade_keeps_what_is_there(newer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "REVISIONS", KNOWN)
        store = SqlStore(newer)
        campaign = store.create_campaign({"seed": 1}, [make_task()])
        store.close()
    assert upgrade_store(newer) == LATEST
    assert version(newer) == NEXT
    store = SqlStore(newer)
    assert store.campaign(campaign).spec == {"seed": 1}
    assert store.tasks(campaign) == [make_task()]
    store.close()


def test_store_of_the_first_version_is_upgraded_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tuner.db"
    with monkeypatch.context() as patch:
        migrations = tmp_path / "migrations"
        shutil.copytree(schema.MIGRATIONS, migrations)
        for script in (migrations / "versions").glob("0*.py"):
            if not script.name.startswith("0001"):
                script.unlink()
        patch.setattr(schema, "MIGRATIONS", migrations)
        patch.setattr(schema, "REVISIONS", ("0001",))
        SqlStore(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(FIRST_VERSION_ROWS)
    refused(path, "has schema 0001")
    assert upgrade_store(path) == "0001"
    store = SqlStore(path)
    assert store.tasks("0123abcd") == [make_task()]
    assert store.create_campaign({}, [make_task()]) != "0123abcd"
    assert store.peaks(make_device()) is None
    store.keep_peaks(make_device(), make_peaks())
    assert store.peaks(make_device()) == make_peaks()
    store.close()


def test_failed_upgrade_changes_nothing(newer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = schema.MIGRATIONS / "versions" / "next.py"
    script.write_text(script.read_text() + "    raise RuntimeError('on purpose')\n")
    with pytest.raises(RuntimeError, match="on purpose"):
        upgrade_store(newer)
    assert version(newer) == LATEST
    monkeypatch.setattr(schema, "REVISIONS", KNOWN)
    with closing(sqlite3.connect(newer)) as connection:
        assert "note" not in str(connection.execute("SELECT sql FROM sqlite_master").fetchall())
    SqlStore(newer).close()


def test_newer_store_asks_for_a_newer_tuner(tmp_path: Path) -> None:
    path = tmp_path / "tuner.db"
    SqlStore(path).close()
    set_version(path, "9999")
    refused(path, str(path), "9999", "written by a newer tuner")
    with pytest.raises(StoreError, match="written by a newer tuner"):
        upgrade_store(path)
    assert version(path) == "9999"


def test_making_a_store_logs_and_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    handlers, level = list(logging.root.handlers), logging.root.level
    SqlStore(tmp_path / "tuner.db").close()
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert (list(logging.root.handlers), logging.root.level) == (handlers, level)
    assert logging.getLogger("alembic").level == logging.NOTSET


def test_threads_make_stores_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def make(number: int) -> None:
        try:
            SqlStore(tmp_path / f"{number // 2}.db").close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
