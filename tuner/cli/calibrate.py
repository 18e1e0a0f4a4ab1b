"""`tuner calibrate`: what difference this machine can resolve, in how many seconds."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tuner.calibration import Calibration, calibrate
from tuner.cli.options import AsJson, DeviceKind, Words, WorkloadName, task_from
from tuner.cli.output import Output, seconds_text, workload_text
from tuner.cli.session import runner_of
from tuner.errors import TunerError

__all__ = ["register"]

_KERNEL, _WORKLOAD = "layernorm", "gpt2-prefill"
_DIFFERENCES = (0.01, 0.03)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="calibrate")(run)


def run(
    kernel: Annotated[str, typer.Argument(help="What to measure with; best the kernel that is tuned.")] = _KERNEL,
    workload: Words = None,
    workload_name: WorkloadName = None,
    device: DeviceKind = "cpu",
    seconds: Annotated[float, typer.Option(help="For how long.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Seed of the inputs.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare a kernel's default config with itself, and say what difference can be resolved in which time."""
    if not seconds > 0:
        raise TunerError(f"--seconds {seconds:g} is not positive")
    if kernel == _KERNEL and not workload:
        workload_name = workload_name or _WORKLOAD
    output = Output(as_json=as_json)
    task = task_from(kernel, workload, workload_name, device)
    columns = (TextColumn("comparing with itself"), BarColumn(), TimeRemainingColumn())
    with runner_of("local", None) as running, Progress(*columns, console=output.console, transient=True) as progress:
        bar = progress.add_task("", total=1.0)
        found = calibrate(
            running, task, seconds=seconds, seed=seed, watch=lambda done: progress.update(bar, completed=done)
        )
    _show(output, found)
    output.emit(found.to_json())


def _show(output: Output, found: Calibration) -> None:
    output.say(f"{found.task.tunable} {workload_text(found.task.workload)}, its default compared with itself")
    output.table(
        ["pairs", "time", "error", "resolves"],
        [
            [str(one.pairs), seconds_text(one.seconds), f"{one.error:.2%}", _percent(one.resolves)]
            for one in found.resolutions
        ],
    )
    for difference in _DIFFERENCES:
        seconds = found.seconds_for(difference)
        last = found.resolutions[-1].pairs
        how = f"in {seconds_text(seconds)} of timing" if seconds else f"not in {last} pairs"
        output.say(f"a difference of {difference:.0%} is resolved {how}")
    output.say(f"{found.false_differences} of {found.runs} comparisons claimed a difference where there is none")
    clock = found.conditions.get("clock_reason")
    output.say(f"load {found.conditions.get('load', 0.0):.2f}" + (f"; clock: {clock}" if clock else ""))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
