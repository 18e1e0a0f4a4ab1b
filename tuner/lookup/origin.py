"""Where winners are read from: a snapshot's file, or a store, which is loaded only then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from tuner.errors import StoreError
from tuner.lookup.choice import Proof
from tuner.lookup.snapshot import Snapshot, read_snapshot, snapshot_of
from tuner.reference import import_reference

__all__ = ["FileOrigin", "Origin", "StoreOrigin", "is_present", "is_snapshot", "origin_of", "require_present"]

# By reference, as kernels are: a process that reads a snapshot must not load a database, nor need to have one.
_STORE = "tuner.db.sql:SqlStore"
_SQLITE = "sqlite:///"
_URI = "file:"
_WAIT_SECONDS = 5.0


class Origin(Protocol):
    """Something with winners in it."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    def read(self) -> Snapshot | None:
        """Return the winners; None where they are the same as the last time.

        Raises:
            TunerError: they cannot be read.
        """


class FileOrigin:
    """A snapshot's file, read when it is another one than before.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    @property
    def name(self) -> str:
        """The path."""
        return str(self._path)

    def read(self) -> Snapshot | None:
        """Return the snapshot if the file has changed.

        Raises:
            SnapshotError: it cannot be read or is not whole.
        """
        try:
            status = os.stat(self._path)
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            seen = None  # reading it will say what is wrong
        if seen is not None and seen == self._seen:
            return None
        snapshot = read_snapshot(self._path)
        self._seen = seen
        return snapshot


class StoreOrigin:
    """A store, opened for each reading: no connection is held, so that it may go away, and this process may fork.

    Args:
        where: URL or path of the store, or a store that is open.
    """

    def __init__(self, where: str | Path | Any) -> None:
        self._where = where

    @property
    def name(self) -> str:
        """Where the store is, without a password."""
        if not isinstance(self._where, str | Path):
            return f"{type(self._where).__name__} in this process"
        head, at, tail = str(self._where).rpartition("@")
        return f"{head.rpartition(':')[0] if '://' in head and ':' in head.partition('://')[2] else head}{at}{tail}"

    def read(self) -> Snapshot:
        """Return the promoted winners.

        Raises:
            StoreError: the store is not there, cannot be read, or has a schema of another version.
        """
        if not isinstance(self._where, str | Path):
            return _promoted(self._where)
        require_present(self._where)
        opened: Any = import_reference(_STORE)
        store = opened(self._where, timeout_seconds=_WAIT_SECONDS)
        try:
            return _promoted(store)
        finally:
            store.close()


def _promoted(store: Any) -> Snapshot:
    return snapshot_of(map(Proof.of, store.winners()))


def require_present(where: str | Path) -> None:
    """Refuse a store in a file that does not exist: opening it would make an empty one, which forgets what is known.

    Raises:
        StoreError: the file is not there.
    """
    if not is_present(where):
        raise StoreError(f"the store {_file(where)} is not there; name one that `tuner tune` wrote")


def is_present(where: str | Path) -> bool:
    """Return whether a store is there; of one that is no file, its server will tell."""
    path = _file(where)
    return "://" in path or Path(path).expanduser().exists()


def _file(where: str | Path) -> str:
    """Return the path of a SQLite store, however it is written; another store's URL as it is."""
    path = str(where).removeprefix(_SQLITE)
    return unquote(path.removeprefix(_URI).partition("?")[0]) if path.startswith(_URI) else path


def is_snapshot(where: object) -> bool:
    """Return whether `where` names a snapshot: its name ends in `.json`, and it is no URL.

    Example:
        >>> [is_snapshot(where) for where in ("winners.json", "tuner.db", "postgresql://db/tuner")]
        [True, False, False]
    """
    return isinstance(where, str | Path) and str(where).endswith(".json") and "://" not in str(where)


def origin_of(where: str | Path | Any) -> Origin:
    """Return what `where` names: a snapshot's file, a store's URL or path, or a store that is open."""
    return FileOrigin(where) if is_snapshot(where) else StoreOrigin(where)
