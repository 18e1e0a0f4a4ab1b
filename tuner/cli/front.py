"""Fronts of several objectives on the terminal, and `tuner campaign pick`: choose on a front again, later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tuner.cli.options import AsJson, RayAddress, RunnerName, StoreUrl
from tuner.cli.output import Output, config_text, print_results, value_text, workload_text
from tuner.cli.session import gang_of, gpus_of, runner_of, store_of
from tuner.front import front_of
from tuner.picking import picked_again
from tuner.plan import Plan
from tuner.result import Result
from tuner.types import Trial

__all__ = ["front_json", "pick", "print_front"]

_SHOWN = 20


def print_front(output: Output, trials: Sequence[Trial], plan: Plan, results: Sequence[Result]) -> None:
    """Print the front, where there are several objectives; the config that was chosen is marked."""
    if not plan.objective.beside:
        return
    front = front_of(trials, plan.objective)
    chosen = {result.config for result in results}
    output.say("")
    output.table(
        ["", "trial", *(one.metric for one in plan.objective.every), "config"],
        [
            [
                "*" if trial.config in chosen else "",
                str(trial.number),
                *(value_text(one.metric, one.value(trial.measurement)) for one in plan.objective.every),
                config_text(trial.config),
            ]
            for trial in front[:_SHOWN]
        ],
        title=f"the front: {len(front)} configs that none beats in everything, as searched (picked: {plan.pick})",
    )
    for result in results:
        for one in result.beside:
            output.say(f"  the final, beside the default: {one.text}")


def front_json(trials: Sequence[Trial], plan: Plan) -> list[dict[str, Any]]:
    """Return the front as plain data: each config with its values by metric."""
    return [
        {
            "trial": trial.number,
            "config": dict(trial.config),
            "values": {one.metric: one.value(trial.measurement) for one in plan.objective.every},
        }
        for trial in front_of(trials, plan.objective)
    ]


def pick(
    campaign: Annotated[str, typer.Argument(help="A campaign of several objectives.")],
    rule: Annotated[
        str, typer.Option("--pick", help="knee, or an objective such as 'minimize cost where ttft_p99<1'.")
    ],
    runner: RunnerName = "local",
    ray: RayAddress = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Choose again on the front that a campaign found, prove the choice against the default, and keep it."""
    output = Output(as_json=as_json)
    with store_of(store) as opened:
        record = opened.campaign(campaign)
        tasks = opened.tasks(record.id)
        with runner_of(runner, ray, gpus_of(tasks), gang=gang_of(tasks)) as running:
            results = picked_again(opened, record.id, rule, running)
        plan = Plan.from_json({**record.spec, "pick": rule})
        trials = [opened.trials(record.id, task) for task in tasks]
    print_results(output, results, store, {})
    for task, result, found in zip(tasks, results, trials, strict=True):
        if len(tasks) > 1:
            output.say(f"{task.tunable} {workload_text(task.workload)}")
        print_front(output, found, plan, [result])
    output.emit(
        {
            "campaign": record.id,
            "results": [
                {
                    "kernel": task.tunable,
                    "workload": dict(task.workload),
                    **result.to_json(),
                    "front": front_json(found, plan),
                }
                for task, result, found in zip(tasks, results, trials, strict=True)
            ],
        }
    )
