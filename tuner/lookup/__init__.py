"""What serving code asks: which config to use. It never builds, measures or tunes.

Importing this folder, and reading a snapshot, takes the standard library only; `loaded.py`, which loads kernels, and
`ask.py`, which reads a store at once, take more, and are not imported here. A `Lookup` finds them by reference.
"""

from __future__ import annotations

from tuner.lookup.choice import Choice, Proof, Source
from tuner.lookup.demand import Sink, StoreSink
from tuner.lookup.guard import Guard, Rules
from tuner.lookup.live import Lookup
from tuner.lookup.lock import Lock
from tuner.lookup.metric import Metrics
from tuner.lookup.miss_file import JsonLinesSink, read_misses
from tuner.lookup.policy import Elsewhere, Policy, Stale
from tuner.lookup.snapshot import Snapshot, read_snapshot, snapshot_of, write_snapshot

__all__ = [
    "Choice",
    "Elsewhere",
    "Guard",
    "JsonLinesSink",
    "Lock",
    "Lookup",
    "Metrics",
    "Policy",
    "Proof",
    "Rules",
    "Sink",
    "Snapshot",
    "Source",
    "Stale",
    "StoreSink",
    "read_misses",
    "read_snapshot",
    "snapshot_of",
    "write_snapshot",
]
