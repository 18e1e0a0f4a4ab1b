"""A process that uses a store: started by tests as `python store_process.py ROLE URL [WINNER]`.

It says `ready` once everything is imported, and begins when it is given a line.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable

from tuner.db.sql import open_store
from tuner.errors import StoreError
from tuner.testing.store import make_miss, make_task, make_trial
from tuner.types import State


def create(url: str) -> None:
    """Open the store, which may be new, and keep a campaign."""
    store = open_store(url)
    print(store.create_campaign({}, [make_task()]), flush=True)
    store.close()


def write(url: str) -> None:
    """Add trials until the process is killed, and say each number that has been kept."""
    store = open_store(url)
    campaign = store.create_campaign({}, [make_task()])
    print(campaign, flush=True)
    for number in itertools.count():
        store.add_trial(make_task(), make_trial(campaign, number))
        print(number, flush=True)


def promote(url: str, winner: str) -> None:
    """Promote a winner again and again."""
    store = open_store(url)
    for _ in range(50):
        store.set_winner_state(int(winner), State.PROMOTED, "race")
    store.close()


def promote_once(url: str, winner: str) -> None:
    """Promote a winner unless it is quarantined, again and again, and say how often it was refused."""
    store = open_store(url)
    refused = 0
    for _ in range(50):
        try:
            store.promote(int(winner), "race")
        except StoreError:
            refused += 1
    print(refused, flush=True)
    store.close()


def quarantine(url: str, winner: str) -> None:
    """Quarantine a winner."""
    store = open_store(url)
    store.quarantine(int(winner), "race")
    store.close()


def roll_back(url: str, winner: str) -> None:
    """Roll a winner back, and say which is promoted then, or that it was refused."""
    store = open_store(url)
    try:
        print(store.rollback(int(winner), "race").id, flush=True)
    except StoreError:
        print("refused", flush=True)
    store.close()


def miss(url: str) -> None:
    """Count the same misses again and again."""
    store = open_store(url)
    for turn in range(25):
        store.add_misses([make_miss((turn + n) % 8) for n in range(8)])
    store.close()


def look(url: str) -> None:
    """Open the store and say whether Alembic had to be imported."""
    open_store(url).close()
    print("alembic" in sys.modules, flush=True)


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "create":
        importlib.import_module("alembic.command")  # so that creators collide where it matters, not while they import
    print("ready", flush=True)
    sys.stdin.readline()
    roles: dict[str, Callable[..., None]] = {
        "create": create,
        "write": write,
        "promote": promote,
        "promote-once": promote_once,
        "quarantine": quarantine,
        "roll-back": roll_back,
        "miss": miss,
        "look": look,
    }
    roles[role](*arguments)
