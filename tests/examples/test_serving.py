from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tuner.db.sql import SqlStore
from tuner.lookup import Lookup
from tuner.reference import import_reference
from tuner.testing.store import make_task, make_winner
from tuner.types import Config, Task, Workload

SERVER = str(Path(__file__).parents[2] / "examples" / "serving" / "server.py")
create_app: Any = import_reference(f"{SERVER}:create_app")
nearest: Any = import_reference(f"{SERVER}:nearest")
queries_of: Any = import_reference(f"{SERVER}:queries_of")
vectors: Any = import_reference(f"{SERVER}:VECTORS")
tune: Any = import_reference(f"{SERVER}:tune")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    SqlStore(tmp_path / "serving.db").close()
    return tmp_path / "serving.db"


@pytest.fixture
def lookup(path: Path) -> Iterator[Lookup]:
    with Lookup.open(path, device="cpu", misses=path) as opened:
        yield opened


def promote(path: Path, lookup: Lookup, rows: int, chunk: int) -> None:
    task = Task("nearest_vector", make_task().version, Workload(rows=rows), lookup.device)
    store = SqlStore(path)
    store.finish_task(
        store.create_campaign({}, [task]), task, {}, replace(make_winner(task), config=Config(chunk=chunk))
    )
    store.close()


@pytest.mark.parametrize("chunk", [32768, 2048, 128])
def test_every_config_finds_the_same(chunk: int) -> None:
    queries = queries_of(5, 1)
    expected = (queries.astype(np.float64) @ vectors.T.astype(np.float64)).argmax(1)
    assert nearest(queries, 5, chunk).tolist() == expected.tolist()


def test_it_takes_new_winners_over_while_it_serves(path: Path, lookup: Lookup) -> None:
    client = TestClient(create_app(lookup))
    before = client.get("/search?rows=3").json()
    assert (before["config"], before["source"]) == ({"chunk": 32768}, "default")
    answers: list[Any] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            answers.append(client.get("/search?rows=3"))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        promote(path, lookup, 3, 512)
        assert lookup.reload()
        after = client.get("/search?rows=3").json()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert (after["config"], after["source"]) == ({"chunk": 512}, "exact")
    assert after["indices"] == before["indices"]
    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.json()["indices"] == before["indices"] for answer in answers)


def test_what_was_not_tuned_is_counted(path: Path, lookup: Lookup) -> None:
    client = TestClient(create_app(lookup))
    for _ in range(4):
        client.get("/search?rows=7")
    assert "tuner_lookup_misses_total 4.0" in client.get("/metrics").text
    lookup.flush()
    store = SqlStore(path)
    [miss] = store.misses()
    store.close()
    assert (miss.kernel, miss.workload, miss.count) == ("nearest_vector", Workload(rows=7), 4)


@pytest.mark.slow
def test_it_tunes_the_usual_sizes(path: Path) -> None:
    store = SqlStore(path)
    tune(store)
    tasks = [task for campaign in store.campaigns() for task in store.tasks(campaign.id)]
    store.close()
    assert {task.workload for task in tasks} == {Workload(rows=rows) for rows in (1, 8, 64)}
