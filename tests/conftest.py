"""Keeps tests away from the user's own store and cache, and starts a PostgreSQL for those that need one."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import PostgresServer, programs

# Read when numpy is first imported. The matrices of tests are small: threads would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    base = tmp_path_factory.mktemp("home")
    ours = {"XDG_CACHE_HOME": str(base / "cache"), "XDG_DATA_HOME": str(base / "data"), "COLUMNS": "200"}
    before = {name: os.environ.get(name) for name in (*ours, "TUNER_STORE")}
    os.environ.update(ours)
    os.environ.pop("TUNER_STORE", None)
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server of the tests' own; one that stops it starts it again."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("no driver of PostgreSQL; `pip install 'psycopg[binary]'` provides it")
    found = programs()
    if found is None:
        pytest.skip("no PostgreSQL server; `apt-get install postgresql` provides it")
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = PostgresServer(Path(folder), found)
        yield server
        server.stop()
