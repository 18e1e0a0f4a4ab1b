"""`tuner train`: train a policy on recorded spaces, or on kernels as they run here."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tuner.agents.policy_file import load_policy, save_policy
from tuner.agents.slate import ADVISED, INFORMED, SlateShape
from tuner.campaign import task_of
from tuner.cli.options import AsJson, DeviceKind, RayAddress, RunnerName
from tuner.cli.output import Output
from tuner.cli.session import INTERRUPTED, runner_of
from tuner.cli.spec import read_spec
from tuner.devices import detect
from tuner.errors import TunerError
from tuner.train import Algorithm, Training, TrainingProgress, recorded_files, train_policy
from tuner.tunable import load, resolve
from tuner.types import Task

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    out: Annotated[Path, typer.Option(help="The policy's file; use it with --agent policy:FILE.")],
    algorithm: Annotated[Algorithm, typer.Option(help="How the policy learns.")] = Algorithm.PPO,
    recorded: Annotated[
        list[Path] | None, typer.Option(help="A recorded space, or a folder of them; repeatable.")
    ] = None,
    random: Annotated[int, typer.Option(help="Random spaces that join the recorded ones.")] = 0,
    tasks: Annotated[
        list[str] | None,
        typer.Option(help="A campaign's file, KERNEL@WORKLOAD_NAME, or KERNEL for all its workloads; repeatable."),
    ] = None,
    advised: Annotated[
        bool, typer.Option("--advised", help="Choose from what a Gaussian process and trees advise.")
    ] = False,
    informed: Annotated[
        bool,
        typer.Option("--informed", help="Also from what other tasks say; the policy learns when to stop, too."),
    ] = False,
    steps: Annotated[int, typer.Option(help="Steps of the environment; each is a trial.")] = 200_000,
    budget: Annotated[int, typer.Option(help="Most trials of an episode; they begin with a quarter of it.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the environment, the network and the choices.")] = 0,
    start: Annotated[Path | None, typer.Option(help="A policy to go on from, to fine-tune it.")] = None,
    logs: Annotated[Path | None, typer.Option(help="A folder for TensorBoard.")] = None,
    device: DeviceKind = "cpu",
    runner: RunnerName = "local",
    ray: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Train a policy; Ctrl-C ends early and keeps what was learned."""
    output = Output(as_json=as_json)
    policy = load_policy(start) if start else None
    training = Training(
        algorithm=algorithm,
        recorded=recorded_files(recorded or []),
        random=random,
        tasks=tuple(task for word in tasks or [] for task in _tasks(word, device)),
        steps=steps,
        seed=seed,
        budget=_budgets(budget),
        shape=policy.shape if policy else INFORMED if informed else ADVISED if advised else SlateShape(),
        start=policy,
        logs=logs,
    )
    if not out.parent.is_dir():
        raise TunerError(f"there is no folder {out.parent} for the policy; make it first")
    with ExitStack() as stack:
        running = stack.enter_context(runner_of(runner, ray)) if training.tasks else None
        stopping = stack.enter_context(_stopped_by_interrupt())
        watch = stack.enter_context(_bar(algorithm, steps))
        trained = train_policy(training, running, watch=watch, stopping=stopping.is_set)
        save_policy(trained, out)
    done = int(trained.training["steps"])
    output.say(f"{out}: {algorithm} after {done} steps, policy {trained.fingerprint}")
    output.say(f"  use it: tuner tune KERNEL --agent policy:{out}")
    output.emit({"policy": str(out), "fingerprint": trained.fingerprint, **trained.to_json()["training"]})
    if stopping.is_set():
        raise typer.Exit(INTERRUPTED)


def _budgets(most: int) -> tuple[int, int]:
    if most < 8:
        raise TunerError(f"--budget {most} leaves a policy nothing to choose; give 8 trials or more")
    return max(8, most // 4), most


def _tasks(word: str, device_name: str) -> Sequence[Task]:
    """Return the tasks that a word names."""
    if Path(word).suffix in (".yaml", ".yml"):
        return read_spec(Path(word)).tasks
    kernel, at, name = word.partition("@")
    device = detect(device_name)
    workloads = [name] if at else list(load(resolve(kernel, device.kind)).workloads)
    if not workloads:
        raise TunerError(f"{kernel} has no named workloads; list them in a campaign's file")
    return [task_of(kernel, workload, device) for workload in workloads]


@contextmanager
def _stopped_by_interrupt() -> Iterator[threading.Event]:
    """Let the first Ctrl-C end the training with what was learned; the second one ends at once."""
    stopping = threading.Event()

    def interrupt(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stopping.set()

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, previous)


class _Bar:
    """Shows how far a training is, on standard error."""

    def __init__(self, progress: Progress, algorithm: Algorithm, steps: int) -> None:
        self._progress = progress
        self._task = progress.add_task(algorithm.value, total=steps, figures="")

    def __call__(self, now: TrainingProgress) -> None:
        figures = "" if math.isnan(now.reward) else f"reward {now.reward:.3f}"
        if not math.isnan(now.optimum_share):
            figures += f", {now.optimum_share:.1%} of the optimum"
        self._progress.update(self._task, completed=now.steps, figures=figures)


@contextmanager
def _bar(algorithm: Algorithm, steps: int) -> Iterator[_Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bar(progress, algorithm, steps)
