"""`tuner replay`: how good an agent is, on recorded spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tuner.cli.options import AsJson
from tuner.cli.output import Output, seconds_text
from tuner.errors import TunerError
from tuner.replay import judge, mean_of

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(replay)


def replay(
    files: Annotated[list[Path], typer.Argument(help="Kernel Tuner cache files, .json or .json.gz.")],
    agent: Annotated[str, typer.Option(help="Who proposes configs; see `tuner agents`.")] = "optuna",
    trials: Annotated[int, typer.Option(help="Evaluations of each run.")] = 200,
    seeds: Annotated[int, typer.Option(help="Runs on each space.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Run an agent on recorded spaces and print how close to the optimum it comes, and how soon."""
    for name, value in (("trials", trials), ("seeds", seeds)):
        if value < 1:
            raise TunerError(f"--{name} {value} is not positive")
    output = Output(as_json=as_json)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"{agent} on {len(files)} spaces", total=len(files) * seeds)
        scores = judge(
            files, agent, trials=trials, seeds=seeds, watch=lambda done, _: progress.update(bar, completed=done)
        )
    mean = mean_of(scores)
    checkpoints = list(mean["fraction_of_optimum"])
    rows = [
        [score.space, str(score.size), seconds_text(score.optimum_seconds), *_figures(score.to_json())]
        for score in scores
    ]
    rows.append(["mean", "", "", *_figures(mean)])
    header = ["space", "configs", "optimum", *(f"f{count}" for count in checkpoints), "to 5 %", "hit rate"]
    output.table(header, rows, title=f"{agent}: {seeds} seeds, {trials} trials")
    output.emit({"spaces": [score.to_json() for score in scores], "mean": mean})


def _figures(score: dict[str, Any]) -> list[str]:
    fractions = [f"{fraction:.3f}" for fraction in score["fraction_of_optimum"].values()]
    return [*fractions, f"{score['evaluations_to_5_percent']:.0f}", f"{score['hit_rate']:.2f}"]
