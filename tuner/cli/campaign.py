"""`tuner campaign run|list|show|resume|cancel|pick`, and `tuner show`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from tuner.campaign import Campaign
from tuner.cli.front import pick, print_front
from tuner.cli.options import AsJson, RayAddress, RunnerName, StoreUrl
from tuner.cli.output import Output, config_text, print_results, print_shares, value_text, workload_text
from tuner.cli.roofline import ensure_peaks, roofline_json, rooflines_of
from tuner.cli.session import INTERRUPTED, LiveLine, gang_of, gpus_of, interruptible, runner_of, store_of
from tuner.cli.spec import read_spec
from tuner.db import CampaignRecord, CampaignState
from tuner.errors import StoreError
from tuner.objective import Objective
from tuner.plan import Plan
from tuner.related import prior_text
from tuner.result import Result
from tuner.roofline import Roofline
from tuner.schedule import Schedule
from tuner.types import Config, Status, Trial

__all__ = ["register"]

_BEST_SHOWN = 10
_FAILED_SHOWN = 5

CampaignId = Annotated[str, typer.Argument(help="A campaign's identifier, or an unambiguous beginning of it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Campaigns over many kernels and workloads.", no_args_is_help=True)
    group.command()(run)
    group.command(name="list")(list_campaigns)
    group.command()(show)
    group.command()(resume)
    group.command()(cancel)
    group.command()(pick)
    app.add_typer(group, name="campaign")
    app.command()(show)


def run(
    spec: Annotated[Path, typer.Argument(help="The specification, a YAML file.")],
    runner: RunnerName = "local",
    ray: RayAddress = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Tune every kernel and workload of SPEC."""
    asked = read_spec(spec)
    gpus = gpus_of(asked.tasks)
    with (
        store_of(store) as opened,
        runner_of(runner, ray, gpus, gang=gang_of(asked.tasks)) as running,
        LiveLine() as line,
    ):
        campaign = Campaign(asked.tasks, asked.plan, runner=running, store=opened, watch=line.show)
        _finish(campaign, line, store, as_json=as_json)


def resume(
    campaign: CampaignId,
    runner: RunnerName = "local",
    ray: RayAddress = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a campaign that was interrupted, cancelled or killed; no trial is measured again."""
    with ExitStack() as stack:
        opened = stack.enter_context(store_of(store))
        tasks = opened.tasks(opened.campaign(campaign).id)
        running = stack.enter_context(runner_of(runner, ray, gpus_of(tasks), gang=gang_of(tasks)))
        line = stack.enter_context(LiveLine())
        resumed = Campaign.resume(campaign, runner=running, store=opened, watch=line.show)
        _finish(resumed, line, store, as_json=as_json)


def _finish(campaign: Campaign, line: LiveLine, store: str | None, *, as_json: bool) -> None:
    output = Output(as_json=as_json)
    for task, sources in zip(campaign.tasks, campaign.sources, strict=True):
        if text := prior_text(task, sources):
            line.say(f"{task.tunable} {workload_text(task.workload)}: {text}")
    with interruptible(campaign):
        ensure_peaks(campaign, line.say)
        results = campaign.run()
    line.close()
    rooflines = rooflines_of(campaign.store, results)
    print_results(output, results, store, rooflines)
    print_shares(output, results)
    interrupted = any(result.interrupted for result in results) or len(results) < len(campaign.tasks)
    if interrupted:
        output.say(f"  resume: tuner campaign resume {campaign.id}")
    output.emit({"campaign": campaign.id, "results": [_result_json(result, rooflines) for result in results]})
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if any(result.default_fails for result in results):
        raise typer.Exit(1)


def list_campaigns(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """List the campaigns of the store, the newest first."""
    output = Output(as_json=as_json)
    with store_of(store) as opened:
        records = opened.campaigns()
        rows = [
            [
                record.id,
                record.state.value,
                record.created_at,
                ", ".join(dict.fromkeys(task.tunable for task in opened.tasks(record.id))),
                str(record.trials),
                f"{record.wall_seconds:.0f} s",
            ]
            for record in records
        ]
    output.table(["campaign", "state", "created", "kernels", "trials", "ran"], rows)
    output.emit({"campaigns": [_record_json(record) for record in records]})


def show(campaign: CampaignId, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Show a campaign: its plan, its results, the best trials and the failures of each task."""
    output = Output(as_json=as_json)
    with store_of(store) as opened:
        record = opened.campaign(campaign)
        plan = Plan.from_json(record.spec)
        outcomes = opened.outcomes(record.id)
        tasks = [(task, opened.trials(record.id, task)) for task in opened.tasks(record.id)]
        results = [Result.from_json(task, outcomes[task.key]) for task, _ in tasks if task.key in outcomes]
        rooflines = rooflines_of(opened, results)
    shared = ", shared by expected gain" if plan.schedule is Schedule.GAIN and len(tasks) > 1 else ""
    output.say(
        f"campaign {record.id}: {record.state}, created {record.created_at}, ran {record.wall_seconds:.0f} s; "
        f"agent {plan.agent}, {plan.budget.trials} trials a task{shared}, seed {plan.seed}"
    )
    if origin := record.spec.get("origin"):
        output.say(f"imported from {origin['program']}, {origin['file']}, sha256 {origin['digest'][:16]}")
    if results:
        print_results(output, results, store, rooflines)
    uses = plan.uses or (1.0,) * len(tasks)
    so_far = [
        Result.from_json(task, outcomes[task.key])
        if task.key in outcomes
        else Result.of(task, trials[0].config if trials else Config(), trials, None, plan.objective, use=use)
        for (task, trials), use in zip(tasks, uses, strict=True)
    ]
    print_shares(output, so_far)
    for task, trials in tasks:
        print_front(output, trials, plan, [one for one in results if one.task == task])
        output.say("")
        scores = {trial.number: plan.objective.score(trial) for trial in trials}
        best = sorted((t for t in trials if math.isfinite(scores[t.number])), key=lambda t: scores[t.number])
        output.table(
            ["trial", plan.objective.metric, "to default", "config"],
            [_trial_row(plan.objective, trial, scores[trial.number]) for trial in best[:_BEST_SHOWN]],
            title=f"{task.tunable} {workload_text(task.workload)}: the best of {len(trials)} trials, as searched",
        )
        failed = [trial for trial in trials if trial.measurement.status is not Status.CORRECT]
        if failed:
            output.table(
                ["trial", "status", "why", "config"],
                [
                    [str(t.number), t.measurement.status.value, t.measurement.error, config_text(t.config)]
                    for t in failed[:_FAILED_SHOWN]
                ],
                title=f"{len(failed)} failed",
            )
    output.emit(
        {
            **_record_json(record),
            "plan": dict(record.spec),
            "results": [_result_json(result, rooflines) for result in results],
            "so_far": [_result_json(result, rooflines) for result in so_far if result.interrupted],
        }
    )


def cancel(campaign: CampaignId, store: StoreUrl = None) -> None:
    """Ask a running campaign to finish what is being measured and end; it can be resumed."""
    with store_of(store) as opened:
        record = opened.campaign(campaign)
        if record.state is not CampaignState.RUNNING:
            raise StoreError(f"campaign {record.id} is not running; it is {record.state}")
        opened.set_campaign_state(record.id, CampaignState.CANCELLED)
    print(f"campaign {record.id} is asked to end")


def _trial_row(objective: Objective, trial: Trial, score: float) -> list[str]:
    relative = f"{1 / score:.2f}x" if objective.is_paired(trial.measurement) else "-"
    value = value_text(objective.metric, objective.value(trial.measurement))
    return [str(trial.number), value, relative, config_text(trial.config)]


def _record_json(record: CampaignRecord) -> dict[str, object]:
    return {
        "campaign": record.id,
        "state": record.state.value,
        "created_at": record.created_at,
        "wall_seconds": record.wall_seconds,
        "trials": record.trials,
    }


def _result_json(result: Result, rooflines: Mapping[str, Roofline]) -> dict[str, object]:
    task = result.task
    where = {"kernel": task.tunable, "workload": dict(task.workload)}
    return {**where, **result.to_json(), "roofline": roofline_json(rooflines, task)}
