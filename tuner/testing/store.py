"""What every store must pass: inherit from `StoreContract` and give it a store."""

from __future__ import annotations

import contextlib
import string
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.db.codec import same
from tuner.db.store import CampaignState, StateChange, Store
from tuner.errors import StoreError
from tuner.objective import Direction, Objective
from tuner.types import (
    Config,
    Device,
    Evidence,
    Measurement,
    MemoryLevel,
    Miss,
    Peaks,
    Scalar,
    State,
    Status,
    Task,
    Trial,
    Winner,
    Workload,
)

__all__ = ["StoreContract", "make_device", "make_miss", "make_peaks", "make_task", "make_trial", "make_winner"]

_characters = st.characters(exclude_categories=["Cs"])
_names = st.text(_characters, max_size=8)
_finite = st.floats(allow_nan=False, allow_infinity=False)
_scalars: st.SearchStrategy[Scalar] = st.booleans() | st.integers() | _finite | _names
_seconds = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
_measurements = st.builds(
    Measurement,
    status=st.sampled_from(Status),
    samples=st.dictionaries(_names, st.lists(st.floats()).map(tuple), max_size=3),
    build_seconds=_seconds,
    measure_seconds=_seconds,
    resources=st.dictionaries(_names, _scalars | st.floats(), max_size=3),
    error=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
)
_configs = st.dictionaries(_names, _scalars, max_size=4).map(Config)


def make_device(**fields: Any) -> Device:
    """Return a device, with `fields` instead of its own."""
    device = Device(
        kind="cpu",
        name="Toy CPU",
        arch="x86_64",
        count=2,
        memory_bytes=2**30,
        features={"vector_bytes": 64},
        environment={"compiler": "gcc 12.2"},
    )
    return replace(device, **fields)


def make_task(n: int = 1, *, tunable: str = "toy", version: str = "1", **device: Any) -> Task:
    """Return a task that differs by `n`."""
    return Task(tunable, version, Workload(N=n, dtype="bf16"), make_device(**device))


def make_miss(n: int = 1, count: int = 1, *, minute: int = 0, source: str = "default", **task: Any) -> Miss:
    """Return a miss of the task that differs by `n`."""
    of = make_task(n, **task)
    return Miss(of.tunable, of.workload, of.device, count, source, f"2026-01-31T12:{minute:02}:00.000000+00:00")


def make_peaks(flops_per_second: float = 1e11) -> Peaks:
    """Return peaks that differ by the rate of arithmetic."""
    levels = (MemoryLevel("L1", 2**15, 2**14, 4e11, "triad"), MemoryLevel("memory", 2**30, 2**28, 1.5e10, "read"))
    return Peaks(flops_per_second, levels, "2025-01-01T00:00:00+00:00", 0.25)


def make_trial(campaign: str, number: int = 0, **config: Scalar) -> Trial:
    """Return a correct trial."""
    measurement = Measurement(Status.CORRECT, {"seconds": (1e-3, 2e-3)}, 0.5, 0.25, {"registers": 32})
    return Trial(Config(config or {"X": number}), measurement, campaign, number)


def make_winner(task: Task, state: State = State.PROMOTED, *, x: int = 1, seed: int = 0) -> Winner:
    """Return a winner that differs by its config `X=x` and by the seed of its proof."""
    evidence = Evidence(
        default=Config(X=0),
        default_seconds=2e-3,
        config_seconds=1e-3,
        speedup=2.0,
        interval=(1.9, 2.1),
        confidence=0.99,
        threshold=1.02,
        rounds=2,
        seed=seed,
        samples={"seconds": (1e-3, 1e-3), "reference_seconds": (2e-3, 2e-3)},
        resources={"rel_error": 0.0},
        environment=dict(task.device.environment),
        measured_at="2025-01-01T00:00:00+00:00",
    )
    return Winner(task, Config(X=x), evidence, state)


def _proven_for(winner: Winner, direction: str, metric: str) -> Winner:
    """Return `winner` as one that was proven for another objective than time."""
    objective = Objective(metric, Direction(direction)).to_json()
    evidence = replace(winner.evidence, objective=objective, default_value=1.0, config_value=2.0)
    return replace(winner, evidence=evidence)


def _promoted(store: Store, task: Task) -> list[int]:
    return [winner.id for winner in store.winners() if winner.task.key == task.key]


def _keep(store: Store, winner: Winner) -> Winner:
    """Return `winner` as a campaign of its own keeps it."""
    campaign = store.create_campaign({}, [winner.task])
    kept = store.finish_task(campaign, winner.task, {}, winner)
    assert kept is not None
    return kept


def _told(task: Task, *, x: int = 7, origin: str = "a.json") -> Winner:
    """Return a candidate that another program tells of."""
    evidence = Evidence.told(origin, Config(X=0), measured_at="2026-01-01T00:00:00+00:00")
    return Winner(task, Config(X=x), evidence, State.CANDIDATE)


def _decide(store: Store, step: str, winner: int) -> None:
    match step:
        case "promote":
            store.promote(winner, "by test")
        case "insist":
            store.promote(winner, "by test", despite_quarantine=True)
        case "quarantine":
            store.quarantine(winner, "by test")
        case _:
            store.rollback(winner, "by test")


class StoreContract:
    """Tests of what the `Store` protocol promises.

    Inherit from it in a test module, in a class whose name begins with `Test`, and override the fixture `store` to give
    an empty store and to close it.

    Example:
        >>> from tuner.db import MemoryStore
        >>> class TestMemoryStore(StoreContract):
        ...     @pytest.fixture
        ...     def store(self) -> Store:
        ...         return MemoryStore()
    """

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """Give an empty store."""
        raise NotImplementedError("override the fixture `store` to give the store to test")

    # Campaigns

    def test_new_campaign_is_running_and_empty(self, store: Store) -> None:
        """A new campaign has an identifier, a time in UTC, and nothing else yet."""
        record = store.campaign(store.create_campaign({"agent": "random"}, [make_task()]))
        assert len(record.id) == 8
        assert set(record.id) <= set(string.hexdigits.lower())
        assert (record.state, record.wall_seconds, record.trials) == (CampaignState.RUNNING, 0.0, 0)
        assert dict(record.spec) == {"agent": "random"}
        created = datetime.fromisoformat(record.created_at)
        assert created.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - created) < timedelta(hours=1)

    def test_spec_comes_back_as_json_data(self, store: Store) -> None:
        """Numbers keep their kinds, tuples become lists, and no one can change what is kept."""
        spec: dict[str, Any] = {"a": [1, 1.0, True, None, "é\0"], "b": {"c": ()}, "limit": float("inf"), "d": {}}
        campaign = store.create_campaign(spec, [])
        spec["a"].append("changed")
        kept = dict(store.campaign(campaign).spec)
        assert same(kept, {"a": [1, 1.0, True, None, "é\0"], "b": {"c": []}, "limit": float("inf"), "d": {}})
        kept["a"].append("changed")
        assert len(store.campaign(campaign).spec["a"]) == 5

    def test_spec_that_is_not_json_is_refused(self, store: Store) -> None:
        """Data only, never code."""
        with pytest.raises(StoreError, match="cannot store"):
            store.create_campaign({"agent": object()}, [make_task()])
        assert store.campaigns() == []

    def test_task_given_twice_is_refused(self, store: Store) -> None:
        """A task is one of a campaign's tasks once."""
        with pytest.raises(StoreError, match="twice"):
            store.create_campaign({}, [make_task(), make_task(environment={"compiler": "other"})])
        assert store.campaigns() == []

    def test_campaign_is_found_by_an_unambiguous_beginning(self, store: Store) -> None:
        """Of 17 campaigns, two begin with the same digit."""
        campaigns = [store.create_campaign({"i": i}, []) for i in range(17)]
        for campaign in campaigns:
            assert store.campaign(campaign).id == campaign
        digits = [campaign[0] for campaign in campaigns]
        shared = next(digit for digit in digits if digits.count(digit) > 1)
        with pytest.raises(StoreError, match="ambiguous"):
            store.campaign(shared)
        alone = campaigns[0][:7]
        if [campaign[:7] for campaign in campaigns].count(alone) == 1:
            assert store.campaign(alone).id == campaigns[0]

    @pytest.mark.parametrize("wrong", ["nothing", "%", "_", "é"])
    def test_unknown_campaign_is_refused(self, store: Store, wrong: str) -> None:
        """Every method that takes a campaign says so, and none takes a pattern."""
        task = make_task()
        store.create_campaign({}, [task])
        calls: list[Callable[[], object]] = [
            lambda: store.campaign(wrong),
            lambda: store.set_campaign_state(wrong, CampaignState.FINISHED),
            lambda: store.tasks(wrong),
            lambda: store.add_trial(task, make_trial(wrong)),
            lambda: store.trials(wrong, task),
            lambda: store.finish_task(wrong, task, {}, None),
            lambda: store.outcomes(wrong),
        ]
        for call in calls:
            with pytest.raises(StoreError, match=wrong):
                call()

    def test_campaigns_are_listed_newest_first(self, store: Store) -> None:
        """With the numbers of their trials."""
        task = make_task()
        campaigns = [store.create_campaign({}, [task]) for _ in range(3)]
        store.add_trial(task, make_trial(campaigns[1]))
        records = store.campaigns()
        assert [record.id for record in records] == campaigns[::-1]
        assert [record.trials for record in records] == [0, 1, 0]

    def test_state_moves_and_wall_time_adds_up(self, store: Store) -> None:
        """Over all the runs of a campaign; the others are left alone."""
        campaign, other = store.create_campaign({}, []), store.create_campaign({}, [])
        store.set_campaign_state(campaign, CampaignState.INTERRUPTED, add_wall_seconds=1.5)
        store.set_campaign_state(campaign, CampaignState.RUNNING)
        store.set_campaign_state(campaign, CampaignState.FINISHED, add_wall_seconds=2.0)
        record = store.campaign(campaign)
        assert (record.state, record.wall_seconds) == (CampaignState.FINISHED, 3.5)
        assert store.campaign(other).state is CampaignState.RUNNING

    def test_tasks_come_back_in_order_with_their_devices(self, store: Store) -> None:
        """Also where devices of one model differ in environment or memory."""
        first = [make_task(n) for n in (3, 1, 2)]
        second = [make_task(n, environment={"compiler": "gcc 13"}, memory_bytes=2**40) for n in (2, 3)]
        third = [make_task(1, features={"vector_bytes": 64.0}), make_task(1, tunable="é")]
        for tasks in (first, second, third):
            assert store.tasks(store.create_campaign({}, tasks)) == tasks

    # Trials

    def test_trials_come_back_in_order_of_their_numbers(self, store: Store) -> None:
        """Of each task alone, in whatever order they ended, and whatever their configs."""
        one, two = make_task(1), make_task(2)
        campaign, other = store.create_campaign({}, [one, two]), store.create_campaign({}, [one])
        for number in (2, 0, 10, 1):
            store.add_trial(one, make_trial(campaign, number, X=7))
        store.add_trial(two, make_trial(campaign, 0))
        assert [trial.number for trial in store.trials(campaign, one)] == [0, 1, 2, 10]
        assert store.trials(campaign, two) == [make_trial(campaign, 0)]
        assert store.trials(other, one) == []
        assert store.campaign(campaign).trials == 5

    def test_number_is_taken_once(self, store: Store) -> None:
        """And the first trial of that number stays."""
        task = make_task()
        campaign = store.create_campaign({}, [task])
        store.add_trial(task, make_trial(campaign, 0, X=1))
        with pytest.raises(StoreError, match="already has trial 0"):
            store.add_trial(task, make_trial(campaign, 0, X=2))
        assert store.trials(campaign, task) == [make_trial(campaign, 0, X=1)]

    def test_task_of_another_campaign_is_refused(self, store: Store) -> None:
        """A campaign's tasks are fixed when it is created."""
        task, other = make_task(1), make_task(2)
        campaign = store.create_campaign({}, [task])
        store.create_campaign({}, [other])
        calls: list[Callable[[], object]] = [
            lambda: store.add_trial(other, make_trial(campaign)),
            lambda: store.trials(campaign, other),
            lambda: store.finish_task(campaign, other, {}, None),
        ]
        for call in calls:
            with pytest.raises(StoreError, match="no task"):
                call()

    def test_environment_does_not_part_trials(self, store: Store) -> None:
        """A task resumed under another environment is the same task."""
        task = make_task()
        campaign = store.create_campaign({}, [task])
        store.add_trial(make_task(environment={"compiler": "gcc 13"}), make_trial(campaign))
        assert store.trials(campaign, task) == [make_trial(campaign)]

    def test_any_trial_comes_back_as_it_was(self, store: Store) -> None:
        """Names of any script, 1 and 1.0 and true apart, empty samples, infinities."""
        task = make_task()
        campaign = store.create_campaign({}, [task])

        @settings(max_examples=100, deadline=None, database=None)
        @given(_configs, _measurements)
        def check(config: Config, measurement: Measurement) -> None:
            number = store.campaign(campaign).trials
            store.add_trial(task, Trial(config, measurement, campaign, number))
            kept = store.trials(campaign, task)[number]
            assert (kept.config, kept.config.key) == (config, config.key)
            assert (kept.campaign, kept.number) == (campaign, number)
            assert same(kept.measurement.to_json(), measurement.to_json())
            assert all(type(values) is tuple for values in kept.measurement.samples.values())

        check()

    def test_any_error_text_is_taken(self, store: Store) -> None:
        """A compiler may print what no encoding can carry; the trial is kept all the same."""
        task = make_task()
        campaign = store.create_campaign({}, [task])
        measurement = Measurement(Status.COMPILE, error="before \0 \ud800 after")
        store.add_trial(task, Trial(Config(X=1), measurement, campaign))
        [kept] = store.trials(campaign, task)
        assert kept.measurement.error.startswith("before ")
        assert kept.measurement.error.endswith(" after")

    # Outcomes and winners

    def test_outcome_is_replaced(self, store: Store) -> None:
        """A task that is finished again after a resume has its last outcome."""
        one, two = make_task(1), make_task(2)
        campaign = store.create_campaign({}, [one, two])
        assert store.outcomes(campaign) == {}
        assert store.finish_task(campaign, two, {"best": 1.0, "trials": 1}, None) is None
        assert same(store.outcomes(campaign), {two.key: {"best": 1.0, "trials": 1}})
        store.finish_task(campaign, two, {"best": float("inf")}, None)
        store.finish_task(campaign, one, {}, None)
        assert store.outcomes(campaign) == {one.key: {}, two.key: {"best": float("inf")}}

    def test_winner_comes_back_with_its_proof(self, store: Store) -> None:
        """With an identifier, its campaign, and the environment of its own task."""
        task = make_task()
        campaign = store.create_campaign({}, [task])
        winner = make_winner(make_task(environment={"compiler": "gcc 13"}))
        kept = store.finish_task(campaign, task, {}, winner)
        assert kept is not None
        assert kept.id > 0
        assert kept == replace(winner, campaign=campaign, id=kept.id)
        assert store.winners() == [kept]
        assert [change.state for change in store.history(kept.id)] == [State.PROMOTED]

    def test_any_winner_comes_back_as_it_was(self, store: Store) -> None:
        """Whatever its config and its evidence hold."""
        task = make_task()

        @settings(max_examples=25, deadline=None, database=None)
        @given(_configs, _configs, _measurements, st.floats())
        def check(config: Config, default: Config, measurement: Measurement, speedup: float) -> None:
            winner = make_winner(task)
            evidence = replace(
                winner.evidence,
                default=default,
                speedup=speedup,
                samples=dict(measurement.samples),
                resources=dict(measurement.resources),
            )
            kept = _keep(store, replace(winner, config=config, evidence=evidence))
            [found] = store.winners()
            assert (found.id, found.config) == (kept.id, config)
            assert same(found.evidence.to_json(), evidence.to_json())

        check()

    def test_evidence_of_too_few_pairs_comes_back(self, store: Store) -> None:
        """Its interval has no ends; in an outcome, and in a winner."""
        task = make_task()
        winner = make_winner(task)
        evidence = replace(winner.evidence, interval=(0.0, float("inf")), rounds=5)
        campaign = store.create_campaign({}, [task])
        outcome = {"final": {"config": {}, "evidence": evidence.to_json()}}
        store.finish_task(campaign, task, outcome, replace(winner, evidence=evidence))
        assert Evidence.from_json(store.outcomes(campaign)[task.key]["final"]["evidence"]) == evidence
        assert [found.evidence for found in store.winners()] == [evidence]

    def test_winner_of_another_task_is_refused(self, store: Store) -> None:
        """And nothing of the call is kept."""
        task, other = make_task(1), make_task(2)
        campaign = store.create_campaign({}, [task, other])
        with pytest.raises(StoreError, match="winner"):
            store.finish_task(campaign, task, {}, make_winner(other))
        assert store.outcomes(campaign) == {}

    def test_promoted_winner_retires_the_one_before(self, store: Store) -> None:
        """Of the same task, also under another environment; of no other version, workload or device."""
        task = make_task()
        others = [make_task(2), make_task(version="2"), make_task(tunable="other"), make_task(count=4)]
        untouched = [_keep(store, make_winner(other)) for other in others]
        first = _keep(store, make_winner(task))
        second = _keep(store, make_winner(make_task(environment={"compiler": "gcc 13"}), x=2))
        assert _promoted(store, task) == [second.id]
        assert [change.state for change in store.history(first.id)] == [State.PROMOTED, State.RETIRED]
        assert str(second.id) in store.history(first.id)[-1].why
        assert {winner.id for winner in store.winners()} == {second.id, *(winner.id for winner in untouched)}

    def test_winner_of_another_objective_replaces_none_by_itself(self, store: Store) -> None:
        """It is a candidate, and says for what each was proven; promoted by hand, the other's history says it too."""
        task = make_task()
        first = _keep(store, make_winner(task))
        second = _keep(store, _proven_for(make_winner(task, x=2), "maximize", "goodput_per_second"))
        assert _promoted(store, task) == [first.id]
        assert second.state is State.CANDIDATE
        why = store.history(second.id)[-1].why
        assert f"maximize goodput_per_second, and winner {first.id}, which is served, to minimize seconds" in why
        store.promote(second.id, "by test")
        assert _promoted(store, task) == [second.id]
        told = store.history(first.id)[-1].why
        assert "proven to maximize goodput_per_second, not minimize seconds" in told
        third = _keep(store, _proven_for(make_winner(task, x=3), "maximize", "goodput_per_second"))
        assert _promoted(store, task) == [third.id]

    def test_campaign_may_choose_by_another_objective_again(self, store: Store) -> None:
        """Its own winner gives way: whoever picks again on a front says so."""
        task = make_task()
        campaign = store.create_campaign({}, [task])
        store.finish_task(campaign, task, {}, make_winner(task))
        other = _proven_for(make_winner(task, x=2), "minimize", "joules")
        again = store.finish_task(campaign, task, {}, other)
        assert again is not None
        assert _promoted(store, task) == [again.id]

    @pytest.mark.parametrize("state", [State.CANDIDATE, State.QUARANTINED, State.RETIRED])
    def test_other_winner_retires_none(self, store: Store, state: State) -> None:
        """Only a promoted one takes the place."""
        task = make_task()
        first = _keep(store, make_winner(task))
        second = _keep(store, make_winner(task, state, x=2))
        assert _promoted(store, task) == [first.id]
        assert store.winners(state=state) == [second]

    def test_same_proof_is_kept_once(self, store: Store) -> None:
        """A task finished again with what it was finished with has no second winner; a new proof is a new winner."""
        task = make_task()
        campaign = store.create_campaign({}, [task])
        first = store.finish_task(campaign, task, {}, make_winner(task))
        assert store.finish_task(campaign, task, {}, make_winner(task)) == first
        assert store.winners(state=None) == [first]
        again = store.finish_task(campaign, task, {}, make_winner(task, seed=1))
        assert again is not None
        assert _promoted(store, task) == [again.id]
        assert len(store.winners(state=None)) == 2

    def test_resumed_campaign_goes_on(self, store: Store) -> None:
        """Trials, winners and time from before stay as they were."""
        task = make_task()
        campaign = store.create_campaign({}, [task])
        store.add_trial(task, make_trial(campaign, 0))
        store.finish_task(campaign, task, {"trials": 1}, make_winner(task))
        store.set_campaign_state(campaign, CampaignState.INTERRUPTED, add_wall_seconds=1.0)
        store.set_campaign_state(campaign, CampaignState.RUNNING)
        store.add_trial(task, make_trial(campaign, 1))
        store.finish_task(campaign, task, {"trials": 2}, None)
        assert [trial.number for trial in store.trials(campaign, task)] == [0, 1]
        assert store.outcomes(campaign) == {task.key: {"trials": 2}}
        assert len(store.winners()) == 1

    def test_winners_are_listed_newest_first(self, store: Store) -> None:
        """Of one tunable or all, in one state or all."""
        winners = [
            _keep(store, make_winner(make_task(n, tunable=tunable), state))
            for n, (tunable, state) in enumerate(
                [("a", State.PROMOTED), ("b", State.PROMOTED), ("a", State.CANDIDATE), ("a", State.PROMOTED)]
            )
        ]
        one, two, three, four = winners
        assert store.winners() == [four, two, one]
        assert store.winners(tunable="a") == [four, one]
        assert store.winners(tunable="a", state=None) == [four, three, one]
        assert store.winners(state=State.CANDIDATE) == [three]
        assert store.winners(tunable="c") == []

    def test_promoting_by_hand_rolls_back(self, store: Store) -> None:
        """The task's other promoted winner retires; another task's does not."""
        task = make_task()
        old, new = _keep(store, make_winner(task)), _keep(store, make_winner(task, x=2))
        other = _keep(store, make_winner(make_task(2)))
        store.set_winner_state(old.id, State.PROMOTED, "the new one crashes")
        assert _promoted(store, task) == [old.id]
        assert store.history(new.id)[-1].state is State.RETIRED
        assert store.history(old.id)[-1].why == "the new one crashes"
        assert len(store.history(other.id)) == 1

    def test_quarantine_leaves_none_promoted(self, store: Store) -> None:
        """A winner that is not promoted is not served."""
        winner = _keep(store, make_winner(make_task()))
        store.set_winner_state(winner.id, State.QUARANTINED, "wrong output")
        assert store.winners() == []
        assert store.winners(state=None) == [replace(winner, state=State.QUARANTINED)]

    def test_history_is_only_appended_to(self, store: Store) -> None:
        """Every change adds one entry, a repeated one too, and no entry changes."""
        winner = _keep(store, make_winner(make_task(), State.CANDIDATE))
        before = store.history(winner.id)
        for state in (State.PROMOTED, State.PROMOTED, State.QUARANTINED, State.CANDIDATE):
            store.set_winner_state(winner.id, state, f"to {state}, whatever \0 \ud800 that says")
            after = store.history(winner.id)
            assert after[:-1] == before
            assert after[-1].state is state
            assert after[-1].why.startswith(f"to {state}")
            assert datetime.fromisoformat(after[-1].at).utcoffset() == timedelta(0)
            before = after

    def test_unknown_winner_is_refused(self, store: Store) -> None:
        """By both methods that take one."""
        winner = _keep(store, make_winner(make_task()))
        for wrong in (0, winner.id + 1):
            with pytest.raises(StoreError, match=str(wrong)):
                store.set_winner_state(wrong, State.RETIRED, "because")
            with pytest.raises(StoreError, match=str(wrong)):
                store.history(wrong)

    # Candidates of elsewhere

    def test_added_winner_is_a_candidate_of_no_campaign(self, store: Store) -> None:
        """It comes back as it was, with where it comes from in its history, and nobody is served it."""
        task = make_task()
        served = _keep(store, make_winner(task))
        foreign = _told(task)
        kept = store.add_winner(foreign, "imported from a.json")
        assert kept == replace(foreign, id=kept.id)
        assert store.winner(kept.id) == kept
        assert store.winners() == [served]
        assert store.winners(state=None) == [kept, served]
        assert [(change.state, change.why) for change in store.history(kept.id)] == [
            (State.CANDIDATE, "imported from a.json")
        ]

    def test_added_winner_may_be_of_a_task_that_is_new(self, store: Store) -> None:
        """And is then promoted like any other."""
        kept = store.add_winner(_told(make_task(5)), "imported")
        assert store.promote(kept.id, "looks good") == replace(kept, state=State.PROMOTED)
        assert store.winners() == [replace(kept, state=State.PROMOTED)]
        assert store.campaigns() == []

    def test_same_import_is_kept_once(self, store: Store) -> None:
        """Also after it was moved; the same config told by another file is another candidate."""
        first = store.add_winner(_told(make_task()), "imported")
        store.quarantine(first.id, "crashes")
        assert store.add_winner(_told(make_task()), "imported again") == store.winner(first.id)
        assert len(store.winners(state=None)) == 1
        store.add_winner(_told(make_task(), origin="b.json"), "imported")
        assert len(store.winners(state=None)) == 2

    @pytest.mark.parametrize("state", [State.PROMOTED, State.QUARANTINED, State.RETIRED])
    def test_added_winner_is_no_more_than_a_candidate(self, store: Store, state: State) -> None:
        """Nothing is served that nobody here decided on."""
        with pytest.raises(StoreError, match="candidate"):
            store.add_winner(replace(_told(make_task()), state=state), "imported")
        with pytest.raises(StoreError, match="candidate"):
            store.add_winner(replace(_told(make_task()), campaign="0123abcd"), "imported")
        assert store.winners(state=None) == []

    def test_several_are_added_together_or_not_at_all(self, store: Store) -> None:
        """In their order; one that is there already is returned as it is."""
        known = store.add_winner(_told(make_task(1)), "imported")
        kept = store.add_winners([_told(make_task(2)), _told(make_task(1)), _told(make_task(3))], "imported together")
        assert [winner.task for winner in kept] == [make_task(2), make_task(1), make_task(3)]
        assert kept[1] == known
        assert [store.history(winner.id)[0].why for winner in kept[::2]] == ["imported together"] * 2
        with pytest.raises(StoreError, match="candidate"):
            store.add_winners([_told(make_task(4)), replace(_told(make_task(5)), campaign="0123abcd")], "imported")
        assert len(store.winners(state=None)) == 3
        assert store.add_winners([], "nothing") == []

    def test_a_campaign_that_ran_elsewhere_is_kept_whole_or_not_at_all(self, store: Store) -> None:
        """With all its trials, finished; a number that stands twice is refused, and nothing of it stays."""
        task = make_task()
        trials = [replace(make_trial("", number=number), campaign="") for number in range(3)]
        campaign = store.add_finished_campaign({"origin": "elsewhere"}, task, trials)
        record = store.campaign(campaign)
        assert (record.state, record.trials, record.spec) == (CampaignState.FINISHED, 3, {"origin": "elsewhere"})
        assert store.tasks(campaign) == [task]
        assert store.trials(campaign, task) == [replace(trial, campaign=campaign) for trial in trials]
        with pytest.raises(StoreError, match="have the number 0"):
            store.add_finished_campaign({}, task, [trials[0], trials[0]])
        assert [one.id for one in store.campaigns()] == [campaign]
        assert store.winners(state=None) == []

    # Promotion, quarantine, rollback

    def test_promoting_retires_the_one_before(self, store: Store) -> None:
        """Both histories say so; promoting what is promoted changes nothing."""
        task = make_task()
        old = _keep(store, make_winner(task))
        new = _keep(store, make_winner(task, State.CANDIDATE, x=2))
        promoted = store.promote(new.id, "better on the real traffic")
        assert promoted == replace(new, state=State.PROMOTED)
        assert store.winners() == [promoted]
        assert store.history(new.id)[-1].why == "better on the real traffic"
        assert store.history(old.id)[-1].state is State.RETIRED
        before = store.history(new.id)
        assert store.promote(new.id, "again") == promoted
        assert store.history(new.id) == before

    def test_quarantine_needs_a_reason(self, store: Store) -> None:
        """As does rolling back; nothing changes without one."""
        winner = _keep(store, make_winner(make_task()))
        for act in (store.quarantine, store.rollback):
            with pytest.raises(StoreError, match="reason"):
                act(winner.id, "  ")
        assert store.winners() == [winner]

    def test_quarantined_winner_is_not_served(self, store: Store) -> None:
        """And nothing takes its place."""
        winner = _keep(store, make_winner(make_task()))
        assert store.quarantine(winner.id, "wrong output") == replace(winner, state=State.QUARANTINED)
        assert store.winners() == []
        assert store.history(winner.id)[-1].why == "wrong output"

    def test_quarantine_takes_the_same_config_of_other_versions_along(self, store: Store) -> None:
        """It is what would be served next; other configs, workloads and devices stay."""
        old = _keep(store, make_winner(make_task(version="0"), x=1))
        other = _keep(store, make_winner(make_task(version="-1"), x=2))
        elsewhere = [_keep(store, make_winner(task, x=1)) for task in (make_task(2), make_task(count=4))]
        new = _keep(store, make_winner(make_task(), x=1))
        store.quarantine(new.id, "wrong output")
        assert {winner.id for winner in store.winners()} == {other.id, *(winner.id for winner in elsewhere)}
        assert f"winner {new.id}" in store.history(old.id)[-1].why
        assert "wrong output" in store.history(old.id)[-1].why

    def test_quarantined_winner_is_promoted_only_on_purpose(self, store: Store) -> None:
        """Its history keeps both, and then it is like any other."""
        winner = _keep(store, make_winner(make_task()))
        store.quarantine(winner.id, "wrong output")
        with pytest.raises(StoreError, match="wrong output"):
            store.promote(winner.id, "try again")
        assert store.winner(winner.id).state is State.QUARANTINED
        assert store.promote(winner.id, "driver fixed", despite_quarantine=True).state is State.PROMOTED
        assert "wrong output" in store.history(winner.id)[-1].why
        again = _keep(store, make_winner(make_task(), seed=1))
        assert again.state is State.PROMOTED

    def test_another_winner_with_a_quarantined_config_is_promoted_only_on_purpose(self, store: Store) -> None:
        """Whatever its version; promoting it on purpose ends the quarantine of the config."""
        bad = _keep(store, make_winner(make_task(version="0"), x=3))
        store.quarantine(bad.id, "wrong output")
        same = _keep(store, make_winner(make_task(), State.CANDIDATE, x=3))
        with pytest.raises(StoreError, match=f"winner {bad.id}.*wrong output"):
            store.promote(same.id, "faster")
        store.promote(same.id, "fixed", despite_quarantine=True)
        assert store.winners() == [replace(same, state=State.PROMOTED)]
        assert store.winner(bad.id).state is State.RETIRED
        assert f"winner {same.id}" in store.history(bad.id)[-1].why

    def test_no_campaign_promotes_a_quarantined_config(self, store: Store) -> None:
        """It is kept as a candidate that says why; what is promoted stays so."""
        task = make_task()
        bad = _keep(store, make_winner(task, x=3))
        served = _keep(store, make_winner(task, x=2))
        store.quarantine(bad.id, "wrong output")
        for found in (make_winner(task, x=3, seed=1), make_winner(make_task(version="2"), x=3)):
            kept = _keep(store, found)
            assert kept.state is State.CANDIDATE
            [entry] = store.history(kept.id)
            assert f"winner {bad.id}" in entry.why
            assert "wrong output" in entry.why
        assert store.winners() == [served]
        assert _keep(store, make_winner(make_task(2), x=3)).state is State.PROMOTED

    def test_a_winner_beside_a_quarantined_one_says_so(self, store: Store) -> None:
        """A campaign that goes on after a quarantine promotes another config, and its history tells of the first."""
        bad = _keep(store, make_winner(make_task(), x=3))
        store.quarantine(bad.id, "wrong output")
        good = _keep(store, make_winner(make_task(), x=2))
        assert good.state is State.PROMOTED
        [entry] = store.history(good.id)
        assert f"winner {bad.id} is quarantined here (wrong output)" in entry.why

    def test_rollback_promotes_the_one_before(self, store: Store) -> None:
        """Again and again, the last promoted first, whatever the order in which they were found."""
        task = make_task()
        first, second, third = (_keep(store, make_winner(task, x=x)) for x in (1, 2, 3))
        store.promote(first.id, "by hand")
        store.promote(third.id, "by hand")
        other = _keep(store, make_winner(make_task(2)))
        assert store.rollback(third.id, "crashes") == replace(first, state=State.PROMOTED)
        assert _promoted(store, task) == [first.id]
        assert store.winner(third.id).state is State.QUARANTINED
        assert store.history(third.id)[-1].why == f"rolled back to winner {first.id}: crashes"
        assert store.history(first.id)[-1].why == f"rolled back from winner {third.id}: crashes"
        assert store.rollback(first.id, "crashes too").id == second.id
        with pytest.raises(StoreError, match="none was promoted before"):
            store.rollback(second.id, "and this")
        assert _promoted(store, task) == [second.id]
        assert len(store.history(other.id)) == 1

    def test_rollback_passes_over_what_was_never_served_or_is_quarantined(self, store: Store) -> None:
        """Candidates, the same config proven twice, and other versions."""
        task = make_task()
        first = _keep(store, make_winner(task, x=1))
        bad = _keep(store, make_winner(task, x=2))
        _keep(store, make_winner(task, State.CANDIDATE, x=4))
        _keep(store, make_winner(task, State.RETIRED, x=5))
        _keep(store, make_winner(make_task(version="0"), x=6))
        _keep(store, make_winner(task, x=3))
        again = _keep(store, make_winner(task, x=3, seed=1))
        store.quarantine(bad.id, "crashes")
        assert store.rollback(again.id, "slow").id == first.id

    def test_only_what_is_served_is_rolled_back(self, store: Store) -> None:
        """The message says what is served instead, so that two who roll back the same winner do not take two."""
        task = make_task()
        first, second, third = (_keep(store, make_winner(task, x=x)) for x in (1, 2, 3))
        store.rollback(third.id, "crashes")
        with pytest.raises(StoreError, match=f"winner {third.id} .*quarantined.*winner {second.id} is promoted"):
            store.rollback(third.id, "crashes")
        with pytest.raises(StoreError, match=f"winner {first.id} .*retired"):
            store.rollback(first.id, "crashes")
        assert _promoted(store, task) == [second.id]

    def test_winners_of_a_place_are_those_of_all_versions(self, store: Store) -> None:
        """On the same workload and model of hardware."""
        one, two = (_keep(store, make_winner(make_task(version=version))) for version in ("1", "2"))
        for other in (make_task(2), make_task(count=4), make_task(tunable="other")):
            _keep(store, make_winner(other))
        assert store.winners(place=make_task().place) == [two, one]
        assert store.winners(place="0" * 16) == []

    def test_unknown_winner_cannot_be_moved(self, store: Store) -> None:
        """By any of the methods."""
        for act in (store.promote, store.quarantine, store.rollback):
            with pytest.raises(StoreError, match="no winner 7"):
                act(7, "because")
        with pytest.raises(StoreError, match="no winner 7"):
            store.winner(7)

    def test_any_order_of_decisions_keeps_the_rules(self, store: Store) -> None:
        """One winner of a task is promoted at most, no quarantined config by itself, and histories only grow."""
        numbers = st.integers(0, 9)
        decisions = st.lists(
            st.tuples(st.sampled_from(["find", "promote", "insist", "quarantine", "roll back"]), numbers), max_size=12
        )

        @settings(max_examples=10, deadline=None, database=None)
        @given(decisions, st.integers(0, 2**32))
        def check(steps: list[tuple[str, int]], n: int) -> None:
            ids: list[int] = []
            histories: dict[int, list[StateChange]] = {}
            for step, number in steps:
                task = make_task(n, version=str(number % 2))
                if step == "find":
                    ids.append(_keep(store, make_winner(task, x=number % 3, seed=len(ids))).id)
                elif ids:
                    with contextlib.suppress(StoreError):
                        _decide(store, step, ids[number % len(ids)])
                winners = store.winners(state=None, place=task.place)
                served = [winner for winner in winners if winner.state is State.PROMOTED]
                barred = {winner.config for winner in winners if winner.state is State.QUARANTINED}
                assert len({winner.task.key for winner in served}) == len(served)
                assert not barred & {winner.config for winner in served}
                for winner in winners:
                    history = store.history(winner.id)
                    before = histories.get(winner.id, [])
                    assert history[: len(before)] == before
                    assert history[-1].state is winner.state
                    histories[winner.id] = history

        check()

    def test_threads_roll_back_the_same_winner_once(self, store: Store) -> None:
        """Of eight that want to, one does; only one step is taken."""
        task = make_task()
        winners = [_keep(store, make_winner(task, x=x)) for x in range(4)]

        def roll(_: int) -> bool:
            try:
                store.rollback(winners[3].id, "race")
            except StoreError:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(roll, range(8))) == 1
        assert _promoted(store, task) == [winners[2].id]

    # Misses

    def test_misses_add_up(self, store: Store) -> None:
        """By kernel, workload and model of hardware; source, environment and time are the last ones."""
        store.add_misses([make_miss(1, 3, minute=5), make_miss(2, 4)])
        later = make_miss(1, 2, minute=9, source="nearest", environment={"compiler": "gcc 13"}, memory_bytes=1)
        store.add_misses([later, make_miss(1, 1, minute=7), later])
        [one, two] = store.misses()
        assert one == replace(later, count=3 + 2 + 1 + 2)
        assert two == make_miss(2, 4)
        store.add_misses([make_miss(tunable="b"), replace(make_miss(), device=make_device(count=4))])
        assert len(store.misses()) == 4

    def test_misses_are_listed_by_count(self, store: Store) -> None:
        """Of one kernel or of all, at most so many."""
        store.add_misses([make_miss(n, count) for n, count in enumerate((2, 9, 4))])
        store.add_misses([make_miss(7, 5, tunable="b")])
        assert [miss.count for miss in store.misses()] == [9, 5, 4, 2]
        assert [miss.count for miss in store.misses(limit=2)] == [9, 5]
        assert [miss.count for miss in store.misses(kernel="toy", limit=2)] == [9, 4]
        assert store.misses(kernel="c") == []

    def test_forgotten_misses_leave_what_came_since(self, store: Store) -> None:
        """So that nothing that was missed while a campaign ran is lost."""
        seen = [make_miss(1, 3), make_miss(2, 4)]
        store.add_misses(seen)
        store.add_misses([make_miss(1, 2, minute=1)])
        store.forget_misses([*seen, make_miss(9)])
        assert store.misses() == [make_miss(1, 2, minute=1)]
        store.forget_misses([make_miss(1, 100)])
        assert store.misses() == []
        store.forget_misses([])
        store.add_misses([])

    def test_times_of_misses_are_told_alike(self, store: Store) -> None:
        """In UTC, whatever the offset; what is no time is refused, and nothing is kept."""
        store.add_misses([replace(make_miss(), last_at="2026-01-31T14:00:00+02:00")])
        assert store.misses() == [make_miss()]
        with pytest.raises(StoreError, match="yesterday"):
            store.add_misses([make_miss(2), replace(make_miss(3), last_at="yesterday")])
        assert store.misses() == [make_miss()]

    def test_any_workload_may_be_missed(self, store: Store) -> None:
        """Whatever a server was asked for."""

        @settings(max_examples=25, deadline=None, database=None)
        @given(_configs)
        def check(config: Config) -> None:
            workload = Workload(dict(config))
            store.forget_misses(store.misses())
            store.add_misses([replace(make_miss(), workload=workload)])
            [found] = store.misses()
            assert found.workload == workload

        check()

    def test_threads_count_misses_at_once(self, store: Store) -> None:
        """None is lost, whatever the order in which they name the same ones."""

        def add(index: int) -> None:
            store.add_misses([make_miss((index + n) % 8) for n in range(8)])

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(add, range(40)))
        assert [miss.count for miss in store.misses()] == [40] * 8

    # Peaks

    def test_peaks_come_back_for_the_model_of_hardware(self, store: Store) -> None:
        """Whatever the environment and the size of memory, and for no other model."""
        assert store.peaks(make_device()) is None
        store.keep_peaks(make_device(), make_peaks())
        assert store.peaks(make_device(environment={}, memory_bytes=1)) == make_peaks()
        for other in (make_device(count=4), make_device(features={"vector_bytes": 32})):
            store.create_campaign({}, [Task("toy", "1", Workload(N=1), other)])
            assert store.peaks(other) is None

    def test_peaks_measured_again_replace_the_ones_before(self, store: Store) -> None:
        """Of the same device alone; its tasks stay as they are."""
        campaign = store.create_campaign({}, [make_task()])
        store.keep_peaks(make_device(), make_peaks(1e11))
        store.keep_peaks(make_device(count=4), make_peaks(4e11))
        store.keep_peaks(make_device(), make_peaks(2e11))
        assert store.peaks(make_device()) == make_peaks(2e11)
        assert store.peaks(make_device(count=4)) == make_peaks(4e11)
        assert store.tasks(campaign) == [make_task()]

    # Threads

    def test_threads_add_trials_at_once(self, store: Store) -> None:
        """None is lost."""
        tasks = [make_task(n) for n in range(4)]
        campaign = store.create_campaign({}, tasks)

        def add(index: int) -> None:
            store.add_trial(tasks[index % 4], make_trial(campaign, index // 4))

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(add, range(200)))
        assert store.campaign(campaign).trials == 200
        for task in tasks:
            assert [trial.number for trial in store.trials(campaign, task)] == list(range(50))

    def test_threads_take_a_number_once(self, store: Store) -> None:
        """Of eight that want it, one gets it."""
        task = make_task()
        campaign = store.create_campaign({}, [task])

        def add(x: int) -> bool:
            try:
                store.add_trial(task, make_trial(campaign, 0, X=x))
            except StoreError:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(add, range(8))) == 1

    def test_threads_promote_at_once(self, store: Store) -> None:
        """One winner is promoted in the end, and every change is in a history."""
        task = make_task()
        winners = [_keep(store, make_winner(task, x=x)) for x in range(4)]
        entries = sum(len(store.history(winner.id)) for winner in winners)

        def promote(index: int) -> None:
            store.set_winner_state(winners[index % 4].id, State.PROMOTED, "race")

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(promote, range(40)))
        assert len(_promoted(store, task)) == 1
        assert sum(len(store.history(winner.id)) for winner in winners) >= entries + 40

    def test_threads_keep_peaks_at_once(self, store: Store) -> None:
        """Of a device that the store does not know yet; one of them is what stays."""
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda rate: store.keep_peaks(make_device(), make_peaks(rate)), range(1, 17)))
        kept = store.peaks(make_device())
        assert kept is not None
        assert kept.flops_per_second in range(1, 17)

    def test_threads_create_campaigns_of_the_same_tasks(self, store: Store) -> None:
        """In any order of the tasks."""
        tasks = [make_task(n, memory_bytes=2**n, count=n) for n in range(1, 5)]

        def create(index: int) -> str:
            return store.create_campaign({}, tasks[index % 4 :] + tasks[: index % 4])

        with ThreadPoolExecutor(8) as threads:
            campaigns = list(threads.map(create, range(16)))
        assert len(set(campaigns)) == len(store.campaigns()) == 16
        assert store.tasks(campaigns[1]) == [tasks[1], tasks[2], tasks[3], tasks[0]]

    def test_closing_twice_is_harmless(self, store: Store) -> None:
        """As where a caller and its caller both close."""
        store.close()
        store.close()
