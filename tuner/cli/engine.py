"""`tuner engine`: what an inference engine can be set to, and the command that serves with what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tuner.cli.options import AsJson, DeviceKind, StoreUrl, Words, task_from
from tuner.cli.output import Output
from tuner.cli.session import store_of
from tuner.engines.base import EngineTunable
from tuner.engines.server import ServerTunable
from tuner.errors import TunableError, WorkloadError
from tuner.lookup.ask import best as best_of
from tuner.tunable import ENGINE, load
from tuner.types import Config, Scalar, Task

__all__ = ["register"]

EngineName = Annotated[str, typer.Argument(help="vllm, openai, or another installed engine.")]
Best = Annotated[bool, typer.Option("--best/--default", help="The config that was proven, or the engine's default.")]
Values = Annotated[list[str] | None, typer.Option("-c", "--config", help="Replace a value, NAME=VALUE; repeatable.")]
AsYaml = Annotated[bool, typer.Option("--yaml", help="Print the file for the engine's own --config instead.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    engine = typer.Typer(name="engine", help="Inference engines.", no_args_is_help=True)
    engine.command("options")(options)
    engine.command("serve-command")(serve_command)
    app.add_typer(engine)


def options(engine: EngineName, workload: Words = None, device: DeviceKind = "cpu", as_json: AsJson = False) -> None:
    """List what can be tuned of an engine for a workload here, how it is applied, and what was left out, and why."""
    output = Output(as_json=as_json)
    task, tunable = _task(engine, workload, device)
    parameters = tunable.parameters(task.workload, task.device)
    dropped = tunable.left_out(task.workload, task.device)
    rows = [
        [one.name, one.target, one.route.value, str(one.parameter.default), ", ".join(map(str, one.parameter.values))]
        for one in parameters
    ]
    output.table(["parameter", "applied as", "route", "default", "values"], rows)
    for line in dropped:
        output.say(f"left out: {line}")
    output.emit(
        {
            "parameters": [
                {
                    "name": one.name,
                    "target": one.target,
                    "route": one.route.value,
                    "restarts": one.restarts,
                    "default": one.parameter.default,
                    "values": list(one.parameter.values),
                }
                for one in parameters
            ],
            "dropped": list(dropped),
        }
    )


def serve_command(
    engine: EngineName,
    workload: Words = None,
    best: Best = True,
    config: Values = None,
    as_yaml: AsYaml = False,
    device: DeviceKind = "cpu",
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Print the exact command that serves with the proven config for a workload, or its YAML file."""
    output = Output(as_json=as_json)
    task, tunable = _task(engine, workload, device)
    if not isinstance(tunable, ServerTunable):
        raise TunableError(f"engine:{engine} is no server; it is embedded as it is tuned, see `tuner best`")
    chosen, source = tunable.default(task.workload, task.device), "default"
    if best:
        with store_of(store) as opened:
            choice = best_of(opened, task)
        chosen, source = choice.config, str(choice.source)
    chosen = _replaced(chosen, config or [], tunable, task)
    command, file = tunable.serve_command(chosen, task.workload), tunable.serve_yaml(chosen, task.workload)
    if as_yaml and not file:
        raise TunableError(f"engine:{engine} reads no file")
    output.say(f"# {source}")
    output.say(file.rstrip() if as_yaml else command)
    output.emit({"command": command, "yaml": file, "config": dict(chosen), "source": source})


def _task(engine: str, workload: Sequence[str] | None, device: str) -> tuple[Task, EngineTunable]:
    task = task_from(f"{ENGINE}:{engine}", workload, None, device)
    tunable = load(task.tunable)
    if not isinstance(tunable, EngineTunable):
        raise TunableError(f"{task.tunable} is not an engine")
    return task, tunable


def _replaced(config: Config, words: Sequence[str], tunable: EngineTunable, task: Task) -> Config:
    """Return `config` with the values of `words`, which have to be among those of their parameters."""
    space = tunable.search_space(task.workload, task.device)
    values: dict[str, Scalar] = dict(config)
    for word in words:
        name, equals, text = word.partition("=")
        parameter = next((one for one in space.parameters if one.name == name), None)
        if not equals or parameter is None:
            raise WorkloadError(f"-c {word!r} is not NAME=VALUE with one of: {', '.join(space.names)}")
        by_text = {str(value).lower(): value for value in parameter.values}
        if text.lower() not in by_text:
            raise WorkloadError(f"-c {word!r}: {parameter.refusal(text)}")
        values[name] = by_text[text.lower()]
    if reason := space.violated(Config(values)):
        raise WorkloadError(reason)
    return Config(values)
