"""The choice on a front, proven: at the end of a campaign, and again later from what the store kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tuner.comparison import Comparison, comparisons
from tuner.db import Store
from tuner.errors import StoreError
from tuner.finals import Contest, Verdict, play
from tuner.front import parse_pick
from tuner.plan import Plan
from tuner.precedent import precedent_of
from tuner.result import Result
from tuner.runners import Runner
from tuner.tunable import load
from tuner.types import Config, Measurement, State, Status, Task, Trial, Winner

__all__ = ["keep", "picked_again", "play_picked"]

# After so many that were out, nobody else of the front is tried.
_MOST_TRIED = 3


def play_picked(runner: Runner, task: Task, default: Config, plan: Plan, trials: Sequence[Trial]) -> Verdict:
    """Play the final of the config that `plan.pick` chooses on the front of `trials`, against the default.

    The final compares what the choice goes by. Whoever chooses by an objective has said what may be paid for it; the
    knee is nobody's choice, and so it has to be better than the default in the first objective and worse in none, in
    the search already, and in the final again. Where the chosen one is out, the next plays.
    """
    pick = parse_pick(plan.pick, plan.objective)
    contest = Contest(task, default, pick.objective, plan.finals, plan.seed)
    rejected: dict[Config, str] = {}
    seconds = 0.0
    before = next((trial.measurement for trial in trials if trial.config == default), None)
    chosen = [trial for trial in pick.ranked(trials, plan.objective) if trial.config != default]
    if pick.knee and before is not None:
        worse = {trial.config: _worse(_compared(plan, trial.measurement, before)) for trial in chosen}
        admitted = [trial for trial in chosen if not worse[trial.config]]
        if chosen and not admitted:
            rejected[chosen[0].config] = worse[chosen[0].config]
        chosen = admitted
    for trial in chosen[:_MOST_TRIED]:
        verdict = play(runner, contest, [trial])
        seconds += verdict.device_seconds
        rejected |= verdict.rejected
        if verdict.config is not None and verdict.evidence is not None and before is not None:
            evidence = verdict.evidence
            proof = Measurement(Status.CORRECT, evidence.samples, resources=evidence.resources)
            verdict = replace(verdict, beside=tuple(_compared(plan, proof, before)))
            if pick.knee and verdict.promoted and (reason := _worse(verdict.beside)):
                rejected[trial.config] = reason
                continue
        if verdict.config is not None or default in verdict.rejected:
            return replace(verdict, device_seconds=seconds, rejected=rejected)
    return Verdict(None, None, False, seconds, rejected)


def _compared(plan: Plan, config: Measurement, default: Measurement) -> list[Comparison]:
    return comparisons(plan.objective.every, config, default, confidence=plan.finals.confidence)


def _worse(found: Sequence[Comparison]) -> str:
    """Return in what a config is worse than the default; empty where it is in nothing."""
    texts = [one.text for one in found if one.is_worse]
    return f"worse than the default ({'; '.join(texts)}); --pick an objective to pay for it" if texts else ""


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
    outcomes = store.outcomes(campaign)
    for task in store.tasks(campaign):
        tunable = load(task.tunable)
        if tunable.version != task.version:
            raise StoreError(f"{task.tunable} has changed since campaign {campaign}; tune it again")
        trials = store.trials(campaign, task)
        default = tunable.default(task.workload, task.device)
        before = precedent_of(store, task)
        verdict = before.told(play_picked(runner, task, default, plan, before.admitted(trials)), trials)
        former = outcomes.get(task.key)
        result = Result.of(task, default, trials, verdict, plan.objective)
        if former:
            earlier = Result.from_json(task, former)
            names = ("build_seconds", "wall_seconds", "use", "stopped")
            spent = earlier.device_seconds + verdict.device_seconds
            result = replace(result, device_seconds=spent, **{name: getattr(earlier, name) for name in names})
        results.append(keep(store, campaign, result, verdict, default))
    return results


def keep(store: Store, campaign: str, result: Result, verdict: Verdict, default: Config) -> Result:
    """Keep how a task of a campaign ended, and return the result as it is kept.

    A config that was quarantined while it was proven is not promoted: the default is kept, and the result says why.

    Args:
        store: What keeps the campaign.
        campaign: Its identifier.
        result: The result of the task, from `verdict`.
        verdict: How the finals ended.
        default: The task's default config.
    """
    outcome, winner = _outcome_of(result, verdict, campaign)
    kept = store.finish_task(campaign, result.task, outcome, winner)
    if kept is not None and kept.state is not State.PROMOTED:
        result = result.refused(default, store.history(kept.id)[-1].why)
        store.finish_task(campaign, result.task, result.to_json(), None)
    return replace(result, winner=kept)


def _outcome_of(result: Result, verdict: Verdict, campaign: str) -> tuple[dict[str, object], Winner | None]:
    """Return what a store keeps of a task's end: the outcome, and the winner where one was proven."""
    winner = None
    if verdict.promoted and verdict.config and verdict.evidence:
        winner = Winner(result.task, verdict.config, verdict.evidence, State.PROMOTED, campaign)
    outcome = result.to_json()
    if verdict.config and verdict.evidence and not verdict.promoted:
        # A promoted config's evidence is its winner's; what kept the default is evidence too.
        outcome["final"] = {"config": dict(verdict.config), "evidence": verdict.evidence.to_json()}
    return outcome, winner
