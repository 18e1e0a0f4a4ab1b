from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from tests.service.source import KERNEL, filled
from tuner.db.sql import SqlStore
from tuner.lookup import Lookup, Rules
from tuner.service.app import create_app
from tuner.service.record import SnapshotRecords, StoreRecords
from tuner.testing.store import make_device, make_task, make_winner
from tuner.types import State


@pytest.fixture
def path(tmp_path: Path) -> Path:
    filled(tmp_path / "tuner.db").close()
    return tmp_path / "tuner.db"


@pytest.fixture
def lookup(path: Path) -> Iterator[Lookup]:
    kernels = {KERNEL: Rules({"LANES": 16}), "cpp:other": Rules({"LANES": 2})}
    with Lookup.open(path, device=make_device(), kernels=kernels) as opened:
        yield opened


@pytest.fixture
def client(path: Path, lookup: Lookup) -> TestClient:
    return TestClient(create_app(lookup, StoreRecords(path)))


def test_the_winner_of_a_workload(client: TestClient) -> None:
    answer = client.get("/v1/best", params={"kernel": KERNEL, "M": 64, "N": 4096, "dtype": "fp32"}).json()
    assert (answer["config"], answer["source"]) == ({"LANES": 8}, "exact")
    assert answer["winner"]["config"] == {"LANES": 8}
    assert answer["winner"]["speedup"] == pytest.approx(make_winner(make_task()).evidence.speedup)


def test_the_fields_may_come_in_any_order(client: TestClient) -> None:
    assert client.get(f"/v1/best?dtype=fp32&N=4096&kernel={KERNEL}&M=64").json()["source"] == "exact"


def test_a_default_where_there_is_no_winner(client: TestClient) -> None:
    answer = client.get("/v1/best?kernel=cpp:other&M=64").json()
    assert (answer["config"], answer["source"], answer["winner"]) == ({"LANES": 2}, "default", None)


def test_an_unknown_kernel_is_an_answer(client: TestClient) -> None:
    answer = client.get("/v1/best?kernel=cpp:nowhere&M=64")
    assert answer.status_code == 200
    assert (answer.json()["config"], answer.json()["source"]) == ({}, "unknown")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("M=64", "kernel: Field required"),
        (f"kernel={KERNEL}&M=64&M=32", "M is given twice"),
        (f"kernel={KERNEL}&M=nan", "M=nan is not finite"),
    ],
)
def test_a_question_that_makes_no_sense(client: TestClient, query: str, reason: str) -> None:
    answer = client.get(f"/v1/best?{query}")
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]


def test_winners_are_listed_the_newest_first(client: TestClient) -> None:
    answer = client.get("/v1/winners").json()
    assert [(one["config"], one["state"]) for one in answer["winners"]] == [
        ({"LANES": 8}, "promoted"),
        ({"LANES": 4}, "retired"),
    ]
    assert client.get("/v1/winners?state=promoted&kernel=cpp:toy").json()["total"] == 1
    assert client.get("/v1/winners?kernel=cpp:other").json() == {"winners": [], "total": 0}
    assert len(client.get("/v1/winners?limit=1").json()["winners"]) == 1


def test_misses_are_listed_the_most_asked_for_first(client: TestClient) -> None:
    found = client.get("/v1/misses").json()["misses"]
    assert [(one["workload"], one["count"]) for one in found] == [({"M": 2}, 5), ({"M": 1}, 2)]


def test_a_snapshot_lists_what_it_holds_and_what_it_missed(path: Path, lookup: Lookup) -> None:
    client = TestClient(create_app(lookup, SnapshotRecords(lookup)))
    client.get("/v1/best?kernel=cpp:other&M=7")
    assert [one["config"] for one in client.get("/v1/winners").json()["winners"]] == [{"LANES": 8}]
    assert client.get("/v1/winners?state=retired").json()["total"] == 0
    [miss] = client.get("/v1/misses").json()["misses"]
    assert (miss["kernel"], miss["workload"], miss["count"]) == ("cpp:other", {"M": 7}, 1)


def test_without_its_store_it_still_answers(path: Path, lookup: Lookup) -> None:
    client = TestClient(create_app(lookup, StoreRecords(path)))
    path.unlink()
    lookup.reload()
    assert client.get(f"/v1/best?kernel={KERNEL}&M=64&N=4096&dtype=fp32").json()["source"] == "exact"
    listed = client.get("/v1/winners")
    assert listed.status_code == 503
    assert "is not there" in listed.json()["detail"]
    health = client.get("/healthz").json()
    assert health["status"] == "degraded"
    assert "is not there" in health["problems"][0]
    assert not path.exists()


def test_the_health_of_one_that_is_well(client: TestClient, lookup: Lookup) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "winners": 1, "digest": lookup.digest, "problems": []}


def test_metrics_are_what_the_lookup_counted(client: TestClient) -> None:
    client.get(f"/v1/best?kernel={KERNEL}&M=64&N=4096&dtype=fp32")
    client.get("/v1/best?kernel=cpp:other&M=64")
    text = client.get("/metrics").text
    assert 'tuner_lookup_answers_total{source="exact"} 1.0' in text
    assert "tuner_lookup_misses_total 1.0" in text


def test_a_new_winner_is_served_after_the_next_look(client: TestClient, path: Path, lookup: Lookup) -> None:
    store = SqlStore(path)
    [promoted] = store.winners()
    store.set_winner_state(promoted.id, State.QUARANTINED, "wrong in production")
    store.close()
    question = f"/v1/best?kernel={KERNEL}&M=64&N=4096&dtype=fp32"
    assert client.get(question).json()["source"] == "exact"
    assert lookup.reload()
    assert client.get(question).json()["source"] == "default"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("where", ["/v1/best", "/v1/winners", "/v1/misses", "/healthz", "/metrics"])
def test_every_answer_is_as_its_openapi_document_says(path: Path, lookup: Lookup, where: str) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(lookup, StoreRecords(path)))
    answers: set[int] = set()

    @given(case=schema[where]["GET"].as_strategy())
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case[Any]) -> None:
        answers.add(case.call_and_validate().status_code)

    check()
    assert 200 in answers
    assert set(schema) == {"/v1/best", "/v1/winners", "/v1/misses", "/healthz", "/metrics"}
