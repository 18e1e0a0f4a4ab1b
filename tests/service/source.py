"""A store with something in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tuner.db import Store
from tuner.db.sql import SqlStore
from tuner.testing.store import make_miss, make_task, make_winner
from tuner.types import Config, Workload

KERNEL = "cpp:toy"


def filled(path: Path) -> Store:
    """Return a store with one promoted winner, one that was before it, and two misses."""
    store = SqlStore(path)
    task = replace(make_task(), tunable=KERNEL, workload=Workload(M=64, N=4096, dtype="fp32"))
    campaign = store.create_campaign({}, [task])
    winner = make_winner(task)
    store.finish_task(campaign, task, {}, replace(winner, config=Config(LANES=4)))
    store.finish_task(campaign, task, {}, replace(winner, config=Config(LANES=8)))
    miss = replace(make_miss(), kernel=KERNEL)
    store.add_misses([replace(miss, workload=Workload(M=1), count=2), replace(miss, workload=Workload(M=2), count=5)])
    return store
