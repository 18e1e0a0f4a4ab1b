"""`tuner replay`: how good agents are, on recorded spaces."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tuner.agents import installed_agents
from tuner.cli.options import AsJson
from tuner.cli.output import Output
from tuner.db.kernel_tuner import read_cache_file
from tuner.errors import TunerError
from tuner.reference import is_reference
from tuner.replay import (
    Estimate,
    LeaveOut,
    Prior,
    Rules,
    Score,
    differences,
    estimates,
    judge,
    priors_of,
    proposal_time,
    require_priors,
)
from tuner.replay.page import require_format, write
from tuner.replay.table import by_agent, by_kernel, tables
from tuner.report.library import require_all

__all__ = ["register"]

_OPTIONS = {
    LeaveOut.SPACE: "--leave-one-out",
    LeaveOut.DEVICE: "--leave-one-device-out",
    LeaveOut.KERNEL: "--leave-one-kernel-out",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(replay)


def replay(
    files: Annotated[list[Path], typer.Argument(help="Kernel Tuner cache files, .json or .json.gz.")],
    agent: Annotated[
        str | None,
        typer.Option(
            help="Who proposes configs, or several, NAME,NAME: of `tuner agents`, or your own, path/to/file.py:CLASS. "
            "auto, unless there is a rival."
        ),
    ] = None,
    rival: Annotated[
        list[str] | None,
        typer.Option(help="A strategy of another tool, kernel_tuner:NAME, if it is installed; repeatable."),
    ] = None,
    trials: Annotated[int, typer.Option(help="Evaluations of each run.")] = 200,
    seeds: Annotated[int, typer.Option(help="Runs on each space.")] = 20,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    batch: Annotated[int, typer.Option(help="Configs that are proposed before any of them is told.")] = 1,
    prior: Annotated[
        list[Path] | None, typer.Option(help="A file whose records every run is told before; repeatable.")
    ] = None,
    leave_one_out: Annotated[
        bool, typer.Option(help="Tell each run what the other given files know of its kernel.")
    ] = False,
    leave_one_device_out: Annotated[
        bool, typer.Option(help="Tell each run what the other given files know of its kernel on other devices.")
    ] = False,
    leave_one_kernel_out: Annotated[
        bool, typer.Option(help="Tell each run what the other given files know of other kernels.")
    ] = False,
    prior_records: Annotated[
        int | None, typer.Option(help="How many random records of each such file a run is told; all by default.")
    ] = None,
    prior_spaces: Annotated[
        int | None,
        typer.Option(help="How many of these files a run is told of, drawn by its seed; all by default."),
    ] = None,
    prior_shuffled: Annotated[
        bool, typer.Option(help="Deal the prior's times to other configs: what does a prior cost that is wrong?")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A page (.html) or picture (.png) of how they converge.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run agents on recorded spaces and print how close to the optimum they come, and how soon."""
    counts = {"trials": trials, "seeds": seeds, "batch": batch}
    for option, value in {**counts, "prior-records": prior_records, "prior-spaces": prior_spaces}.items():
        if value is not None and value < 1:
            raise TunerError(f"--{option} {value} is not positive")
    contenders = _contenders(agent, rival or [])
    told = Prior(tuple(prior or ()), prior_records, prior_spaces, prior_shuffled)
    priors = _priors(files, told, _left_out(leave_one_out, leave_one_device_out, leave_one_kernel_out))
    rules = Rules(trials, seeds, batch, seed)
    if out is not None:
        # Before hours of work.
        require_format(out)
        require_all()
    output = Output(as_json=as_json)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"{', '.join(contenders)} on {len(files)} spaces", total=None)

        def watch(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        scores = judge(files, contenders, rules, priors=priors, watch=watch)
    for number, table in enumerate(tables(scores, rules)):
        if number:
            output.say("")
        output.table(table.columns, table.rows, title=table.title)
    if out is not None:
        write(out, scores, rules, ["tuner", *sys.argv[1:]])
        output.say(f"  {out}")
    output.emit(_figures(scores, rules, told))


def _contenders(agent: str | None, rivals: Sequence[str]) -> list[str]:
    agents = _split(agent) if agent else [] if rivals else ["auto"]
    return list(dict.fromkeys([*agents, *rivals]))


def _split(words: str) -> list[str]:
    """Return the agents in a list with commas; what names no agent is a part of the variant before it."""
    known = installed_agents()
    agents: list[str] = []
    for word in words.split(","):
        if agents and not (is_reference(word) or word.partition(":")[0] in known):
            agents[-1] += f",{word}"
        else:
            agents.append(word)
    return agents


def _left_out(space: bool, device: bool, kernel: bool) -> LeaveOut | None:
    chosen = {LeaveOut.SPACE: space, LeaveOut.DEVICE: device, LeaveOut.KERNEL: kernel}
    given = [kind for kind, wanted in chosen.items() if wanted]
    if len(given) > 1:
        raise TunerError(f"{' and '.join(map(_OPTIONS.__getitem__, given))} contradict each other; give one of them")
    return given[0] if given else None


def _priors(files: Sequence[Path], told: Prior, leave_out: LeaveOut | None) -> list[Prior]:
    if leave_out is None:
        given = {
            "--prior-records": told.records is not None,
            "--prior-spaces": told.spaces is not None,
            "--prior-shuffled": told.shuffled,
        }
        for option, wanted in given.items():
            if wanted and not told.paths:
                raise TunerError(f"{option} says what of a prior is told; give --prior FILE, or leave one out")
        return [told] * len(files)
    if told.paths:
        raise TunerError(f"--prior and {_OPTIONS[leave_out]} both choose the prior; give one of them")
    spaces = [read_cache_file(path) for path in files]
    priors = priors_of(files, spaces, leave_out, told)
    require_priors(spaces, priors, leave_out)
    return priors


def _figures(scores: Sequence[Score], rules: Rules, told: Prior) -> dict[str, Any]:
    groups = by_agent(scores)
    reference = next(iter(groups.values()))
    return {
        "rules": {
            **asdict(rules),
            "prior_records": told.records,
            "prior_spaces": told.spaces,
            "prior_shuffled": told.shuffled,
        },
        "agents": [
            {"agent": agent, **_agent_figures(own, rules)}
            | ({} if own is reference else {"over_the_first": _plain(differences(own, reference))})
            for agent, own in groups.items()
        ],
    }


def _agent_figures(scores: Sequence[Score], rules: Rules) -> dict[str, Any]:
    time = proposal_time(scores, rules.trials)
    return {
        "mean": _plain(estimates(scores)),
        "kernels": {kernel: _plain(estimates(own)) for kernel, own in by_kernel(scores).items()},
        "spaces": [score.to_json() for score in scores],
        "proposal": time.to_json() if time else None,
    }


def _plain(found: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    return {name: estimate.to_json() for name, estimate in found.items()}
