"""The store in memory keeps the contract."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tuner.db import MemoryStore, Store
from tuner.testing.store import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


def test_it_needs_the_standard_library_only() -> None:
    script = "import sys, tuner.db; print([name for name in ('sqlalchemy', 'alembic') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"
