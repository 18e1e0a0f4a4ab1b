"""Keeps tests away from the user's own store and cache."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

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
