"""Commands that say what is served, and that tune what is to be tuned again; in one process, for speed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tuner.campaign import task_of
from tuner.cli import app
from tuner.db.sql import SqlStore
from tuner.errors import StoreError, TunerError
from tuner.lookup import JsonLinesSink
from tuner.objective import Limit, Objective
from tuner.plan import Budget, Plan
from tuner.testing.store import make_trial, make_winner
from tuner.types import Config, Evidence, Miss, State, Task, Winner, Workload

TOY = "tuner.testing.toys:PARABOLA"
TASK = task_of(TOY, {"N": 9})

Tuner = Callable[..., dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = SqlStore(tmp_path / "store.db")
    yield opened
    opened.close()


@pytest.fixture
def tuner(tmp_path: Path, store: SqlStore) -> Tuner:
    """Run a command on the store and return its JSON, and what it said for people under `said`."""

    def run(*words: str) -> dict[str, Any]:
        command = [*words, "--store", str(tmp_path / "store.db"), "--json"]
        done = CliRunner().invoke(app, command, catch_exceptions=False, standalone_mode=False)
        if done.exception:
            raise done.exception
        data: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return {**data, "said": done.stderr}

    return run


def kept(store: SqlStore, task: Task, x: int, state: State = State.PROMOTED) -> int:
    found = replace(make_winner(task, state), config=Config(X=x, FAULT="none"))
    winner = store.finish_task(store.create_campaign({}, [task]), task, {}, found)
    assert winner is not None
    return winner.id


def miss(n: int, count: int) -> Miss:
    return Miss(TOY, Workload(N=n), TASK.device, count, "default", "2026-01-01T00:00:00+00:00")


def test_winners_are_listed_by_state_and_kernel(tuner: Tuner, store: SqlStore) -> None:
    first, second = kept(store, TASK, 1), kept(store, TASK, 2)
    told = Evidence.told("moe.json", Config(X=0, FAULT="none"), measured_at="2026-01-01T00:00:00+00:00")
    foreign = store.add_winner(Winner(TASK, Config(X=3, FAULT="none"), told, State.CANDIDATE), "imported").id
    assert [one["id"] for one in tuner("winners")["winners"]] == [second]
    listed = tuner("winners", "PARABOLA", "--state", "all")
    assert [one["id"] for one in listed["winners"]] == [foreign, second, first]
    assert listed["winners"][0]["origin"] == "moe.json"
    assert listed["winners"][0]["speedup"] is None
    assert "not proven here" in listed["said"]
    assert tuner("winners", "softmax", "--state", "all")["winners"] == []
    with pytest.raises(TunerError, match="candidate"):
        tuner("winners", "--state", "best")


def test_a_store_that_is_only_read_is_shown_and_not_written(tmp_path: Path, store: SqlStore) -> None:
    winner = kept(store, TASK, 3)
    store.add_misses([miss(8, 2)])
    where = ["--store", f"file:{tmp_path}/store.db?mode=ro"]

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, *where], catch_exceptions=False, standalone_mode=False)
        if done.exception:
            raise done.exception
        return done.stdout

    assert json.loads(run("best", TOY, "-w", "N=9", "--json"))["config"]["X"] == 3
    assert [one["id"] for one in json.loads(run("winners", "--json"))["winners"]] == [winner]
    assert [one["asked"] for one in json.loads(run("misses", "--json"))["misses"]] == [2]
    run("snapshot", "--out", str(tmp_path / "winners.json"), "--all")
    assert (tmp_path / "winners.json").exists()
    campaign = store.create_campaign(Plan("random", Budget(1)).to_json(), [TASK])
    store.add_trial(TASK, make_trial(campaign))
    run("report", campaign, "--out", str(tmp_path / "report.html"))
    assert (tmp_path / "report.html").exists()
    for words in (["quarantine", str(winner), "--why", "slow"], ["tune", TOY, "-w", "N=9"]):
        with pytest.raises(StoreError, match="is read-only: it can be read, not written"):
            run(*words)
    assert store.winner(winner).state is State.PROMOTED


def test_a_winner_is_quarantined_rolled_back_and_promoted(tuner: Tuner, store: SqlStore) -> None:
    first, second, third = (kept(store, TASK, x) for x in (1, 2, 3))
    rolled = tuner("rollback", TOY, "-w", "N=9", "--why", "crashes")
    assert (rolled["id"], rolled["state"]) == (second, "promoted")
    assert f"winner {third} (X=3 FAULT=none) is quarantined" in rolled["said"]
    assert tuner("quarantine", str(second), "--why", "slow")["state"] == "quarantined"
    assert store.winners() == []
    with pytest.raises(StoreError, match="slow"):
        tuner("promote", str(second))
    with pytest.raises(StoreError, match="no winner is promoted"):
        tuner("rollback", TOY, "-w", "N=9")
    assert tuner("promote", str(second), "--despite-quarantine", "--why", "it was the driver")["state"] == "promoted"
    shown = tuner("history", str(second))
    assert [entry["state"] for entry in shown["history"]] == [
        "promoted",
        "retired",
        "promoted",
        "quarantined",
        "promoted",
    ]
    assert "it was the driver" in shown["history"][-1]["why"]
    assert store.winner(first).state is State.RETIRED


def test_a_winner_of_another_version_is_rolled_back_where_it_is_what_is_served(tuner: Tuner, store: SqlStore) -> None:
    old = replace(TASK, version="0")
    first, _ = kept(store, old, 1), kept(store, old, 2)
    assert tuner("rollback", TOY, "-w", "N=9")["id"] == first


def test_history_shows_how_a_winner_was_proven(tuner: Tuner) -> None:
    tuned = tuner("tune", TOY, "-w", "N=9", "--trials", "16")
    [winner] = tuner("winners")["winners"]
    shown = tuner("history", str(winner["id"]))
    evidence = shown["evidence"]
    assert shown["campaign"] == tuned["campaign"]
    assert set(evidence["seeds"]) == {"semifinal", "final"}
    assert evidence["source_hash"] == "1"
    assert evidence["environment"] == dict(TASK.device.environment)
    assert {"largest_error", "tolerance", "edge_shapes", "conditions", "interval"} <= set(evidence)
    assert "seeds of inputs: semifinal=" in shown["said"]
    with pytest.raises(StoreError, match="no winner 99"):
        tuner("history", "99")


def test_what_is_stale_is_tuned_again_from_the_old_winner(tuner: Tuner, store: SqlStore) -> None:
    old = kept(store, replace(TASK, version="0"), 8)
    kept(store, replace(TASK, version="0", workload=Workload(N=5)), 4)
    store.add_misses([miss(9, 7)])
    listed = tuner("stale")["stale"]
    assert [(one["workload"], one["asked"]) for one in listed] == [({"N": 9}, 7), ({"N": 5}, 0)]
    assert listed[0]["changes"] == [{"name": "kernel source", "then": "0", "now": "1"}]
    done = tuner("retune", "--stale", "--limit", "1", "--trials", "2", "--agent", "random")
    assert done["left"] == 1
    [campaign] = done["campaigns"]
    assert (campaign["winner"], campaign["workload"]) == (old, {"N": 9})
    assert [trial.config["X"] for trial in store.trials(campaign["campaign"], TASK)] == [0, 8]
    assert [one["workload"] for one in tuner("stale")["stale"]] == [{"N": 5}]
    assert campaign["promoted"] in [winner.id for winner in store.winners()]


def test_what_was_missed_is_tuned_most_asked_for_first_and_then_forgotten(tuner: Tuner, store: SqlStore) -> None:
    elsewhere = replace(miss(9, 99), device=replace(TASK.device, name="another CPU"))
    store.add_misses([miss(3, 2), miss(4, 9), miss(5, 5), elsewhere])
    listed = tuner("misses")["misses"]
    assert [(one["workload"]["N"], one["asked"], bool(one["obstacle"])) for one in listed] == [
        (9, 99, True),
        (4, 9, False),
        (5, 5, False),
        (3, 2, False),
    ]
    done = tuner("retune", "--misses", "--limit", "2", "--trials", "16", "--agent", "random")
    assert "it is for another CPU" in done["said"]
    assert [(one["workload"]["N"], one["result"]["promoted"]) for one in done["campaigns"]] == [(4, True), (5, True)]
    assert done["left"] == 1
    # Both in one campaign, which knows what is asked for most.
    [campaign] = store.campaigns()
    assert {one["campaign"] for one in done["campaigns"]} == {campaign.id}
    assert campaign.spec["uses"] == [9.0, 5.0]
    assert "2 tuned in 1 campaign; 1 left to tune" in done["said"]
    assert {one.workload["N"] for one in store.misses()} == {9, 3}
    assert {one.task.workload["N"] for one in store.winners()} == {4, 5}


def test_a_miss_whose_default_fails_is_told_and_stays_a_miss(tuner: Tuner, store: SqlStore, tmp_path: Path) -> None:
    (tmp_path / "picky.py").write_text(
        "from tuner.testing.toys import Parabola\n"
        "from tuner.types import Config\n"
        "class Picky(Parabola):\n"
        "    def default(self, workload, device):\n"
        "        return Config(X=0, FAULT='raise' if workload['N'] == 7 else 'none')\n"
        "KERNEL = Picky(('none', 'raise'))\n"
    )
    picky = f"{tmp_path / 'picky.py'}:KERNEL"
    store.add_misses([replace(miss(7, 9), kernel=picky), replace(miss(4, 2), kernel=picky)])
    done = tuner("retune", "--misses", "--trials", "16", "--agent", "random")
    results = {one["workload"]["N"]: one["result"] for one in done["campaigns"]}
    assert (results[7]["stopped"], results[7]["promoted"], results[4]["promoted"]) == ("default", False, True)
    assert "its default fails" in done["said"]
    assert "1 tuned in 1 campaign; 1 left to tune" in done["said"]
    assert [one.workload["N"] for one in store.misses()] == [7]


def test_winners_for_several_objectives_are_tuned_for_them_again(tuner: Tuner, store: SqlStore) -> None:
    """In one campaign for each objective; each starts from the winner of before."""
    older = {n: replace(TASK, version="0", workload=Workload(N=n)) for n in (4, 5, 9)}
    kept(store, older[4], 4)
    kept(store, older[5], 5)
    fast = Objective(limits=(Limit("seconds", 1.0),))
    evidence = replace(make_winner(older[9]).evidence, objective=fast.to_json())
    limited = replace(make_winner(older[9]), config=Config(X=9, FAULT="none"), evidence=evidence)
    store.finish_task(store.create_campaign({}, [older[9]]), older[9], {}, limited)
    done = tuner("retune", "--stale", "--trials", "2", "--agent", "random")
    campaigns = {one["workload"]["N"]: one["campaign"] for one in done["campaigns"]}
    assert campaigns[4] == campaigns[5] != campaigns[9]
    assert store.campaign(campaigns[9]).spec["objective"] == fast.to_json()
    assert store.campaign(campaigns[4]).spec["objective"] == Objective().to_json()
    for n, campaign in campaigns.items():
        tried = store.trials(campaign, replace(TASK, workload=Workload(N=n)))
        assert n in {trial.config["X"] for trial in tried}, "the old winner is tried first"


def test_misses_of_a_file_are_added_once(tuner: Tuner, store: SqlStore, tmp_path: Path) -> None:
    """Servers begin another file; what cannot be read stays where it is."""
    path = tmp_path / "misses.jsonl"
    for _ in range(2):
        JsonLinesSink(path).add([miss(3, 2), miss(4, 5)])
    assert [one["asked"] for one in tuner("misses", "--add", str(path))["misses"]] == [10, 4]
    assert not path.exists()
    with pytest.raises(TunerError, match="misses"):
        tuner("misses", "--add", str(path))
    path.write_text("no JSON\n{\n")
    with pytest.raises(TunerError, match="misses"):
        tuner("misses", "--add", str(path))
    assert path.exists()
    assert [one.count for one in store.misses()] == [10, 4]


def test_a_list_has_to_be_chosen(tuner: Tuner) -> None:
    for words in ((), ("--stale", "--misses")):
        with pytest.raises(TunerError, match="either --stale or --misses"):
            tuner("retune", *words)
    assert tuner("retune", "--misses")["campaigns"] == []
