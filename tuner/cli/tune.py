"""`tuner tune` and `tuner best`: find a config for one workload, and look it up again."""

from __future__ import annotations

from typing import Annotated

import typer

from tuner.campaign import Campaign
from tuner.cli.compile import compile_task
from tuner.cli.limit import parse_limits
from tuner.cli.options import (
    AsJson,
    Builders,
    CompileOnly,
    DeviceKind,
    Gpus,
    Kernel,
    RayAddress,
    RunnerName,
    StoreUrl,
    Target,
    Words,
    WorkloadName,
    task_from,
)
from tuner.cli.output import Output, config_text, print_results, workload_text
from tuner.cli.roofline import ensure_peaks, roofline_json, rooflines_of
from tuner.cli.session import INTERRUPTED, LiveLine, gpus_of, interruptible, runner_of, store_of
from tuner.errors import TunerError
from tuner.finals import Finals
from tuner.lookup.ask import best as best_of
from tuner.objective import Objective
from tuner.plan import Budget, Plan
from tuner.related import prior_text

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(tune)
    app.command()(best)


def tune(
    kernel: Kernel,
    workload: Words = None,
    workload_name: WorkloadName = None,
    device: DeviceKind = "cpu",
    target: Target = None,
    compile_only: CompileOnly = False,
    builders: Builders = None,
    gpus: Gpus = 1,
    agent: Annotated[str, typer.Option(help="Who proposes configs; see `tuner agents`.")] = "auto",
    trials: Annotated[int, typer.Option(help="Configs to measure, failures included.")] = 100,
    seconds: Annotated[float | None, typer.Option(help="Longest time of the search; finals come on top.")] = None,
    patience: Annotated[
        float, typer.Option(help="Stop when ten more trials are expected to save less than this share; 0 never does.")
    ] = 0.0,
    prior: Annotated[bool, typer.Option(help="Learn from what the store knows of related tasks.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of the agent and of all inputs.")] = 0,
    threshold: Annotated[float, typer.Option(help="Promote only if the speed-up's interval is above this.")] = 1.0,
    limit: Annotated[
        list[str] | None,
        typer.Option(help="'rel_error<1e-2', 'code_bytes<100000', 'p99:seconds<0.01'; repeatable."),
    ] = None,
    runner: RunnerName = "local",
    ray: RayAddress = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Tune KERNEL for one workload, prove the winner against the default, and keep it."""
    output = Output(as_json=as_json)
    limits = parse_limits(limit or [])
    if compile_only:
        task = limits.applied(task_from(kernel, workload, workload_name, device, target=target))
        compile_task(output, task, trials=trials, seed=seed, builders=builders, runner=runner, address=ray)
        return
    if target:
        raise TunerError(f"a target can be compiled for, not measured on: add --compile-only to --target {target}")
    task = limits.applied(task_from(kernel, workload, workload_name, device))
    objective = Objective(limits=limits.objective)
    budget = Budget(trials, seconds, patience)
    plan = Plan(agent, budget, objective, Finals(threshold=threshold), seed, prior=prior)
    with store_of(store) as opened, runner_of(runner, ray, gpus_of([task], gpus)) as running, LiveLine() as line:
        campaign = Campaign([task], plan, runner=running, store=opened, watch=line.show)
        if text := prior_text(task, campaign.sources[0]):
            line.say(text)
        with interruptible(campaign):
            ensure_peaks(campaign, line.say)
            results = campaign.run()
        rooflines = rooflines_of(opened, results)
    print_results(output, results, store, rooflines)
    if not results or results[0].interrupted:
        output.say(f"  resume: tuner campaign resume {campaign.id}")
    outcome = {**results[0].to_json(), "roofline": roofline_json(rooflines, task)} if results else {}
    known = campaign.sources[0]
    told = {"sources": len(known), "trials": sum(len(source.trials) for source in known)}
    output.emit({"campaign": campaign.id, "task": task.key, "prior": told, **outcome})
    if not results or results[0].interrupted:
        raise typer.Exit(INTERRUPTED)


def best(
    kernel: Kernel,
    workload: Words = None,
    workload_name: WorkloadName = None,
    device: DeviceKind = "cpu",
    target: Target = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Look up the config to use: the promoted winner for this workload and device, or the kernel's default."""
    output = Output(as_json=as_json)
    task = task_from(kernel, workload, workload_name, device, needs_tools=False, target=target)
    with store_of(store) as opened:
        choice = best_of(opened, task)
    output.say(f"{task.tunable} {workload_text(task.workload)}")
    output.say(f"  config: {config_text(choice.config)}")
    output.say(f"  source: {choice.source}")
    winner = None
    if choice.winner:
        evidence = choice.winner.evidence
        low, high = evidence.interval
        output.say(
            f"  proven: {evidence.speedup:.3f}x [{low:.3f}, {high:.3f}] over the default, "
            f"{evidence.rounds} pairs, {evidence.measured_at}, campaign {choice.winner.campaign}"
        )
        winner = {
            "id": choice.winner.id,
            "campaign": choice.winner.campaign,
            "state": choice.winner.state.value,
            "speedup": evidence.speedup,
            "speedup_interval": [low, high],
            "measured_at": evidence.measured_at,
        }
    output.emit({"config": dict(choice.config), "source": choice.source.value, "winner": winner})
