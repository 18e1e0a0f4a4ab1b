"""Options that several commands share, and how words become values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from tuner.campaign import task_of
from tuner.devices import detect
from tuner.errors import WorkloadError
from tuner.gpus import target_device
from tuner.text import scalar_of
from tuner.tunable import ENGINE, load, resolve
from tuner.types import Scalar, Task

__all__ = [
    "AgentName",
    "AsJson",
    "Builders",
    "CompileOnly",
    "DeviceKind",
    "Gpus",
    "Kernel",
    "Limits",
    "Model",
    "Objectives",
    "Patience",
    "Pick",
    "Price",
    "RayAddress",
    "RunnerName",
    "Seconds",
    "Seed",
    "StoreUrl",
    "Target",
    "TrafficFile",
    "Trials",
    "Words",
    "WorkloadName",
    "fields_from",
    "task_from",
]

Kernel = Annotated[
    str, typer.Argument(help="add_rmsnorm, cpp:add_rmsnorm, engine:torch, or your own path/to/file.py:attribute.")
]
Model = Annotated[
    str | None, typer.Option(help="Of an engine: the model's name or folder, or path.py:factory; the field `model`.")
]
TrafficFile = Annotated[
    Path | None, typer.Option("--traffic", help="Of an engine: the file of its traffic; the field `traffic`.")
]
Objectives = Annotated[
    list[str] | None,
    typer.Option(
        "--objective",
        help="'minimize seconds', 'maximize goodput where ttft_p99<0.5'; several make a front, see docs/objectives.md.",
    ),
]
Pick = Annotated[
    str | None, typer.Option(help="Which config of a front to prove: knee, or an objective such as 'minimize cost'.")
]
Price = Annotated[
    float | None,
    typer.Option("--price-per-hour", help="Of one device, in any currency: gives cost_per_million_tokens."),
]
Limits = Annotated[
    list[str] | None,
    typer.Option("--limit", help="'rel_error<1e-2', 'code_bytes<100000', 'seconds_p99<10ms'; repeatable."),
]
AgentName = Annotated[
    str, typer.Option("--agent", help="Who proposes configs: of `tuner agents`, or your own, path/to/file.py:CLASS.")
]
Trials = Annotated[int, typer.Option("--trials", help="Configs to measure for a task, failures included.")]
Seconds = Annotated[float | None, typer.Option("--seconds", help="Longest time of a search; finals come on top.")]
Patience = Annotated[
    float,
    typer.Option(
        "--patience", help="Stop when ten more trials are expected to save less than this share; 0 never does."
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the agent and of all inputs.")]
Words = Annotated[list[str] | None, typer.Option("-w", "--workload", help="A workload field, NAME=VALUE; repeatable.")]
WorkloadName = Annotated[str | None, typer.Option(help="A named workload; fields given with -w replace its own.")]
DeviceKind = Annotated[str, typer.Option("--device", help="What to tune for: cpu for one core, cpu:N for N, cuda.")]
Target = Annotated[str | None, typer.Option("--target", help="A GPU that need not be here: cuda:90, h200, hip:gfx942.")]
CompileOnly = Annotated[bool, typer.Option("--compile-only", help="Build and prune configs, measure none.")]
Builders = Annotated[
    int | None, typer.Option("--builders", min=1, help="Builds at once with --compile-only; by default one a core.")
]
Gpus = Annotated[int, typer.Option("--gpus", min=1, help="With --device cuda: how many GPUs of one model measure.")]
RunnerName = Annotated[str, typer.Option("--runner", help="Where trials run: local or ray.")]
RayAddress = Annotated[
    str | None, typer.Option("--ray", help="Address of a Ray cluster to join; implies --runner ray.")
]
StoreUrl = Annotated[
    str | None, typer.Option("--store", help="URL or file of the store; else TUNER_STORE, else the user's own.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]


def task_from(
    kernel: str,
    words: Sequence[str] | None,
    name: str | None,
    device_name: str,
    *,
    needs_tools: bool = True,
    target: str | None = None,
    model: str | None = None,
    traffic: Path | None = None,
    more: Mapping[str, Scalar] | None = None,
) -> Task:
    """Return the task that a command line asks for.

    Args:
        kernel: What is tuned.
        words: Fields of its workload, NAME=VALUE.
        name: A named workload.
        device_name: What it is tuned for.
        needs_tools: Whether a missing tool is an error.
        target: A GPU that need not be here, instead of the device.
        model: The field `model` of an engine.
        traffic: Its field `traffic`.
        more: Fields that hold unless they are given.

    Raises:
        WorkloadError: no workload is given, or a word is not NAME=VALUE.
        TunableError: the kernel or the named workload is unknown.
    """
    device = target_device(target) if target else detect(device_name)
    fields = _with_fields(kernel, fields_from(words or []), model, traffic, more)
    if name is None and not fields and kernel.startswith(f"{ENGINE}:"):
        # An engine that comes with models has one that is tuned unless another is asked for.
        name = next(iter(load(resolve(kernel, device.kind)).workloads), None)
    if name is None and fields:
        return task_of(kernel, fields, device, needs_tools=needs_tools)
    tunable = load(resolve(kernel, device.kind))
    named = ", ".join(tunable.workloads) or "none"
    if name is None:
        raise WorkloadError(
            f"{tunable.name} needs a workload: its fields with -w NAME=VALUE, or --workload-name with one of: {named}"
        )
    if name not in tunable.workloads:
        raise WorkloadError(f"{tunable.name} has no workload named {name!r}; it has: {named}")
    return task_of(kernel, {**tunable.workloads[name], **fields}, device, needs_tools=needs_tools)


def _with_fields(
    kernel: str,
    fields: Mapping[str, Scalar],
    model: str | None,
    traffic: Path | None,
    more: Mapping[str, Scalar] | None,
) -> Mapping[str, Scalar]:
    """Return the fields with those that have options of their own.

    Raises:
        WorkloadError: one is given twice, or for a kernel.
    """
    options = {"model": model, "traffic": str(traffic) if traffic else None}
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if not kernel.startswith(f"{ENGINE}:"):
            raise WorkloadError(f"--{name} is for engines, and {kernel!r} is none; give fields with -w NAME=VALUE")
        if name in fields:
            raise WorkloadError(f"{name} is given twice: with --{name} and with -w")
    together = {**fields, **given}
    if "traffic" in together:
        # What makes a request good stands in the file.
        return together
    return {**(more or {}), **together}


def fields_from(words: Sequence[str]) -> Mapping[str, Scalar]:
    """Return the workload's fields that NAME=VALUE words give.

    Raises:
        WorkloadError: a word is something else, or a name is given twice.
    """
    fields: dict[str, Scalar] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name or not text:
            raise WorkloadError(f"-w {word!r} is not NAME=VALUE")
        if name in fields:
            raise WorkloadError(f"-w {name} is given twice")
        fields[name] = scalar_of(text)
    return fields
