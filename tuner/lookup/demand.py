"""What was asked for and not found: counted beside the requests, in bounded memory, and handed on in the background."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tuner.errors import TunerError
from tuner.lookup.choice import Choice
from tuner.lookup.count import Count
from tuner.lookup.miss_file import by_count
from tuner.lookup.origin import is_present, require_present
from tuner.reference import import_reference
from tuner.types import Device, Miss, Scalar, Workload

__all__ = ["MOST_WORKLOADS", "Asked", "Demand", "Recent", "Sink", "StoreSink"]

MOST_WORKLOADS = 8192
"""Different workloads that are remembered; of more, those that were asked for most."""

_MOST_FULL = 2
_OPEN_STORE = "tuner.db.sql:open_store"


class Sink(Protocol):
    """Where misses go. It is called from a thread of its own, and may take its time."""

    def add(self, misses: Sequence[Miss]) -> None:
        """Keep misses; the counts are those since the last call that returned."""


class StoreSink:
    """Adds misses to a store, which is opened for each call, so that it may come and go.

    One in a file is made if it was never there; but one that was, and is gone, is not made anew, for an empty one would
    be read as having no winners.

    Args:
        where: URL or path of the store.
    """

    def __init__(self, where: str | Path) -> None:
        self._where = where
        self._was_there = is_present(where)

    def add(self, misses: Sequence[Miss]) -> None:
        """Keep misses.

        Raises:
            TunerError: the store cannot be opened or written, or is gone.
        """
        if self._was_there:
            require_present(self._where)
        open_store: Any = import_reference(_OPEN_STORE)
        store = open_store(self._where)
        try:
            self._was_there = True
            store.add_misses(misses)
        finally:
            store.close()


@dataclass(slots=True)
class Asked:
    """A workload that was not found, with the answer that it gets, and how often that was given.

    Attributes:
        kernel: As it was asked for.
        fields: The workload.
        choice: The answer.
        count: How often it was given.
        total: How often an answer from the same source was given.
        taken: What of `count` has been added up; only who adds up writes it.
    """

    kernel: str
    fields: Mapping[str, Scalar]
    choice: Choice
    total: Count
    count: Count = field(default_factory=Count)
    taken: int = 0

    def again(self) -> Choice:
        """Count an ask, and return the answer."""
        self.count.tick()
        self.total.tick()
        return self.choice


class Recent:
    """Workloads that were asked for and not found in one table, for callers to look up and to count.

    No lock: a dictionary that is full is set aside by whoever takes the turn, and the others go on.

    Args:
        full: Where to set aside what is full.
        most: Workloads in one dictionary.
    """

    __slots__ = ("_full", "_most", "_turn", "asked")

    def __init__(self, full: deque[dict[Any, Asked]], most: int) -> None:
        self.asked: dict[Any, Asked] = {}
        self._full = full
        self._most = most
        self._turn = [True]

    def put(self, key: Any, asked: Asked) -> None:
        """Remember what was asked for under `key`."""
        if len(self.asked) >= self._most:
            try:
                self._turn.pop()
            except IndexError:
                pass  # another thread is at it
            else:
                self._full.append(self.asked)
                self.asked = {}
                self._turn.append(True)
        self.asked[key] = asked


class Demand:
    """Adds up what was asked for and not found.

    Callers count in a `Recent`, without a lock. What is full there is set aside, and added up by a thread in the
    background, or by whoever asks for it. Memory is bounded by four times `most` workloads: of those added up, the ones
    that were asked for most stay; of those set aside, if nobody adds them up, the last.

    Args:
        most: Workloads to remember.

    Example:
        >>> from tuner.lookup.choice import Source
        >>> from tuner.types import Config
        >>> demand, total = Demand(), Count()
        >>> asked = Asked("cpp:softmax", {"M": 4}, Choice(Config(), Source.UNKNOWN), total)
        >>> demand.recent.put("any key", asked)
        >>> _ = asked.again(), asked.again()
        >>> [(miss.workload, miss.count) for miss in demand.pending(Device("cpu", "a processor", "x86_64", 1, 1 << 30))]
        [(Workload(M=4), 2)]
    """

    def __init__(self, most: int = MOST_WORKLOADS) -> None:
        self._most = most
        self._full: deque[dict[Any, Asked]] = deque(maxlen=_MOST_FULL)
        self._counts: dict[tuple[str, str], Miss] = {}
        # Held by who adds up, never by who asks.
        self._adding = threading.Lock()
        self._added = 0
        self.recent = Recent(self._full, most)

    def renew(self) -> Recent:
        """Return an empty place to count in, for another table with other answers; the old one is set aside."""
        self._full.append(self.recent.asked)
        self.recent = Recent(self._full, self._most)
        return self.recent

    def add_up(self, device: Device) -> int:
        """Return how many asks are in a workload's count, of all so far."""
        with self._adding:
            self._add_up(device)
            return self._added

    def pending(self, device: Device) -> list[Miss]:
        """Return the misses that were not taken yet, those that were asked for most first."""
        with self._adding:
            self._add_up(device)
            return sorted(self._counts.values(), key=by_count)

    def take(self, device: Device) -> list[Miss]:
        """Return what `pending` returns, and forget it."""
        with self._adding:
            self._add_up(device)
            taken = sorted(self._counts.values(), key=by_count)
            self._counts = {}
            return taken

    def give_back(self, misses: Sequence[Miss]) -> None:
        """Add misses that were taken, and could not be kept."""
        with self._adding:
            for miss in misses:
                self._add(miss)
            self._cut()

    def _add_up(self, device: Device) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        while self._full:
            self._add_all(self._full.popleft(), device, now)
        self._add_all(self.recent.asked, device, now)

    def _add_all(self, asked: dict[Any, Asked], device: Device, now: str) -> None:
        for one in _values(asked):
            count = one.count.value
            new, one.taken = count - one.taken, count
            if new > 0:
                try:
                    workload = Workload(one.fields)
                except TunerError:
                    continue  # values that are no scalars: nothing to tune for
                self._added += new
                self._add(Miss(one.kernel, workload, device, new, one.choice.source.value, now))
        self._cut()

    def _add(self, miss: Miss) -> None:
        key = (miss.kernel, miss.workload.json)
        known = self._counts.get(key)
        self._counts[key] = miss if known is None else replace(miss, count=known.count + miss.count)

    def _cut(self) -> None:
        if len(self._counts) > self._most:
            kept = heapq.nsmallest(self._most, self._counts.items(), key=lambda item: by_count(item[1]))
            self._counts = dict(kept)


def _values(asked: dict[Any, Asked]) -> list[Asked]:
    while True:
        try:
            return list(asked.values())
        except RuntimeError:  # a caller put something in meanwhile
            continue
