"""Lists of `triton.Config`, as configs of ours and back, and as Python files that hold such a list.

What a `triton.Config` is among configs of ours, `tuner.triton_config` says. Only writing objects imports Triton; files
are parsed and never run.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.db.exchange.document import Document, read_document, write_documents
from tuner.db.exchange.finding import Content, Reading, Request, Selection, Writing
from tuner.db.exchange.values import literal
from tuner.errors import ExchangeError, MissingDependencyError, SpaceError, TunerError
from tuner.search_spaces import Parameter, SearchSpace
from tuner.triton_config import OPTIONS, config_from
from tuner.triton_config import config_of as config_of_triton
from tuner.types import Config, Scalar

__all__ = ["TritonConfigFiles", "arguments_of", "config_of", "space_of", "triton_configs"]

_HOOK = "pre_hook"
# The order of its arguments, in Triton 3.9.
_ARGUMENTS = ("kwargs", "num_warps", "num_stages", "num_ctas", "maxnreg", _HOOK, "ir_override")


def config_of(theirs: Any) -> Config:
    """Return the config of ours that a `triton.Config`, or anything with its attributes, is.

    Raises:
        ExchangeError: it has a hook, which is code, or a value that is no scalar.
    """
    if getattr(theirs, _HOOK, None) is not None:
        raise ExchangeError(f"{theirs} has a pre_hook, which is code; a config is data")
    try:
        return config_of_triton(theirs)
    except TunerError as error:
        raise ExchangeError(str(error)) from error


def arguments_of(config: Mapping[str, Scalar]) -> dict[str, Any]:
    """Return the arguments from which `triton.Config(**arguments)` makes the config.

    Example:
        >>> arguments_of(Config(BLOCK=64, num_warps=8))
        {'kwargs': {'BLOCK': 64}, 'num_warps': 8}
    """
    return {
        "kwargs": {name: value for name, value in config.items() if name not in OPTIONS},
        **{name: config[name] for name in OPTIONS if name in config},
    }


def triton_configs(configs: Iterable[Mapping[str, Scalar]]) -> list[Any]:
    """Return the list of `triton.Config` of our configs, for `triton.autotune`.

    Raises:
        MissingDependencyError: Triton is not installed.
    """
    try:
        triton = importlib.import_module("triton")
    except ImportError as error:
        raise MissingDependencyError("Triton is not installed; pip install 'rltuner[triton]'") from error
    return [triton.Config(**arguments_of(config)) for config in configs]


def space_of(configs: Sequence[Config]) -> SearchSpace:
    """Return the space of exactly these configs, the first of them its default.

    Raises:
        ExchangeError: there is none, or they have different parameters.
    """
    if not configs:
        raise ExchangeError("a search space needs a config; there is none")
    names = list(configs[0])
    for number, config in enumerate(configs):
        if set(config) != set(names):
            odd = min(set(config) ^ set(names))
            raise ExchangeError(
                f"config {number} and the first do not both have {odd!r}; give each the same parameters"
            )
    try:
        parameters = [
            Parameter(name, tuple(_distinct(config[name] for config in configs)), configs[0][name]) for name in names
        ]
        return SearchSpace.from_configs(parameters, configs)
    except SpaceError as error:
        raise ExchangeError(str(error)) from error


class TritonConfigFiles:
    """Reads Python files that hold `triton.Config(...)` with literal arguments, and writes such files.

    Example:
        >>> TritonConfigFiles().program
        'Triton'
    """

    program = "Triton"
    about = "a Python file with a list of triton.Config: configs to try"
    content = Content.WINNERS

    def takes(self, tunable: str) -> bool:
        """Return True: the other choices say of which kernel it is to be."""
        return True

    def read(self, path: Path, request: Request) -> Reading:
        """Return the space of the configs; a list says what to try, not what is best, so that there are no findings.

        Raises:
            ExchangeError: it cannot be read, is no Python, has no `triton.Config`, or one with arguments that are no
                literals.
        """
        document = read_document(path)
        configs = _parsed(document)
        try:
            space = space_of(configs)
        except ExchangeError as error:
            raise ExchangeError(f"{path}: {error}") from error
        return Reading(space=space, notes=("a list of configs tells none to be the best: nothing is kept",))

    def write(self, path: Path, selection: Selection) -> Writing:
        """Write the winners' configs, each once, as the list `CONFIGS`, with what each was found for.

        Raises:
            ExchangeError: the file cannot be written.
        """
        reasons: dict[Config, list[str]] = {}
        for winner in selection.winners:
            task = winner.task
            about = f"{task.tunable} {json.dumps(dict(task.workload))} on {task.device.name}: winner {winner.id}"
            reasons.setdefault(winner.config, []).append(json.dumps(about, ensure_ascii=True)[1:-1].replace('\\"', '"'))
        lines = ['"""Configs for triton.autotune, written by tuner."""', "", "import triton", "", "CONFIGS = ["]
        for config, about_all in reasons.items():
            lines += [f"    # {about}" for about in about_all]
            lines.append(f"    {_call(config)},")
        return Writing(write_documents({path: "\n".join([*lines, "]", ""])}), len(reasons))


def _config(kwargs: Any, options: Mapping[str, Any]) -> Config:
    try:
        return config_from(kwargs, options)
    except TunerError as error:
        raise ExchangeError(str(error)) from error


def _distinct(values: Iterable[Scalar]) -> list[Scalar]:
    return list({json.dumps(value): value for value in values}.values())


def _call(config: Config) -> str:
    arguments = arguments_of(config)
    kwargs = ", ".join(f"{name!r}: {value!r}" for name, value in arguments.pop("kwargs").items())
    options = "".join(f", {name}={value!r}" for name, value in arguments.items())
    return f"triton.Config({{{kwargs}}}{options})"


def _parsed(document: Document) -> list[Config]:
    try:
        tree = ast.parse(document.text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExchangeError(f"{document.path} is no Python: {inspect.cleandoc(str(error))}") from error
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _names_config(node.func)]
    if not calls:
        raise ExchangeError(f"{document.path} has no triton.Config(...)")
    return [_of_call(document, call) for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset))]


def _names_config(function: ast.expr) -> bool:
    match function:
        case ast.Name(id="Config") | ast.Attribute(value=ast.Name(id="triton"), attr="Config"):
            return True
        case _:
            return False


def _of_call(document: Document, call: ast.Call) -> Config:
    where = f"triton.Config in line {call.lineno}"
    arguments: dict[str, Any] = {}
    try:
        if len(call.args) > len(_ARGUMENTS):
            raise ExchangeError(f"has {len(call.args)} arguments, and takes {len(_ARGUMENTS)}")
        given = [*zip(_ARGUMENTS, call.args, strict=False), *((word.arg, word.value) for word in call.keywords)]
        for name, value in given:
            if name not in _ARGUMENTS or name in arguments:
                raise ExchangeError(f"has the argument {name!r} twice, or does not know it")
            arguments[name] = literal(value)
        if arguments.pop(_HOOK, None) is not None:
            raise ExchangeError("has a pre_hook, which is code; a config is data")
        kwargs = arguments.pop("kwargs", None)
        return _config(kwargs, {name: value for name, value in arguments.items() if value is not None})
    except ExchangeError as error:
        raise document.error(where, str(error)) from error
