"""`tuner stale|misses|retune`: what serving needs next, and the campaigns that give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from tuner.campaign import Campaign
from tuner.cli.options import (
    AgentName,
    AsJson,
    Gpus,
    Patience,
    RayAddress,
    RunnerName,
    Seconds,
    Seed,
    StoreUrl,
    Trials,
)
from tuner.cli.output import Output, print_results, print_shares, workload_text
from tuner.cli.roofline import ensure_peaks, rooflines_of
from tuner.cli.session import INTERRUPTED, LiveLine, gang_of, gpus_of, interruptible, runner_of, store_of
from tuner.cli.winner import OfKernel
from tuner.db import Store
from tuner.errors import TunerError
from tuner.lookup.miss_file import take_misses, unfinished
from tuner.plan import Budget, Plan, agent_for
from tuner.result import Result
from tuner.retune import Demand, Present, missed, stale, tuned_together, uses_of
from tuner.runners import Runner

__all__ = ["register"]

Again = Annotated[bool, typer.Option("--again", help="Also what a campaign kept the default for, under what is now.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="stale")(list_stale)
    app.command(name="misses")(list_misses)
    app.command()(retune)


def list_stale(kernel: OfKernel = None, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """List the promoted winners that were proven under another compiler, driver, library or kernel source."""
    output = Output(as_json=as_json)
    with store_of(store) as opened:
        found = stale(opened, Present(), kernel=kernel)
    output.table(
        ["winner", "kernel", "workload", "asked", "changed since", "to be tuned"],
        [
            [str(one.winner.id) if one.winner else "-", *_row(one), _changes_text(one), _obstacle_text(one)]
            for one in found
        ],
    )
    output.emit({"stale": [_demand_json(one) for one in found]})


def list_misses(
    kernel: OfKernel = None,
    add: Annotated[
        Path | None,
        typer.Option(help="A file of misses that servers write, one JSON object a line: moved aside, and added first."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    again: Again = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """List what serving code asked for and did not find, the most asked for first."""
    output = Output(as_json=as_json)
    with store_of(store) as opened:
        if add:
            for left in unfinished(add):
                output.say(
                    f"{left} was being added when that was ended; see whether its misses are listed, and move it"
                )
            added, aside = take_misses(add, opened.add_misses)
            output.say(f"{sum(miss.count for miss in added)} misses were added; the file is {aside} now")
        found = missed(opened, Present(), kernel=kernel, limit=limit, again=again)
    output.table(
        ["kernel", "workload", "asked", "served", "last", "to be tuned"],
        [
            [
                *_row(one),
                one.miss.source if one.miss else "-",
                one.miss.last_at if one.miss else "-",
                _obstacle_text(one),
            ]
            for one in found
        ],
    )
    output.emit({"misses": [_demand_json(one) for one in found]})


def retune(
    kernel: OfKernel = None,
    of_stale: Annotated[bool, typer.Option("--stale", help="Tune what is stale; see `tuner stale`.")] = False,
    of_misses: Annotated[bool, typer.Option("--misses", help="Tune what was missed; see `tuner misses`.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many workloads.")] = 10,
    again: Again = False,
    agent: AgentName = "auto",
    trials: Trials = 100,
    seconds: Seconds = None,
    patience: Patience = 0.0,
    seed: Seed = 0,
    gpus: Gpus = 1,
    runner: RunnerName = "local",
    ray: RayAddress = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Tune stale winners (--stale) or misses (--misses) in one campaign, which spends most on what is asked for most.

    Each starts from the winner that there is, whose config plays in the finals, too. Winners that were proven for
    another objective than the time of a call are tuned for that, in a campaign of their own.
    """
    if of_stale == of_misses:
        raise TunerError("say what to tune again: either --stale or --misses")
    output = Output(as_json=as_json)
    plan = Plan(agent, Budget(trials, seconds, patience), seed=seed)
    done: list[_Outcome] = []
    with store_of(store) as opened:
        present = Present(needs_tools=True)
        found = (
            stale(opened, present, kernel=kernel) if of_stale else missed(opened, present, kernel=kernel, again=again)
        )
        todo = [one for one in found if one.task and not one.obstacle]
        for one in [one for one in found if one.obstacle]:
            output.say(f"not tuned: {one.kernel} {workload_text(one.workload)}: {one.obstacle}")
        chosen = todo[:limit]
        if chosen:
            tasks = [one.task for one in chosen if one.task]
            with runner_of(runner, ray, gpus_of(tasks, gpus), gang=gang_of(tasks)) as running:
                for objective, together in tuned_together(chosen):
                    by = agent_for(plan.agent, objective)
                    own = replace(plan, agent=by, objective=objective, uses=uses_of(together))
                    done += _tune(output, together, own, running, opened, store)
                    if any(one.is_interrupted for one in done):
                        break
    answered = sum(one.is_answered for one in done)
    left = len(todo) - answered
    campaigns = len({one.campaign for one in done})
    output.say(
        f"{answered} tuned in {campaigns} {'campaign' if campaigns == 1 else 'campaigns'}; {left} left to tune"
        if todo
        else "nothing is left to tune"
    )
    output.emit({"campaigns": [one.to_json() for one in done], "left": left})
    if any(one.is_interrupted for one in done):
        raise typer.Exit(INTERRUPTED)
    if answered < len(done):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a demand's task ended in its campaign; without a result, it was interrupted before it came to that."""

    demand: Demand
    campaign: str
    result: Result | None

    @property
    def is_interrupted(self) -> bool:
        return self.result is None or self.result.interrupted

    @property
    def is_answered(self) -> bool:
        """Whether it is known now what to use; where even the default fails, it is not."""
        return self.result is not None and not self.result.interrupted and not self.result.default_fails

    def to_json(self) -> dict[str, Any]:
        winner = self.result.winner if self.result else None
        return {
            **_demand_json(self.demand),
            "campaign": self.campaign,
            "result": self.result.to_json() if self.result else None,
            "promoted": winner.id if winner and self.result and self.result.promoted else None,
        }


def _tune(
    output: Output, together: Sequence[Demand], plan: Plan, runner: Runner, opened: Store, store: str | None
) -> list[_Outcome]:
    """Run one campaign; what it answers is not missed any more."""
    tasks = [one.task for one in together if one.task]
    with LiveLine() as line:
        campaign = Campaign(tasks, plan, runner=runner, store=opened, watch=line.show)
        for one in together:
            line.say(f"{one.kernel} {workload_text(one.workload)}: {_why_text(one)}")
        with interruptible(campaign):
            ensure_peaks(campaign, line.say)
            results = campaign.run()
    by_task = {result.task.key: result for result in results}
    outcomes = [_Outcome(one, campaign.id, by_task.get(one.task.key)) for one in together if one.task]
    opened.forget_misses([one.demand.miss for one in outcomes if one.demand.miss and one.is_answered])
    print_results(output, results, store, rooflines_of(opened, results))
    print_shares(output, results)
    if any(one.is_interrupted for one in outcomes):
        output.say(f"  resume: tuner campaign resume {campaign.id}")
    return outcomes


def _row(demand: Demand) -> list[str]:
    return [demand.kernel, workload_text(demand.workload), str(demand.asked) if demand.asked else "-"]


def _obstacle_text(demand: Demand) -> str:
    return f"no: {demand.obstacle}" if demand.obstacle else "yes"


def _changes_text(demand: Demand) -> str:
    return "; ".join(map(str, demand.changes))


def _why_text(demand: Demand) -> str:
    asked = f"asked for {demand.asked} times" if demand.asked else "stale"
    if demand.winner is None:
        return asked
    return f"{asked}; winner {demand.winner.id} was proven before: {_changes_text(demand)}"


def _demand_json(demand: Demand) -> dict[str, Any]:
    return {
        "kernel": demand.kernel,
        "workload": dict(demand.workload),
        "device": demand.device.name,
        "asked": demand.asked,
        "source": demand.miss.source if demand.miss else None,
        "last_at": demand.miss.last_at if demand.miss else None,
        "winner": demand.winner.id if demand.winner else None,
        "changes": [{"name": one.name, "then": one.then, "now": one.now} for one in demand.changes],
        "obstacle": demand.obstacle or None,
    }
