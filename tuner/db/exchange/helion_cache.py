"""Helion's remote cache on a store of ours: what one machine has tuned, the others start with.

Helion makes the backend itself, from the name in `HELION_REMOTE_CACHE_BACKEND`, without arguments; so this is the one
module beside the commands that reads the environment: `TUNER_STORE`, as they do. Interface and entries are those of
Helion 1.5 (`helion/autotuner/remote_cache.py`, `local_cache.py`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from helion.autotuner.remote_cache import RemoteCacheBackend

from tuner.db.codec import now
from tuner.db.exchange.finding import Finding, Origin, named_device
from tuner.db.exchange.helion_config import from_helion
from tuner.db.exchange.keeping import candidate_of
from tuner.db.sql import open_store
from tuner.db.store import Store
from tuner.errors import ExchangeError
from tuner.types import State, Winner, Workload, digest

__all__ = ["CACHE", "StoreCache"]

CACHE = "helion:cache"
"""The tunable of all entries; the workload has Helion's key, and what it tells of the inputs."""

_ENTRY = "helion_entry"
_SERVED = (State.PROMOTED, State.CANDIDATE)


class StoreCache(RemoteCacheBackend):  # type: ignore[misc]  # Helion says nothing of its types
    """A `RemoteCacheBackend` that keeps Helion's entries in a store, as candidates.

    Helion takes the entry of a key that is promoted, else the newest; one that was quarantined is taken no longer, so
    that Helion tunes again. A failure to read or write is logged by Helion, which goes on with its local cache.

    Args:
        store: Where to keep them; by default the store that commands use.

    Example:
        >>> from tuner.db import MemoryStore
        >>> cache = StoreCache(MemoryStore())
        >>> cache.put("a1", '{"config": "{}", "key": {"fields": {"hardware": "NVIDIA H200"}}}')
        >>> cache.get("a1"), cache.get("b2"), len(list(cache.list()))
        ('{"config": "{}", "key": {"fields": {"hardware": "NVIDIA H200"}}}', None, 1)
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store or open_store(os.environ.get("TUNER_STORE") or None)

    def get(self, key: str) -> str | None:
        """Return the entry of `key` as it was put; None where there is none."""
        found = [winner for winner in self._served() if winner.task.workload["key"] == key]
        promoted = [winner for winner in found if winner.state is State.PROMOTED]
        return _entry(next(iter(promoted or found))) if found else None

    def put(self, key: str, data: str) -> None:
        """Keep an entry; the same entry again changes nothing.

        Raises:
            ExchangeError: `data` is no entry of Helion's.
        """
        candidate = candidate_of(_finding(key, data), at=now())
        if self.get(key) != data:
            self._store.add_winner(candidate, "put by Helion")

    def list(self, max_results: int | None = None) -> Iterable[str]:
        """Return the entries, the newest first, one for each key."""
        newest: dict[object, Winner] = {}
        for winner in self._served():
            newest.setdefault(winner.task.workload["key"], winner)
        return [_entry(winner) for winner in islice(newest.values(), max_results)]

    def _served(self) -> Iterable[Winner]:
        """Return the entries that Helion may have, the newest first."""
        return (winner for winner in self._store.winners(tunable=CACHE, state=None) if winner.state in _SERVED)


def _entry(winner: Winner) -> str:
    return str(winner.evidence.resources[_ENTRY])


def _finding(key: str, data: str) -> Finding:
    try:
        entry = json.loads(data)
        values, fields = json.loads(entry["config"]), entry["key"]["fields"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExchangeError(f"the entry {key!r} is none of Helion's: {error!r}") from error
    if not isinstance(values, Mapping) or not isinstance(fields, Mapping):
        raise ExchangeError(f"the entry {key!r} is none of Helion's: its config or its key has no fields")
    told: Mapping[str, Any] = {str(name): value for name, value in fields.items()}
    workload = {"key": key, "specialization": str(told.get("specialization_key", ""))}
    versions = {name: str(told[name]) for name in ("runtime_name", "backend") if told.get(name)}
    return Finding(
        CACHE,
        Workload(workload),
        named_device(str(told.get("hardware", ""))),
        from_helion(values),
        Origin("Helion", key, digest(data), versions),
        details={_ENTRY: data},
        version=str(told.get("kernel_source_hash", ""))[:16],
    )
