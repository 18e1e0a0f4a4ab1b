"""Where a SQL store is, how to connect to it, and what its failures mean."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import platformdirs
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError, StatementError
from sqlalchemy.pool import NullPool

from tuner.db.codec import dumps, loads
from tuner.errors import MissingDependencyError, StoreError, TunerError

__all__ = [
    "Identity",
    "connect",
    "default_store_url",
    "explained",
    "is_read_only",
    "locate",
    "place",
    "use_wal",
    "writing",
]

_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}
_WRITE = "tuner_write"
_READS = "tuner_reads"
_FILE = "file:"
_READ_ONLY = {"mode": "ro"}

_SQLITE_MEANINGS = {
    "file is not a database": "is not a SQLite database; move the file away, or choose another path",
    "disk image is malformed": "is damaged; restore it from a backup, or rescue it with `sqlite3 FILE .recover`",
    "readonly": "is read-only: it can be read, not written; name it without mode=ro, or let this user write the file "
    "and its folder",
    "locked": "is locked by another process; end that one or wait for it, then try again",
    "unable to open": "cannot be opened; see that its folder exists and is writable",
    "is full": "cannot grow: the disk is full; free some space",
}


def default_store_url() -> str:
    """Return the URL of the user's own store: `tuner.db` in the user's data folder."""
    path = platformdirs.user_data_path("tuner", appauthor=False) / "tuner.db"
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def locate(where: str | Path) -> URL:
    """Return the URL that `where`, a path or a URL, means.

    Raises:
        StoreError: it is not a URL, or of a database that is not supported.
    """
    text = str(where)
    if text.startswith(_FILE):
        return _sqlite_file(text, text)
    if "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = make_url(text)
    except ArgumentError:
        raise StoreError(f"{text!r} is not a database URL; write sqlite:///FILE or postgresql://HOST/NAME") from None
    if url.drivername not in {*_DRIVERS, *_DRIVERS.values()}:
        raise StoreError(f"a store cannot be kept in {url.drivername}; use sqlite:///FILE or postgresql://HOST/NAME")
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    if url.drivername != "sqlite":
        return url
    if str(url.database).startswith(_FILE):
        return _sqlite_file(text.partition("///")[2], text)
    if url.database in (None, "", ":memory:") or url.query:
        raise StoreError(f"{text!r} does not name a file; write sqlite:///FILE, or memory: for a store in memory")
    return url.set(database=str(Path(str(url.database)).expanduser().absolute()))


def _sqlite_file(uri: str, shown: str) -> URL:
    """Return the URL of a file to be read only, as SQLite writes it (https://www.sqlite.org/uri.html)."""
    path, _, query = uri.removeprefix(_FILE).partition("?")
    options = parse_qsl(query)
    if not path or ("mode", "ro") not in options or not set(options) <= {("mode", "ro"), ("uri", "true")}:
        raise StoreError(f"{shown!r} is not taken; write file:FILE?mode=ro to read a store, or sqlite:///FILE")
    where = Path(unquote("/" + path.lstrip("/") if path.startswith("/") else path)).expanduser().absolute()
    return URL.create("sqlite", database=str(where), query=_READ_ONLY)


def is_read_only(engine: Engine) -> bool:
    """Return whether `engine` only reads: its URL says so, or the file did not let this user write."""
    found: bool = engine.get_execution_options().get(_READS, False)
    return found


def _may_only_read(url: URL) -> bool:
    if url.drivername != "sqlite":
        return False
    path = Path(str(url.database))
    return dict(url.query) == _READ_ONLY or (
        path.is_file() and not (_may(path, os.R_OK | os.W_OK) and _may(path.parent, os.W_OK | os.X_OK))
    )


def place(url: URL) -> str:
    """Return what to call the store in messages: a path, or a URL without its password."""
    return str(url.database) if url.drivername == "sqlite" else url.render_as_string(hide_password=True)


def connect(url: URL, *, timeout_seconds: float) -> Engine:
    """Return an engine; for SQLite, make the parent folders, or only read what this user may not write.

    SQLite runs in WAL mode with `synchronous=NORMAL`: what was committed survives the end of the process, however it
    ends; a power cut may take the last commits, and never damages the rest
    (https://www.sqlite.org/pragma.html#pragma_synchronous).

    Raises:
        StoreError: the file is not there and cannot be made, or cannot be read.
        MissingDependencyError: the database's driver is not installed.
    """
    if _may_only_read(url):
        path = Path(str(url.database))
        if not _may(path, os.R_OK):
            raise StoreError(f"the store {path} is not there, or this user may not read it")
        # A connection for each transaction: one that took the file as it was would not see what others write.
        engine = _engine(
            url.set(query={}),
            creator=lambda: _open_to_read(path, timeout_seconds),
            poolclass=NullPool,
            execution_options={_READS: True},
        )
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if url.drivername == "sqlite":
        _check_file(Path(str(url.database)))
        engine = _engine(url, connect_args={"timeout": timeout_seconds})
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        return _engine(url, connect_args={"connect_timeout": max(2, round(timeout_seconds))}, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the store {place(url)} needs {error.name}; run `pip install 'psycopg[binary]'`"
        ) from error


class Identity:
    """Knows which file a SQLite store was opened in: one that is deleted goes on being written, and all of it is lost.

    Args:
        url: Of an open store; of another database than SQLite there is nothing to know.
    """

    def __init__(self, url: URL) -> None:
        self._url = url
        self._file = _file_of(url)

    def check(self) -> None:
        """Raise `StoreError` if the file is not there any more, or is another one."""
        if _file_of(self._url) != self._file:
            raise StoreError(f"the store {place(self._url)} was deleted or replaced since it was opened; open it again")


def _file_of(url: URL) -> tuple[int, int] | None:
    if url.drivername != "sqlite":
        return None
    try:
        found = os.stat(str(url.database))
    except OSError:
        return None
    return found.st_dev, found.st_ino


def writing(engine: Engine) -> Engine:
    """Return `engine` with transactions that write: on SQLite they take the write lock at once."""
    return engine.execution_options(**{_WRITE: True})


def use_wal(engine: Engine, *, timeout_seconds: float) -> None:
    """Set SQLite's journal to WAL, which the file then keeps; does nothing to another database.

    SQLite refuses at once, without its usual wait, while another process writes to the file; so wait here.
    """
    if engine.dialect.name != "sqlite":
        return
    deadline = time.monotonic() + timeout_seconds
    connection = engine.raw_connection()
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
    finally:
        connection.close()


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Turn what the database raises into a `StoreError` that says what, where and what to do."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, StatementError) else error
        raise (cause if isinstance(cause, TunerError) else StoreError(_explanation(cause, url))) from None


def _engine(url: URL, **options: Any) -> Engine:
    return create_engine(url, json_serializer=dumps, json_deserializer=loads, **options)


def _open_to_read(path: Path, timeout_seconds: float) -> sqlite3.Connection:
    """Return a connection that writes nothing, not even what readers of a file in WAL mode share.

    Where that cannot be made and nobody has the file open, which would have left a log beside it, it is taken as it is
    (https://www.sqlite.org/wal.html#read_only_databases).
    """
    uri = f"file:{quote(str(path))}?mode=ro"
    connection = _opened(uri, timeout_seconds)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError as error:
        connection.close()
        if path.with_name(f"{path.name}-wal").exists() or "locked" in str(error):
            raise
        connection = _opened(f"{uri}&immutable=1", timeout_seconds)
    return connection


def _opened(uri: str, timeout_seconds: float) -> sqlite3.Connection:
    # We begin transactions ourselves, see _begin_sqlite.
    return sqlite3.connect(uri, uri=True, timeout=timeout_seconds, isolation_level=None, check_same_thread=False)


def _check_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path.parent} for the store {path}: {error.strerror}") from error
    if path.is_dir():
        raise StoreError(f"the store {path} is a folder; name a file in it")
    if not _may(path.parent, os.W_OK | os.X_OK):
        raise StoreError(f"the folder {path.parent} of the store {path} is not writable; choose another path")


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, see _begin_sqlite
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads and then writes would fail where another one wrote in between; so take the lock first.
    immediate = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _explanation(cause: BaseException | None, url: URL) -> str:
    said = " ".join(str(cause).split())
    if isinstance(cause, sqlite3.Error):
        for part, meaning in _SQLITE_MEANINGS.items():
            if part in said:
                return f"the store {place(url)} {meaning}"
    return f"the store {place(url)} failed: {said}"
