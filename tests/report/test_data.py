from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tuner.campaign import task_of
from tuner.cli.spec import read_spec
from tuner.db import CampaignState, MemoryStore
from tuner.devices import detect
from tuner.errors import StoreError
from tuner.finals import Finals
from tuner.objective import Limit, Objective, Statistic
from tuner.plan import Budget, Plan
from tuner.report.advice import advice
from tuner.report.command import best_command, campaign_yaml, tune_command
from tuner.report.condition import conditions, discarded_share
from tuner.report.data import Importance, Outcome, Share, gather
from tuner.report.verdict import headline
from tuner.schedule import Schedule
from tuner.types import Evidence

Made = tuple[MemoryStore, str]
Make = Callable[..., Made]


def test_a_campaign_that_ran_is_told_as_it_was(ran: Made) -> None:
    store, campaign = ran
    report = gather(store, campaign[:4])
    assert report.campaign.id == campaign
    assert [task.outcome for task in report.tasks] == [Outcome.PROMOTED, Outcome.PROMOTED]
    fragile = report.tasks[0]
    trials = store.trials(campaign, fragile.task)
    assert list(fragile.trials) == trials
    assert {failure.mark for failure in fragile.failures} == {"compile", "runtime", "correctness"}
    for failure in fragile.failures:
        assert failure.count == sum(trial.measurement.status == failure.mark for trial in trials)
        assert failure.error == trials[failure.first].measurement.error
    compiled = next(failure for failure in fragile.failures if failure.mark == "compile")
    assert ("FAULT", "compile", compiled.count) in compiled.suspects
    final = fragile.final
    assert final is not None
    assert final.ratios == pytest.approx([final.speedup] * 15)
    assert final.estimate == pytest.approx(final.speedup)
    assert fragile.best is not None
    assert fragile.best.config == fragile.config == final.config
    assert headline(fragile).endswith("over the default, proven in 15 pairs")
    assert min(fragile.scores) == pytest.approx(1 / final.speedup)


@pytest.mark.parametrize(
    ("state", "promoted", "outcome", "words"),
    [
        (CampaignState.FINISHED, True, Outcome.PROMOTED, "1.43x [1.40, 1.46] over the default, proven in 150 pairs"),
        (CampaignState.FINISHED, False, Outcome.DEFAULT_KEPT, "The default is kept: the best found is 1.00x"),
        (CampaignState.FINISHED, None, Outcome.UNPROVEN, "no finalist was left"),
        (CampaignState.RUNNING, True, Outcome.RUNNING, "Still running; the search's best so far is about 1."),
        (CampaignState.INTERRUPTED, True, Outcome.INTERRUPTED, "Interrupted before the final"),
    ],
)
def test_every_outcome_has_its_sentence(
    made: Make, state: CampaignState, promoted: bool | None, outcome: Outcome, words: str
) -> None:
    [task] = gather(*made(state=state, promoted=promoted)).tasks
    assert task.outcome is outcome
    assert words in headline(task)


def test_a_task_without_trials_has_not_begun(made: Make) -> None:
    [task] = gather(*made(state=CampaignState.INTERRUPTED, trials=1)).tasks
    empty = replace(task, trials=(), scores=(), best=None, outcome=Outcome.WAITING)
    assert headline(empty) == "Not begun"
    assert empty.config is None


def test_a_kept_default_shows_the_pairs_that_kept_it(made: Make) -> None:
    [task] = gather(*made(promoted=False)).tasks
    assert task.final is not None
    assert len(task.final.ratios) == 150
    assert task.final.config != task.default


def test_evidence_of_before_the_estimate_is_read(made: Make) -> None:
    store, _ = made()
    data = store.winners()[0].evidence.to_json()
    del data["estimate"], data["sign_p"]
    old = Evidence.from_json(data)
    assert (old.estimate, old.sign_p) == (None, None)


def test_an_unknown_campaign_is_an_error(made: Make) -> None:
    store, _ = made()
    with pytest.raises(StoreError):
        gather(store, "zzzz")


def test_conditions_are_summed_up_over_the_correct_trials(made: Make) -> None:
    [task] = gather(*made()).tasks
    told = dict(conditions(task))
    assert told["frequency"] == "2.90 GHz"
    assert told["caches"] == "warm"
    assert "cpu (" in told["clock"]
    assert told["rounds of a trial"] == "15"
    trials = [trial for trial, _ in task.usable]
    counts = [int(trial.measurement.resources["discarded_rounds"]) for trial in trials]
    assert told["rounds discarded"].startswith(f"{sum(counts)} (")
    share = discarded_share(trials)
    assert share == pytest.approx(sum(counts) / (sum(counts) + 15 * len(trials)))


def test_conditions_that_old_trials_do_not_tell_are_left_out(ran: Made) -> None:
    told = dict(conditions(gather(*ran).tasks[1]))
    assert "load average" not in told
    assert told["rounds of a trial"] == "60"
    assert told["noise of one pair"].startswith("0.00%")


def test_advice_names_what_fails_and_what_ends_at_an_edge(made: Make) -> None:
    report = gather(*made())
    [task] = report.tasks
    assert task.config is not None
    none = Importance(caution="too few")
    assert any("UNROLL=32 failed" in line for line in advice(report, task, none))
    edge = replace(task, parameters=tuple(replace(p, values=(1, 4, 8)) for p in task.parameters if p.name == "UNROLL"))
    matters = Importance((Share("UNROLL", 0.5, 0.1),), 0.9)
    assert any("UNROLL=8 matters and is the largest" in line for line in advice(report, edge, matters))
    assert not any("largest" in line for line in advice(report, edge, none))
    assert any("winner's curse" in line for line in advice(report, task, none))


def test_commands_repeat_the_plan(made: Make) -> None:
    report = gather(*made(tasks=2))
    [task, other] = report.tasks
    words = "tuner tune tuner.testing.toys:PARABOLA -w N=1 --agent random --trials 60 --seed 0"
    assert tune_command(report, task, "a b.db") == f"{words} --store 'a b.db'"
    assert best_command(task.task, None) == "tuner best tuner.testing.toys:PARABOLA -w N=1"
    limited = replace(report.plan, objective=Objective(limits=(Limit("seconds", 0.01, Statistic.P99),)))
    assert tune_command(replace(report, plan=limited), task, None) == f"{words} --limit 'seconds_p99<0.01'"
    patient = replace(report.plan, budget=replace(report.plan.budget, patience=0.1), prior=False)
    assert "--patience 0.1 --no-prior --seed 0" in str(tune_command(replace(report, plan=patient), task, None))
    other_finals = replace(report.plan, finals=replace(report.plan.finals, rounds=19))
    assert tune_command(replace(report, plan=other_finals), task, None) is None
    # The tasks shared their trials, and one had fewer.
    fewer = replace(other, trials=other.trials[:50])
    assert "--trials 50 " in str(tune_command(replace(report, tasks=(task, fewer)), fewer, None))
    each = replace(report, plan=replace(report.plan, schedule=Schedule.EACH), tasks=(task, fewer))
    assert "--trials 60 " in str(tune_command(each, fewer, None))


@pytest.mark.parametrize(
    "plan",
    [
        Plan(uses=(1.0, 1.0, 1.0, 1.0)),
        Plan(
            agent="random",
            budget=Budget(trials=7, seconds=12.5, patience=0.05),
            objective=Objective(limits=(Limit("code_bytes", 1e5), Limit("seconds", 1e-5, Statistic.P99))),
            finals=Finals(rounds=19, threshold=1.02),
            seed=5,
            in_flight=3,
            schedule=Schedule.EACH,
            uses=(32.0, 32.0, 1.0, 0.5),
            prior=False,
        ),
    ],
    ids=["default", "changed"],
)
def test_the_specification_reads_back_into_the_campaign(plan: Plan, tmp_path: Path) -> None:
    softmax = "cpp:softmax"
    device = detect("cpu:2")
    tasks = [
        task_of(softmax, {"M": 4, "N": 64}, device),
        task_of(softmax, {"M": 4, "N": 64, "cache": "cold", "rel_error": 1e-5}, device),
        task_of("tuner.testing.toys:PARABOLA", {"N": 3}, device),
        task_of(softmax, {"M": 8, "N": 64}, device),
    ]
    store = MemoryStore()
    path = tmp_path / "campaign.yaml"
    path.write_text(campaign_yaml(gather(store, store.create_campaign(plan.to_json(), tasks))))
    spec = read_spec(path)
    assert list(spec.tasks) == tasks
    assert spec.plan == plan


def test_scores_without_a_reference_are_seconds(made: Make) -> None:
    [task] = gather(*made()).tasks
    assert task.paired
    assert all(math.isfinite(score) for _, score in task.usable)
