"""Any server that speaks OpenAI's completions as a tunable: `engine:openai`. A file says how it is started and set."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tuner.engines.base import EngineParameter, Route
from tuner.engines.client import Prompts
from tuner.engines.option import Option, ServerOptions, command_line
from tuner.engines.process import PORT, ServerCommand
from tuner.engines.served import served_workload
from tuner.engines.server import Launch, ServerTunable
from tuner.engines.source import file_digest, source_version
from tuner.errors import SpaceError, WorkloadError
from tuner.search_spaces import Constraint, Parameter
from tuner.types import Config, Device, Scalar, Workload

__all__ = ["OPENAI", "OpenAi", "ServerFile", "read_server"]

_FIELDS: Mapping[str, Scalar] = {"server": "", "server_digest": ""}
_PYTHON = "{python}"


@dataclass(frozen=True)
class ServerFile:
    """A server, as a file describes it.

    Attributes:
        command: Its command line; `{port}` stands for the port, and `{python}` for the interpreter that runs tuner.
        model: The model's name in requests.
        parameters: What can be set, and how.
        constraints: What has to hold between parameters.
        environment: Variables for all configs.
        health: The path that answers 200 once it serves.
        vocabulary: Prompts are of so many different tokens; of words where it is 0.
        extra: What else requests say.
        deadline_seconds: How long a start may take.
        memory_bytes: What one server needs of the machine's memory; 0 if that is not known.
    """

    command: tuple[str, ...]
    model: str
    parameters: tuple[Option, ...]
    constraints: tuple[Constraint, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    health: str = "/health"
    vocabulary: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    deadline_seconds: float = 300.0
    memory_bytes: int = 0


def read_server(path: Path) -> ServerFile:
    """Return the server that a YAML or JSON file describes.

    Its keys are the attributes of `ServerFile`. A parameter has `name`, `values`, and either `flag` or `variable`; at
    will a `default` (else the first value), and `silent`, values for which nothing is said. Constraints are
    expressions.

    Raises:
        WorkloadError: the file cannot be read, or has a mistake; the message says which.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise WorkloadError(f"cannot read the server {path}: {error}") from error
    if not isinstance(data, dict):
        raise WorkloadError(f"{path} describes no server: it needs command, model and parameters")
    known = set(ServerFile.__dataclass_fields__)
    if unknown := sorted(set(data) - known):
        raise WorkloadError(f"{path} has {unknown[0]!r}, which no server has; it may have: {', '.join(sorted(known))}")
    if missing := [name for name in ("command", "model", "parameters") if not data.get(name)]:
        raise WorkloadError(f"{path} lacks {', '.join(missing)}")
    words = data["command"]
    words = shlex.split(words) if isinstance(words, str) else [str(word) for word in words]
    if not any(PORT in word for word in words):
        raise WorkloadError(f"the command of {path} has no {PORT} in it; tuner chooses the port")
    try:
        data |= {
            "command": tuple(words),
            "parameters": tuple(_option(one) for one in data["parameters"]),
            "constraints": tuple(Constraint.parse(str(text)) for text in data.get("constraints", ())),
            "environment": {str(name): str(value) for name, value in data.get("environment", {}).items()},
        }
        return ServerFile(**data)
    except (SpaceError, KeyError, TypeError, AttributeError) as error:
        raise WorkloadError(f"{path}: {error}") from error


def _option(data: Mapping[str, Any]) -> Option:
    parameter = Parameter(data["name"], data["values"], data.get("default"))
    silent = tuple(data.get("silent", ()))
    if ("flag" in data) == ("variable" in data):
        raise WorkloadError(f"parameter {parameter.name} needs a flag or a variable, and not both")
    if "flag" in data:
        is_switch = all(isinstance(value, bool) for value in parameter.values)
        return Option(parameter, Route.FLAG, data["flag"], silent=silent, is_switch=is_switch)
    return Option(parameter, Route.VARIABLE, data["variable"], silent=silent)


class OpenAi(ServerTunable):
    """A server of any kind, described by a file.

    Example:
        >>> OPENAI.workload({"concurrency": 4})
        Traceback (most recent call last):
            ...
        tuner.errors.WorkloadError: engine:openai needs a server: -w server=FILE, which says how it is started
    """

    name = "openai"

    @property
    def version(self) -> str:
        """Hash of our modules that start servers and measure them."""
        return source_version("client", "openai", "option", "process", "sample", "server", "traffic")

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the checked workload: `server`, fields of traffic or the name of its file."""
        given = dict(fields)
        server = given.get("server")
        if not isinstance(server, str) or not server:
            raise WorkloadError("engine:openai needs a server: -w server=FILE, which says how it is started")
        path = Path(server).resolve()
        read_server(path)
        found = file_digest(path)
        if given.get("server_digest", found) != found:
            raise WorkloadError(f"{path} has changed since: its digest is {found}, not {given['server_digest']}")
        return served_workload({**given, "server": str(path), "server_digest": found}, _FIELDS, "engine:openai")

    def environment(self) -> Mapping[str, str]:
        """Return nothing: the server's version is the business of its file."""
        return {}

    def parameters(self, workload: Workload, device: Device) -> Sequence[EngineParameter]:
        """Return what the file says."""
        return _server(workload).parameters

    def constraints(self, workload: Workload, device: Device) -> Iterable[Constraint]:
        """Return what the file says."""
        return _server(workload).constraints

    def launch(self, config: Config, workload: Workload) -> Launch:
        """Return what is started for `config`."""
        server = _server(workload)
        options = ServerOptions(server.parameters)
        words = [word.replace(_PYTHON, sys.executable) for word in server.command]
        command = ServerCommand(
            (*words, *options.words(config)),
            {**server.environment, **options.environment(config)},
            server.health,
        )
        return Launch(
            command,
            server.model,
            Prompts(server.vocabulary),
            dict(server.extra),
            server.deadline_seconds,
            server.memory_bytes,
        )

    def serve_command(self, config: Config, workload: Workload) -> str:
        """Return the command line with which people serve `config`; `{port}` is theirs to fill in."""
        command = self.launch(config, workload).command
        return command_line(command.words, command.environment)


def _server(workload: Workload) -> ServerFile:
    """Return the server of a checked workload, if its file is what it was."""
    path = Path(workload.text("server"))
    if file_digest(path) != workload["server_digest"]:
        raise WorkloadError(f"{path} has changed since the campaign started; start it again")
    return read_server(path)


OPENAI = OpenAi()
"""The tunable of `engine:openai`."""
