"""`tuner record`: a kernel's space, measured whole, for judging agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tuner.cli.options import AsJson, DeviceKind, Kernel, RayAddress, RunnerName, Words, WorkloadName, task_from
from tuner.cli.output import Output, config_text, seconds_text, workload_text
from tuner.cli.session import INTERRUPTED, runner_of, stoppable
from tuner.db.kernel_tuner import read_cache_file
from tuner.errors import TunerError
from tuner.record import Recording, RecordingProgress
from tuner.tunable import load
from tuner.types import Status

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(record)


def record(
    kernel: Kernel,
    out: Annotated[Path, typer.Option(help="The file, .json or .json.gz; one that is there is gone on with.")],
    workload: Words = None,
    workload_name: WorkloadName = None,
    device: DeviceKind = "cpu",
    limit: Annotated[int | None, typer.Option(help="Random configs to measure; the whole space by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of their choice, their order, and all inputs.")] = 0,
    runner: RunnerName = "local",
    ray: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Measure the configs of KERNEL for one workload into a file that agents can be judged on; Ctrl-C keeps it."""
    if limit is not None and limit < 1:
        raise TunerError(f"--limit {limit} is not positive")
    output = Output(as_json=as_json)
    task = task_from(kernel, workload, workload_name, device)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with (
        runner_of(runner, ray) as running,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        bar = progress.add_task(task.tunable)

        def watch(at: RecordingProgress) -> None:
            failed = f", {sum(at.failures.values())} failed" if at.failures else ""
            progress.update(bar, completed=at.recorded, total=at.total, description=f"{task.tunable}{failed}")

        recording = Recording(task, out, runner=running, limit=limit, seed=seed, watch=watch)
        start = recording.progress
        # What an earlier run did must not enter the estimate of the time left.
        progress.reset(bar, total=start.total, completed=start.recorded)
        with stoppable(recording.stop, f"what was measured is in {out}; go on with the same command"):
            end = recording.run()
    stopped = end.recorded < end.total
    _print(output, recording, end)
    if stopped:
        raise typer.Exit(INTERRUPTED)


def _print(output: Output, recording: Recording, end: RecordingProgress) -> None:
    task, path = recording.task, recording.path
    before = f", {end.resumed} of them before" if end.resumed else ""
    output.say(f"{task.tunable} {workload_text(task.workload)}: {end.recorded} of {end.total} configs recorded{before}")
    failures = {status.value: count for status, count in end.failures.items()}
    if failures:
        output.say(f"  failed: {', '.join(f'{count} {status}' for status, count in failures.items())}")
    correct = end.recorded - sum(failures.values())
    best = None
    default_seconds = None
    if correct:
        measurements = read_cache_file(path).measurements
        times = {c: m.samples["seconds"][0] for c, m in measurements.items() if m.status is Status.CORRECT}
        best = min(times, key=lambda config: times[config])
        default = load(task.tunable).default(task.workload, task.device)
        default_seconds = times.get(default)
        beside = f", the default {seconds_text(default_seconds)}" if default_seconds is not None else ""
        output.say(f"  fastest {seconds_text(times[best])}{beside}: {config_text(best)}")
    if end.recorded < end.total:
        output.say("  go on with the same command")
    elif correct:
        output.say(f"  judge agents on it: tuner replay {path}")
    output.emit(
        {
            "file": str(path),
            "recorded": end.recorded,
            "resumed": end.resumed,
            "total": end.total,
            "failures": failures,
            "best": {"config": dict(best), "seconds": times[best]} if best is not None else None,
            "default_seconds": default_seconds,
        }
    )
