"""What serving code holds: a table that answers within a microsecond, and is replaced while it does."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tuner.devices import detect
from tuner.errors import SnapshotError, TunerError
from tuner.lookup.choice import Choice, Source
from tuner.lookup.count import Count
from tuner.lookup.demand import Asked, Demand, Recent, Sink, StoreSink
from tuner.lookup.guard import Guard
from tuner.lookup.lock import Lock
from tuner.lookup.metric import Collector, Metrics
from tuner.lookup.miss_file import JsonLinesSink
from tuner.lookup.origin import FileOrigin, Origin, StoreOrigin, origin_of
from tuner.lookup.policy import Policy
from tuner.lookup.report import Once
from tuner.lookup.snapshot import Snapshot, snapshot_of, write_snapshot
from tuner.lookup.table import Table
from tuner.reference import import_reference
from tuner.types import Device, Miss, Scalar

__all__ = ["Answer", "Lookup"]

# By reference: a kernel brings numpy with it, and who serves a snapshot without kernels need not have that.
_GUARD_OF = "tuner.lookup.loaded:guard_of"

MOST_HITS = 16384
"""Workloads whose answer is one dictionary read; beyond, all start anew, and cost some microseconds once more."""

_FLUSH_SECONDS = 30.0

_Key = tuple[object, ...]
_Hit = tuple[Choice, Callable[[], int]]


class _State:
    """A table with the answers that it gave: those of exact winners, and the others, which are counted by workload."""

    __slots__ = ("hits", "recent", "table")

    def __init__(self, table: Table, recent: Recent) -> None:
        self.table = table
        self.hits: dict[_Key, _Hit] = {}
        self.recent = recent


@dataclass(frozen=True, slots=True)
class Answer:
    """A choice that was remembered.

    Attributes:
        choice: The choice.
        again: To call each time that it is given again, so that it is counted.
        generation: It holds as long as `Lookup.generation` returns this.
    """

    choice: Choice
    again: Callable[[], object]
    generation: object


class Lookup:
    """Answers which config to use, from any thread, without ever building, measuring or waiting.

    Open one with `Lookup.open`, keep it for the life of the process, and call `best`. Nothing on that path raises or
    takes a lock. An answer is computed the first time that a workload is asked for, and read from a dictionary then.

    Example:
        >>> import tempfile
        >>> from tuner.lookup import Rules
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_snapshot(f"{folder}/winners.json", snapshot_of([]))
        ...     lookup = Lookup.open(f"{folder}/winners.json", kernels={"softmax": Rules({"LANES": 16})})
        >>> choice = lookup.best("softmax", M=128, N=4096)
        >>> choice.config, choice.source.value
        (Config(LANES=16), 'default')
        >>> lookup.metrics().misses
        1
    """

    def __init__(
        self,
        origin: Origin,
        *,
        device: Device | str | None = None,
        kernels: Mapping[str, Any] | Collection[str] | None = None,
        policy: Policy = Policy(),
        last: str | Path | None = None,
        misses: Sink | None = None,
        lock: Lock | None = None,
        flush_seconds: float = _FLUSH_SECONDS,
    ) -> None:
        self._origin = origin
        self._device = device
        self._kernels = kernels
        self._policy = policy
        self._last = last
        self._sink = misses
        self._lock = lock
        self._once = Once(logging.getLogger("tuner.lookup"))
        self._thread: threading.Thread | None = None
        self._added: dict[str, Guard] = {}
        self._guards: dict[tuple[str, str], Guard | None] = {}
        self._refresh_seconds: float | None = None
        self._flush_seconds = flush_seconds
        self._reset()
        self._state = self._first_state()
        if self._sink is not None:
            self._start()
        _at_fork(self)

    @classmethod
    def open(
        cls,
        where: str | Path | Any,
        *,
        device: Device | str | None = None,
        kernels: Mapping[str, Any] | Collection[str] | None = None,
        policy: Policy = Policy(),
        last: str | Path | None = None,
        misses: str | Path | Sink | None = None,
        lock: str | Path | Lock | None = None,
        refresh_seconds: float | None = None,
        flush_seconds: float = _FLUSH_SECONDS,
    ) -> Lookup:
        """Return a lookup over the winners in a snapshot or a store.

        Args:
            where: A snapshot's file (`winners.json`), or a store: its URL, its path, or one that is open.
            device: The device that asks: `cpu`, `cpu:4`, `cuda`, or one that was detected. By default, that of the
                winners, if all are of one kind.
            kernels: What knows the defaults and constraints of kernels. A mapping from the kernel to its `Guard`, or to
                the tunable; or the references to load. By default, those of all winners of a store, and none of a
                snapshot's, which needs the standard library only. Without one, a kernel has its exact winners, and the
                default that they were compared with, if that is the same for all.
            policy: What may be served.
            last: A snapshot's file, where what was read last is kept, and which is read where the store is down.
            misses: Where to hand on what was not found: a file (`misses.jsonl`), a store's URL or path, or a `Sink`.
            lock: A file of `tuner lock`, or a lock: other winners than these are refused.
            refresh_seconds: See `refresh`.
            flush_seconds: How often misses are handed on.

        Raises:
            SnapshotError: the snapshot is not there, not whole or not ours; or the lock is on other winners.
            TunerError: there is no such device, or the winners are of several kinds and none was named.
        """
        sink: Sink | None
        if isinstance(misses, str | Path):
            sink = JsonLinesSink(misses) if str(misses).endswith((".jsonl", ".json")) else StoreSink(misses)
        else:
            sink = misses
        lookup = cls(
            origin_of(where),
            device=device,
            kernels=kernels,
            policy=policy,
            last=last,
            misses=sink,
            lock=Lock.read(lock) if isinstance(lock, str | Path) else lock,
            flush_seconds=flush_seconds,
        )
        if refresh_seconds is not None:
            lookup.refresh(refresh_seconds)
        return lookup

    def best(self, kernel: str, /, **workload: Scalar) -> Choice:
        """Return the config to use for a workload; never raises, never waits.

        Args:
            kernel: The tunable's reference, such as `triton:matmul`; or the operator alone, where there is one of it.
            workload: The workload's fields.
        """
        state = self._state
        values = workload.values()
        # The types, since 1 == True == 1.0; the names, since callers may write them in any order.
        key = (kernel, *workload, *values, *map(type, values))
        try:
            hit = state.hits.get(key)
        except TypeError:  # a value that is no scalar
            return self._missed(state, None, kernel, workload)
        if hit is None:
            return self._missed(state, key, kernel, workload)
        choice, tick = hit
        tick()
        return choice

    def remember(self, kernel: str, workload: Mapping[str, Scalar]) -> Answer:
        """Return what `best` would, to be given again by who counts it each time; for who cannot wait for `best`."""
        while True:
            generation = self.generation()
            choice = self.best(kernel, **workload)
            state = self._state
            key = (kernel, *workload, *workload.values(), *map(type, workload.values()))
            # A table that was replaced meanwhile has other answers.
            if generation is not self.generation():
                continue
            try:
                asked = state.recent.asked.get(key)
            except TypeError:
                asked = None
            total = self._answers[choice.source].tick
            return Answer(choice, total if asked is None else asked.again, generation)

    def generation(self) -> object:
        """Return what answers that were remembered belong to: they hold as long as it is the same object."""
        return self._state.recent.asked

    def refresh(self, interval_seconds: float) -> None:
        """Look for new winners every so often from now on, in a thread of its own.

        Raises:
            TunerError: the interval is not positive.
        """
        if not interval_seconds > 0:
            raise TunerError(f"interval_seconds={interval_seconds} is not positive; use 5 or more in production")
        self._refresh_seconds = interval_seconds
        self._start()

    def reload(self) -> bool:
        """Look for new winners now, and return whether there were any; what cannot be read or used changes nothing."""
        with self._loading:
            try:
                snapshot = self._origin.read()
                changed = snapshot is not None and self._swap(snapshot, self._origin.name)
            except Exception as error:
                self._refused.tick()
                what = str(error) if isinstance(error, TunerError) else f"{type(error).__name__}: {error}"
                # Another reason is another cause; the same one again is not.
                self._failing.add(what)
                self._once.warn(f"reload {what}", f"{what}; lookups go on with the {len(self)} winners of before")
                return False
            for what in self._failing:
                self._once.settle(f"reload {what}", f"{self._origin.name} can be read again")
            self._failing.clear()
            return changed

    def guard(self, kernel: str, guard: Guard) -> None:
        """Let `guard` tell the default and the constraints of a kernel from now on."""
        with self._loading:
            self._added[kernel] = guard
            self._state = _State(self._table(self._state.table.snapshot), self._demand.renew())

    def flush(self) -> int:
        """Hand on the misses that were counted, and return of how many workloads; 0 where that fails, or nowhere to."""
        if self._sink is None:
            return 0
        with self._flushing:
            misses = self._demand.take(self.device)
            if not misses:
                return 0
            try:
                self._sink.add(misses)
            except Exception as error:
                self._demand.give_back(misses)
                self._once.warn("flush", f"misses are kept in memory, for they cannot be handed on: {error}")
                return 0
            self._once.settle("flush", "misses are handed on again")
            return len(misses)

    def misses(self) -> list[Miss]:
        """Return what was not found and not handed on yet, the most asked for first."""
        return self._demand.pending(self.device)

    def metrics(self) -> Metrics:
        """Return the counts so far."""
        answers = {source: count.value for source, count in self._answers.items()}
        return Metrics(
            answers=answers,
            refreshes=self._refreshes.value,
            refused=self._refused.value,
            winners=len(self),
            uncounted=self._uncounted,
        )

    def collector(self) -> Collector:
        """Return what `prometheus_client.REGISTRY.register` takes.

        Raises:
            MissingDependencyError: `prometheus_client` is not installed.
        """
        return Collector(self.metrics)

    @property
    def digest(self) -> str:
        """Identifies the winners that are served now: what the processes of one deployment compare."""
        return self._state.table.snapshot.digest

    @property
    def device(self) -> Device:
        """The device that asks."""
        return self._state.table.device

    @property
    def table(self) -> Table:
        """What answers now."""
        return self._state.table

    @property
    def problems(self) -> list[str]:
        """What went wrong and still does, each as it was logged."""
        return self._once.causes

    def __len__(self) -> int:
        return len(self._state.table)

    def close(self) -> None:
        """End the thread, and hand on the last misses; the lookup still answers."""
        thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _missed(self, state: _State, key: _Key | None, kernel: str, workload: dict[str, Scalar]) -> Choice:
        """Return the answer for what has no exact one in the dictionary."""
        if key is not None and (asked := state.recent.asked.get(key)) is not None:
            return asked.again()
        choice = state.table.find(kernel, workload)
        total = self._answers[choice.source]
        if key is None:
            total.tick()
        elif choice.source.is_hit:
            if len(state.hits) >= MOST_HITS:
                state.hits = {}
            state.hits[key] = (choice, total.tick)
            total.tick()
        else:
            asked = Asked(kernel, workload, choice, total)
            state.recent.put(key, asked)
            asked.again()
        return choice

    def _first_state(self) -> _State:
        name = self._origin.name
        try:
            snapshot = self._origin.read()
            assert snapshot is not None
        except TunerError as error:
            if isinstance(self._origin, FileOrigin) and self._last is None:
                raise
            self._refused.tick()
            self._failing.add(str(error))
            snapshot, served = self._fallback()
            self._once.warn(f"reload {error}", f"{error}; lookups begin with {served}")
        if self._lock is not None:
            self._lock.require(snapshot, name)
        if not self._failing:
            self._keep(snapshot)
        return _State(self._table(snapshot), self._demand.recent)

    def _fallback(self) -> tuple[Snapshot, str]:
        if self._last is not None:
            last = FileOrigin(self._last)
            try:
                snapshot = last.read()
            except TunerError as error:
                return snapshot_of([]), f"defaults only, for {error}"
            assert snapshot is not None
            return snapshot, f"{len(snapshot)} winners of {self._last}"
        return snapshot_of([]), "defaults only"

    def _swap(self, snapshot: Snapshot, name: str) -> bool:
        """Put a table over `snapshot` in place, unless it is the one that is there."""
        if snapshot.digest == self.digest:
            return False
        if self._lock is not None:
            self._lock.require(snapshot, name)
        table = self._table(snapshot)
        # One assignment: whoever asks meanwhile has the old table, whole, or the new one.
        self._state = _State(table, self._demand.renew())
        self._refreshes.tick()
        self._keep(snapshot)
        return True

    def _keep(self, snapshot: Snapshot) -> None:
        """Write what was read from a store where it is found when the store is down."""
        if self._last is None:
            return
        try:
            write_snapshot(self._last, snapshot)
        except SnapshotError as error:
            self._once.warn("keep", f"the last winners cannot be kept: {error}")

    def _table(self, snapshot: Snapshot) -> Table:
        device = self._here(snapshot)
        return Table(snapshot, device, self._guarded(snapshot, device), self._policy, self._once)

    def _here(self, snapshot: Snapshot) -> Device:
        """Return the device that asks.

        Raises:
            TunerError: it is not here, or cannot be told from the winners.
        """
        if isinstance(self._device, Device):
            return self._device
        if isinstance(self._device, str):
            self._device = detect(self._device)
            return self._device
        devices = {group.device.fingerprint: group.device for group in snapshot.groups}
        names = {f"{device.kind}:{device.count}" for device in devices.values()}
        if len(names) > 1:
            raise TunerError(f"the winners are of {', '.join(sorted(names))}; say which device asks: device='cpu'")
        try:
            return detect(names.pop()) if names else detect()
        except TunerError:
            if len(devices) > 1:
                raise
            # Its driver cannot be asked here. Nothing is known of the environment then, and nothing is stale by it.
            [device] = devices.values()
            return Device.from_json({**device.to_json(), "environment": {}})

    def _guarded(self, snapshot: Snapshot, device: Device) -> dict[str, Guard]:
        """Return what to ask of each kernel; what cannot be loaded is told once, and left out."""
        given = self._kernels
        if given is None:
            given = snapshot.kernels if isinstance(self._origin, StoreOrigin) else ()
        found: dict[str, Guard] = {}
        for kernel in given:
            known = given[kernel] if isinstance(given, Mapping) else kernel
            if isinstance(known, Guard):
                found[kernel] = known
            elif (guard := self._loaded(kernel, known, device)) is not None:
                found[kernel] = guard
        return found | self._added

    def _loaded(self, kernel: str, known: Any, device: Device) -> Guard | None:
        key = (kernel, device.fingerprint)
        if key not in self._guards:
            try:
                guard_of: Any = import_reference(_GUARD_OF)
                self._guards[key] = guard_of(known, device)
            except TunerError as error:
                self._guards[key] = None
                self._once.warn(f"load {kernel}", f"{kernel} has exact winners only, for it cannot be loaded: {error}")
        return self._guards[key]

    @property
    def _uncounted(self) -> int:
        asked = sum(count.value for source, count in self._answers.items() if not source.is_hit)
        return max(0, asked - self._demand.add_up(self.device))

    def _reset(self) -> None:
        """Begin to count anew, without a thread: when it is opened, and in a process that was forked off."""
        self._answers = {source: Count() for source in Source}
        self._refreshes, self._refused = Count(), Count()
        self._demand = Demand()
        self._failing: set[str] = set()
        self._loading, self._flushing = threading.Lock(), threading.Lock()
        self._stopping = threading.Event()
        self._thread = None

    def _after_fork(self) -> None:
        """Go on in a child process: the thread is not there, locks may be held for ever, counts are the parent's."""
        running = self._thread is not None
        table = self._state.table
        self._reset()
        self._state = _State(table, self._demand.recent)
        if running:
            self._start()

    def _start(self) -> None:
        if self._thread is None:
            self._stopping = threading.Event()
            # It holds the lookup weakly, so that one that is dropped unclosed goes.
            self._thread = threading.Thread(
                target=_keep_up, args=(weakref.ref(self), self._stopping), name="tuner-lookup", daemon=True
            )
            self._thread.start()


_LONGEST_NAP_SECONDS = 0.5


def _keep_up(reference: weakref.ref[Lookup], stopping: threading.Event) -> None:
    """Refresh and flush when it is time, until told to stop, or until nobody holds the lookup."""
    refreshed = flushed = time.monotonic()
    nap = 0.0
    while not stopping.wait(nap):
        lookup = reference()
        if lookup is None:
            return
        now = time.monotonic()
        every = lookup._refresh_seconds
        if every is not None and now - refreshed >= every:
            lookup.reload()
            refreshed = time.monotonic()
        if now - flushed >= lookup._flush_seconds:
            lookup.flush()
            flushed = time.monotonic()
        nap = min(_LONGEST_NAP_SECONDS, every or _LONGEST_NAP_SECONDS, lookup._flush_seconds)
        del lookup


def _at_fork(lookup: Lookup) -> None:
    reference = weakref.ref(lookup)

    def after() -> None:
        if (found := reference()) is not None:
            found._after_fork()

    os.register_at_fork(after_in_child=after)
