"""`tuner tune --compile-only`: the compile farm alone, for a GPU that need not be here."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

import typer

from tuner.cli.output import Output, workload_text
from tuner.cli.session import INTERRUPTED, build_runner_of
from tuner.devices import available_cores
from tuner.errors import TunerError
from tuner.farm import build_all, chosen_configs
from tuner.gpus import target_of
from tuner.types import Task

__all__ = ["compile_task"]

_EVERY = 50


def compile_task(
    output: Output, task: Task, *, trials: int, seed: int, builders: int | None, runner: str, address: str | None
) -> None:
    """Build and prune `trials` configs of `task`, and tell how that went.

    Raises:
        TunerError: nothing at all could be built; the message is the first reason.
    """
    configs = chosen_configs(task, trials, seed)
    stop = threading.Event()

    def interrupt(_: int, __: FrameType | None) -> None:
        print("finishing what is being built", file=sys.stderr)
        stop.set()

    def watch(done: int) -> None:
        if done % _EVERY == 0:
            print(f"{done}/{len(configs)} built", file=sys.stderr)

    with build_runner_of(runner, address, builders or len(available_cores())) as farm:
        previous = signal.signal(signal.SIGINT, interrupt)
        try:
            found = build_all(farm, task, configs, watch, stop)
        finally:
            signal.signal(signal.SIGINT, previous)
    data = found.to_json()
    where = target_of(task.device) if task.device.kind != "cpu" else task.device.arch
    output.say(f"{task.tunable} {workload_text(task.workload)} for {where} ({task.device.name})")
    output.say(
        f"  built {len(found.built)}, pruned {len(found.pruned)}, failed {len(found.failed)} of {len(configs)} "
        f"in {found.seconds:.1f} s, {found.builds_per_second:.2f} a second"
    )
    rows = [[f"  {kind}", str(count), reason] for kind in ("pruned", "failed") for reason, count in data[kind].items()]
    if rows:
        output.table(["  what", "times", "why"], rows)
    output.emit({"task": task.key, "target": where, **data})
    if stop.is_set():
        raise typer.Exit(INTERRUPTED)
    if not found.built and not found.pruned:
        raise TunerError(f"none of {len(configs)} configs could be built: {next(iter(found.failed.values()), 'none')}")
