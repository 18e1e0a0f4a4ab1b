"""`tuner replay`: how good agents are, on recorded spaces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tuner.cli.options import AsJson
from tuner.cli.output import Output, seconds_text
from tuner.db.kernel_tuner import read_cache_file
from tuner.errors import TunerError
from tuner.replay import LeaveOut, Prior, Rules, Score, judge, mean_of, priors_of

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(replay)


def replay(
    files: Annotated[list[Path], typer.Argument(help="Kernel Tuner cache files, .json or .json.gz.")],
    agent: Annotated[str, typer.Option(help="Who proposes configs, or several, NAME,NAME; see `tuner agents`.")] = (
        "optuna"
    ),
    trials: Annotated[int, typer.Option(help="Evaluations of each run.")] = 200,
    seeds: Annotated[int, typer.Option(help="Runs on each space.")] = 20,
    batch: Annotated[int, typer.Option(help="Configs that are proposed before any of them is told.")] = 1,
    prior: Annotated[
        list[Path] | None, typer.Option(help="A file whose records every run is told before; repeatable.")
    ] = None,
    leave_one_device_out: Annotated[
        bool, typer.Option(help="Tell each run what the other given files know of its kernel on other devices.")
    ] = False,
    leave_one_kernel_out: Annotated[
        bool, typer.Option(help="Tell each run what the other given files know of other kernels.")
    ] = False,
    prior_records: Annotated[
        int | None, typer.Option(help="How many random records of each such file a run is told; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run agents on recorded spaces and print how close to the optimum they come, and how soon."""
    for option, value in (("trials", trials), ("seeds", seeds), ("batch", batch), ("prior-records", prior_records)):
        if value is not None and value < 1:
            raise TunerError(f"--{option} {value} is not positive")
    agents = list(dict.fromkeys(agent.split(",")))
    priors = _priors(files, prior or [], _left_out(leave_one_device_out, leave_one_kernel_out), prior_records)
    rules = Rules(trials, seeds, batch)
    output = Output(as_json=as_json)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"{agent} on {len(files)} spaces", total=None)

        def watch(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        scores = judge(files, agents, rules, priors=priors, watch=watch)
    by_agent = [(name, list(own)) for name, own in groupby(scores, key=lambda score: score.agent)]
    for name, own in by_agent:
        _print(output, name, own, rules)
    output.emit(
        {
            "agents": [
                {"agent": name, "mean": mean_of(own), "spaces": [score.to_json() for score in own]}
                for name, own in by_agent
            ]
        }
    )


def _left_out(device: bool, kernel: bool) -> LeaveOut | None:
    if device and kernel:
        raise TunerError("--leave-one-device-out and --leave-one-kernel-out contradict each other; give one of them")
    return LeaveOut.DEVICE if device else LeaveOut.KERNEL if kernel else None


def _priors(
    files: Sequence[Path], given: Sequence[Path], leave_out: LeaveOut | None, records: int | None
) -> list[Prior]:
    if leave_out is None:
        if records is not None and not given:
            raise TunerError(
                "--prior-records says how much of a prior is told; give --prior FILE, or leave something out"
            )
        return [Prior(tuple(given), records)] * len(files)
    if given:
        raise TunerError(f"--prior and --leave-one-{leave_out}-out both choose the prior; give one of them")
    return priors_of(files, [read_cache_file(path) for path in files], leave_out, records)


def _print(output: Output, agent: str, scores: Sequence[Score], rules: Rules) -> None:
    mean = mean_of(scores)
    rows = [
        [
            score.space,
            str(score.size),
            seconds_text(score.optimum_seconds),
            *_figures(score.to_json()),
            ", ".join(score.prior) or "-",
        ]
        for score in scores
    ]
    rows.append(["mean", "", "", *_figures(mean), ""])
    checkpoints = [f"f{count}" for count in mean["fraction_of_optimum"]]
    header = ["space", "configs", "optimum", *checkpoints, "to 5 %", "hit rate", "prior"]
    batches = f", batches of {rules.batch}" if rules.batch > 1 else ""
    output.table(header, rows, title=f"{agent}: {rules.seeds} seeds, {rules.trials} trials{batches}")


def _figures(score: dict[str, Any]) -> list[str]:
    fractions = [f"{fraction:.3f}" for fraction in score["fraction_of_optimum"].values()]
    return [*fractions, f"{score['evaluations_to_5_percent']:.0f}", f"{score['hit_rate']:.2f}"]
