"""What the read API lists: winners in every state, and misses, from a store or from the lookup's own snapshot."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tuner.db import Store
from tuner.db.sql import SqlStore
from tuner.lookup import Lookup, Proof
from tuner.lookup.origin import require_present
from tuner.types import Miss, State

__all__ = ["Records", "SnapshotRecords", "StoreRecords"]

_WAIT_SECONDS = 5.0


class Records(Protocol):
    """Lists what is known; safe to call from any thread.

    Raises:
        TunerError: from every method: it cannot be read now.
    """

    def winners(self, kernel: str | None, state: State | None) -> Sequence[Proof]:
        """Return winners, the newest first, of one kernel or of all, in one state or in all (None)."""

    def misses(self, kernel: str | None, limit: int) -> Sequence[Miss]:
        """Return misses, the most asked for first."""

    def close(self) -> None:
        """Release connections."""


class SnapshotRecords:
    """The promoted winners that a lookup serves, and what it has missed in this process.

    Args:
        lookup: Whose table is listed.
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def winners(self, kernel: str | None, state: State | None) -> list[Proof]:
        """Return the winners in the table; a snapshot holds promoted ones only."""
        groups = self._lookup.table.snapshot.groups
        proofs = [group.proof(row) for group in groups if kernel in (None, group.kernel) for row in range(len(group))]
        return sorted((proof for proof in proofs if state in (None, proof.state)), key=_newest)

    def misses(self, kernel: str | None, limit: int) -> list[Miss]:
        """Return what has not been handed on yet."""
        return [miss for miss in self._lookup.misses() if kernel in (None, miss.kernel)][:limit]

    def close(self) -> None:
        """Nothing is held."""


class StoreRecords:
    """What a store keeps; it is opened when it is first asked, and again after it was not there.

    Args:
        where: URL or path of the store.
    """

    def __init__(self, where: str | Path) -> None:
        self._where = where
        self._store: Store | None = None
        self._opening = threading.Lock()

    def winners(self, kernel: str | None, state: State | None) -> list[Proof]:
        """Return the store's winners."""
        return [Proof.of(winner) for winner in self._opened().winners(tunable=kernel, state=state)]

    def misses(self, kernel: str | None, limit: int) -> list[Miss]:
        """Return the store's misses."""
        return self._opened().misses(kernel=kernel, limit=limit)

    def close(self) -> None:
        """Release connections."""
        with self._opening:
            store, self._store = self._store, None
        if store is not None:
            store.close()

    def _opened(self) -> Store:
        with self._opening:
            if self._store is None:
                require_present(self._where)
                self._store = SqlStore(self._where, timeout_seconds=_WAIT_SECONDS)
            return self._store


def _newest(proof: Proof) -> tuple[int, str]:
    return -proof.id, proof.kernel
