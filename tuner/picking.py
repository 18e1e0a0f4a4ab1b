"""The choice on a front, proven: at the end of a campaign, and again later from what the store kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tuner.db import Store
from tuner.errors import StoreError
from tuner.finals import Contest, Verdict, play
from tuner.front import parse_pick
from tuner.plan import Plan
from tuner.result import Result
from tuner.runners import Runner
from tuner.tunable import load
from tuner.types import Config, State, Task, Trial, Winner

__all__ = ["outcome_of", "picked_again", "play_picked"]

# After so many that were out, nobody else of the front is tried.
_MOST_TRIED = 3


def play_picked(runner: Runner, task: Task, default: Config, plan: Plan, trials: Sequence[Trial]) -> Verdict:
    """Play the final of the config that `plan.pick` chooses on the front of `trials`, against the default.

    The final compares what the choice goes by; with the knee, the first of the objectives. Where the chosen one is out,
    the next plays.
    """
    pick = parse_pick(plan.pick, plan.objective)
    contest = Contest(task, default, pick.objective, plan.finals, plan.seed)
    rejected: dict[Config, str] = {}
    seconds = 0.0
    chosen = [trial for trial in pick.ranked(trials, plan.objective) if trial.config != default]
    for trial in chosen[:_MOST_TRIED]:
        verdict = play(runner, contest, [trial])
        seconds += verdict.device_seconds
        rejected |= verdict.rejected
        if verdict.config is not None or default in verdict.rejected:
            return replace(verdict, device_seconds=seconds, rejected=rejected)
    return Verdict(None, None, False, seconds, rejected)


def picked_again(store: Store, campaign: str, rule: str, runner: Runner) -> list[Result]:
    """Choose once more on the fronts of a finished campaign, prove what was chosen, and keep it as its result.

    Args:
        store: Where the campaign is kept.
        campaign: Its identifier.
        rule: As in `Plan.pick`.
        runner: What measures the finals.

    Raises:
        StoreError: it has one objective, so that there is no front; or a kernel has changed since.
        TunerError: `rule` is no choice.
    """
    plan = Plan.from_json(store.campaign(campaign).spec)
    if not plan.objective.beside:
        raise StoreError(f"campaign {campaign} has one objective; a choice needs several")
    plan = replace(plan, pick=rule)
    results = []
    for task in store.tasks(campaign):
        tunable = load(task.tunable)
        if tunable.version != task.version:
            raise StoreError(f"{task.tunable} has changed since campaign {campaign}; tune it again")
        trials = store.trials(campaign, task)
        default = tunable.default(task.workload, task.device)
        verdict = play_picked(runner, task, default, plan, trials)
        former = store.outcomes(campaign).get(task.key)
        result = Result.of(task, default, trials, verdict, plan.objective)
        if former:
            before = Result.from_json(task, former)
            names = ("build_seconds", "wall_seconds", "use", "stopped")
            spent = before.device_seconds + verdict.device_seconds
            result = replace(result, device_seconds=spent, **{name: getattr(before, name) for name in names})
        outcome, winner = outcome_of(result, verdict, campaign)
        results.append(replace(result, winner=store.finish_task(campaign, task, outcome, winner)))
    return results


def outcome_of(result: Result, verdict: Verdict, campaign: str) -> tuple[dict[str, object], Winner | None]:
    """Return what a store keeps of a task's end: the outcome, and the winner where one was proven."""
    winner = None
    if verdict.promoted and verdict.config and verdict.evidence:
        winner = Winner(result.task, verdict.config, verdict.evidence, State.PROMOTED, campaign)
    outcome = result.to_json()
    if verdict.config and verdict.evidence and not verdict.promoted:
        # A promoted config's evidence is its winner's; what kept the default is evidence too.
        outcome["final"] = {"config": dict(verdict.config), "evidence": verdict.evidence.to_json()}
    return outcome, winner
