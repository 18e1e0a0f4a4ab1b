"""`tuner tune` and `tuner best`: find a config for one workload, and look it up again."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from tuner.campaign import Campaign
from tuner.cli.compile import compile_task
from tuner.cli.front import front_json, print_front
from tuner.cli.limit import parse_limits, request_limits, split_error
from tuner.cli.options import (
    AgentName,
    AsJson,
    Builders,
    CompileOnly,
    DeviceKind,
    Gpus,
    Kernel,
    Limits,
    Model,
    Objectives,
    Patience,
    Pick,
    Price,
    RayAddress,
    RunnerName,
    Seconds,
    Seed,
    StoreUrl,
    Target,
    TrafficFile,
    Trials,
    Words,
    WorkloadName,
    task_from,
)
from tuner.cli.output import Output, config_text, print_results, value_text, workload_text
from tuner.cli.roofline import ensure_peaks, roofline_json, rooflines_of
from tuner.cli.session import INTERRUPTED, LiveLine, gang_of, gpus_of, interruptible, runner_of, store_of
from tuner.errors import TunerError
from tuner.finals import Finals
from tuner.front import KNEE
from tuner.lookup.ask import best as best_of
from tuner.objective import Objective
from tuner.phrase import objective_text, parse_objectives
from tuner.plan import Budget, Plan, agent_for
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
    agent: AgentName = "auto",
    trials: Trials = 100,
    seconds: Seconds = None,
    patience: Patience = 0.0,
    prior: Annotated[bool, typer.Option(help="Learn from what the store knows of related tasks.")] = True,
    seed: Seed = 0,
    threshold: Annotated[float, typer.Option(help="Promote only if the speed-up's interval is above this.")] = 1.0,
    finalists: Annotated[
        int, typer.Option(help="How many of the best are proven; each is a start of an engine. 0 only searches.", min=0)
    ] = Finals().finalists,
    objective: Objectives = None,
    limit: Limits = None,
    pick: Pick = None,
    price_per_hour: Price = None,
    model: Model = None,
    traffic: TrafficFile = None,
    runner: RunnerName = "local",
    ray: RayAddress = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Tune KERNEL, or an engine, for one workload, prove the winner against the default, and keep it."""
    output = Output(as_json=as_json)
    asked, limits = split_error(parse_objectives(objective or [], price_per_hour), parse_limits(limit or []))
    if pick and not asked.beside:
        raise TunerError("--pick chooses on a front, and there is one objective; give --objective several times")
    if compile_only:
        task = limits.applied(task_from(kernel, workload, workload_name, device, target=target))
        compile_task(output, task, trials=trials, seed=seed, builders=builders, runner=runner, address=ray)
        return
    if target:
        raise TunerError(f"a target can be compiled for, not measured on: add --compile-only to --target {target}")
    task = limits.applied(
        task_from(kernel, workload, workload_name, device, model=model, traffic=traffic, more=request_limits(asked))
    )
    budget = Budget(trials, seconds, patience)
    finals = Finals(finalists=finalists, threshold=threshold)
    plan = Plan(agent_for(agent, asked), budget, asked, finals, seed, prior=prior, pick=pick or KNEE)
    with (
        store_of(store) as opened,
        runner_of(runner, ray, gpus_of([task], gpus), gang=gang_of([task])) as running,
        LiveLine() as line,
    ):
        campaign = Campaign([task], plan, runner=running, store=opened, watch=line.show)
        if text := prior_text(task, campaign.sources[0]):
            line.say(text)
        with interruptible(campaign):
            ensure_peaks(campaign, line.say)
            results = campaign.run()
        rooflines = rooflines_of(opened, results)
        found = opened.trials(campaign.id, task)
    print_results(output, results, store, rooflines)
    print_front(output, found, plan, results)
    if not results or results[0].interrupted:
        output.say(f"  resume: tuner campaign resume {campaign.id}")
    outcome = {**results[0].to_json(), "roofline": roofline_json(rooflines, task)} if results else {}
    known = campaign.sources[0]
    told = {"sources": len(known), "trials": sum(len(source.trials) for source in known)}
    front = {"front": front_json(found, plan)} if asked.beside else {}
    output.emit({"campaign": campaign.id, "task": task.key, "prior": told, **outcome, **front})
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
    """Look up the config to use: the promoted winner for this workload and device, of near ones, or the default."""
    output = Output(as_json=as_json)
    task = task_from(kernel, workload, workload_name, device, needs_tools=False, target=target)
    with store_of(store) as opened:
        choice = best_of(opened, task)
        stored = opened.winner(choice.winner.id) if choice.winner else None
    output.say(f"{task.tunable} {workload_text(task.workload)}")
    output.say(f"  config: {config_text(choice.config)}")
    output.say(f"  source: {choice.source}")
    winner = None
    if choice.winner:
        proof = choice.winner
        low, high = proof.interval
        assert stored is not None, "it is of this store"
        evidence = stored.evidence
        objective = Objective.from_json(evidence.objective) if evidence.objective else Objective()
        measured = proof.confidence > 0
        if measured:
            output.say(
                f"  proven: {proof.speedup:.3f}x [{low:.3f}, {high:.3f}] over the default, "
                f"{proof.rounds} pairs, {proof.measured_at}, campaign {proof.campaign}"
            )
        else:
            output.say(f"  not measured here: told by {evidence.origin or 'another program'}")
        if measured:
            before, after = (
                value_text(objective.metric, value) for value in (evidence.default_value, evidence.config_value)
            )
            output.say(f"  objective: {objective_text(objective)}: {before} by default, {after} with this config")
        if not choice.source.is_hit:
            output.say(f"  on: {workload_text(proof.workload)}, {proof.device.name}")
        winner = {
            "id": proof.id,
            "campaign": proof.campaign,
            "state": proof.state.value,
            "workload": dict(proof.workload),
            "speedup": proof.speedup if measured else None,
            "speedup_interval": [low, high] if math.isfinite(high) else None,
            "measured_at": proof.measured_at,
            "objective": objective_text(objective),
            "default_value": evidence.default_value,
            "config_value": evidence.config_value,
        }
    source, distance = choice.source.value, choice.distance
    output.emit({"config": dict(choice.config), "source": source, "distance": distance, "winner": winner})
