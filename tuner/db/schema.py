"""The version of a store's tables: check it, create them, upgrade them.

Alembic's table `alembic_version` is read here without Alembic, which is imported only to create or to upgrade.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from tuner.db.engine import connect, explained, is_read_only, locate, place, use_wal, writing
from tuner.errors import StoreError

__all__ = ["MIGRATIONS", "REVISIONS", "ensure_schema", "migrate", "upgrade_store"]

MIGRATIONS = Path(__file__).parent / "migrations"
REVISIONS = ("0001", "0002", "0003")

_OURS = {"campaigns", "campaign_tasks", "trials", "winners"}
_VERSION_TABLE = "alembic_version"
_LOCK_NUMBER = int.from_bytes(b"tuner")  # of PostgreSQL's advisory lock: any number that others do not choose
_ALEMBIC = threading.Lock()  # Alembic keeps the migration under way in module globals


def ensure_schema(engine: Engine, *, timeout_seconds: float) -> None:
    """Create the tables if the database is empty; return if they are of this version.

    Raises:
        StoreError: the tables are of another version, or not ours.
    """
    with engine.begin() as connection:
        found = _version(connection)
    if is_read_only(engine):
        if found is None:
            raise StoreError(f"the store {place(engine.url)} is empty and read-only; name one that holds something")
    else:
        use_wal(engine, timeout_seconds=timeout_seconds)
    if found is None:
        with _locked(engine) as connection:
            if _version(connection) is None:
                migrate(connection)
    elif found != REVISIONS[-1]:
        where = place(engine.url)
        raise StoreError(
            f"store {where} has schema {found}, this tuner needs {REVISIONS[-1]}; "
            f"run `tuner store upgrade --store {where}`"
        )


def upgrade_store(where: str | Path, *, timeout_seconds: float = 30.0) -> str | None:
    """Bring a store to this version's tables, in one transaction; back up a store that matters before.

    Returns:
        The version that it had; None where it was new.

    Raises:
        StoreError: the store cannot be written, is not ours, or was written by a newer tuner.
    """
    url = locate(where)
    with explained(url):
        engine = connect(url, timeout_seconds=timeout_seconds)
        try:
            if is_read_only(engine):
                return _as_it_is(engine)
            with _locked(engine) as connection:
                found = _version(connection)
                if found != REVISIONS[-1]:
                    migrate(connection)
            return found
        finally:
            engine.dispose()


def _as_it_is(engine: Engine) -> str | None:
    """Return the version of a store that cannot be written, which has to be this one."""
    with engine.begin() as connection:
        found = _version(connection)
    if found != REVISIONS[-1]:
        raise StoreError(f"the store {place(engine.url)} has schema {found} and is read-only; let this user write it")
    return found


def migrate(connection: Connection) -> None:
    """Run the migrations up to the newest inside the transaction of `connection`; log and print nothing new."""
    from alembic import command  # noqa: PLC0415 (slow to import, seldom needed)
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _ALEMBIC:
        command.upgrade(config, "head")


@contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    """Give a transaction that no other process's migration runs beside."""
    with writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK_NUMBER})
        yield connection


def _version(connection: Connection) -> str | None:
    """Return the version of the tables, None where there are none."""
    where = place(connection.engine.url)
    tables = set(inspect(connection).get_table_names())
    versions: list[str] = []
    if _VERSION_TABLE in tables:
        versions = list(connection.scalars(text(f"SELECT version_num FROM {_VERSION_TABLE}")))  # noqa: S608
    if not versions and tables <= {_VERSION_TABLE}:
        return None
    if not versions or not tables >= _OURS:
        others = ", ".join(sorted(tables - {_VERSION_TABLE})[:5])
        raise StoreError(f"the database {where} holds tables that are not a store's ({others}); choose another one")
    if versions[0] not in REVISIONS:
        raise StoreError(
            f"store {where} has schema {versions[0]} and was written by a newer tuner; "
            f"this one knows up to {REVISIONS[-1]}: upgrade tuner"
        )
    return versions[0]
