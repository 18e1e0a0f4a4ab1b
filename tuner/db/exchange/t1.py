"""FAIR T1: a search space, with what little of the kernel the format has words for.

The schema is version 1.0.0, as Kernel Tuner 1.5 installs it. Values stand in it as text, lists in Python's syntax;
they are parsed, never evaluated. What the format cannot tell of our kernels (how a grid follows from a config) is
written as 1, so that a file of ours describes a space, to be searched on records or by who brings the kernel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.db.exchange.document import Document, read_document, write_documents
from tuner.db.exchange.finding import Content, Reading, Request, Search, Selection, Writing
from tuner.db.exchange.values import parse_values
from tuner.errors import ExchangeError, SpaceError
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Scalar

__all__ = ["T1Files", "read_space", "write_space"]

_FORMAT_VERSION = 1
_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "uint": (int,),
    "float": (int, float),
    "bool": (bool,),
    "string": (str,),
}
# The schema knows languages of GPUs, and one word for what is only replayed.
_LANGUAGES: Mapping[str, str] = {"cuda": "CUDA"}
_REPLAYED = "Hypertuner"
_SOURCES: Mapping[str, str] = {"cuda": ".cu", "cpp": ".cpp"}


class T1Files:
    """Reads and writes T1 files.

    Example:
        >>> T1Files().about
        'a search space: parameters, their values, and conditions'
    """

    program = "FAIR T1"
    about = "a search space: parameters, their values, and conditions"
    content = Content.SPACE

    def takes(self, tunable: str) -> bool:
        """Return True: the other choices say of which kernel it is to be."""
        return True

    def read(self, path: Path, request: Request) -> Reading:
        """Return the space; a T1 file has no results, so that there are no findings.

        Raises:
            ExchangeError: it cannot be read or is not of this format.
        """
        return Reading(space=read_space(path), notes=("a T1 file has no results: nothing is kept",))

    def write(self, path: Path, selection: Selection) -> Writing:
        """Write the space of the selected search.

        Raises:
            ExchangeError: none is selected, or it has a condition that is no text.
        """
        if selection.search is None:
            raise ExchangeError("a T1 file holds one search space: say whose, with --kernel and -w")
        return Writing(write_space(path, selection.search), selection.search.space.size)


def read_space(path: Path) -> SearchSpace:
    """Return the search space of a T1 file; its default is the first valid config.

    Raises:
        ExchangeError: the file cannot be read, is not T1, or has values or a condition that are not in the grammar.
    """
    document = read_document(path)
    space = _member(document, document.json_object(), "ConfigurationSpace", dict)
    parameters = [
        _parameter(document, f"ConfigurationSpace.TuningParameters[{index}]", entry)
        for index, entry in enumerate(_member(document, space, "TuningParameters", list, "ConfigurationSpace."))
    ]
    conditions = space.get("Conditions", [])
    if not isinstance(conditions, list):
        raise document.error("field 'ConfigurationSpace.Conditions'", "is not a list")
    constraints = [
        _constraint(document, f"ConfigurationSpace.Conditions[{index}]", entry)
        for index, entry in enumerate(conditions)
    ]
    try:
        return SearchSpace.anchored(parameters, constraints)
    except SpaceError as error:
        raise ExchangeError(f"{path}: field 'ConfigurationSpace': {error}") from error


def write_space(path: Path, search: Search) -> tuple[Path, ...]:
    """Write a search's space as T1.

    Raises:
        ExchangeError: a condition is a Python function, which no text tells, or the file cannot be written.
    """
    task = search.task
    try:
        space = search.space.to_json()
    except SpaceError as error:
        raise ExchangeError(f"the space of {task.tunable} is no T1 file: {error}") from error
    if "configs" in space:
        raise ExchangeError(
            f"the space of {task.tunable} is a list of configs, which T1 has no words for; write its results with t4 "
            "or kernel-tuner"
        )
    toolchain, _, name = task.tunable.rpartition(":")
    sizes = [size for size in task.workload.values() if isinstance(size, int | float) and not isinstance(size, bool)]
    data = {
        "General": {"FormatVersion": _FORMAT_VERSION, "TimeUnit": "Milliseconds", "OutputFormat": "JSON"},
        "ConfigurationSpace": {
            "TuningParameters": [_parameter_entry(one) for one in search.space.parameters],
            "Conditions": [
                *(_activation_entry(one) for one in search.space.parameters if one.when),
                *(_condition_entry(one) for one in search.space.constraints),
            ],
        },
        "KernelSpecification": {
            "Language": _LANGUAGES.get(toolchain, _REPLAYED),
            "KernelName": task.tunable,
            "KernelFile": f"{name}{_SOURCES.get(toolchain, '.py')}",
            "Device": {"Name": task.device.name},
            "ProblemSize": sizes,
            "GlobalSize": {"X": "1"},
            "LocalSize": {"X": "1"},
            "Arguments": [],
        },
        "tuner": {"task": task.to_json()},
    }
    return write_documents({path: json.dumps(data, indent=2, allow_nan=False) + "\n"})


def _member(document: Document, data: Mapping[str, Any], name: str, kind: type, where: str = "") -> Any:
    value = data.get(name)
    if not isinstance(value, kind):
        kinds: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}
        raise document.error(f"field '{where}{name}'", f"is missing or not {kinds[kind]}")
    return value


def _parameter(document: Document, where: str, entry: Any) -> Parameter:
    if not isinstance(entry, dict):
        raise document.error(f"field {where!r}", "is not an object")
    name = _member(document, entry, "Name", str, f"{where}.")
    kind = _member(document, entry, "Type", str, f"{where}.")
    text = _member(document, entry, "Values", str, f"{where}.")
    if kind not in _TYPES:
        raise document.error(f"field '{where}.Type'", f"is {kind!r}; the types are {', '.join(_TYPES)}")
    try:
        values = parse_values(text)
        for value in values:
            if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
                raise ExchangeError(f"{value!r} is no {kind}")
        ordered = entry.get("Ordered")
        return Parameter(name, values, entry.get("Default"), ordered if isinstance(ordered, bool) else None)
    except (ExchangeError, SpaceError) as error:
        raise document.error(f"field '{where}.Values' of {name!r}:", str(error)) from error


def _constraint(document: Document, where: str, entry: Any) -> Constraint:
    if not isinstance(entry, dict):
        raise document.error(f"field {where!r}", "is not an object")
    text = _member(document, entry, "Expression", str, f"{where}.")
    try:
        return Constraint.parse(text, str(entry.get("Reason") or ""))
    except SpaceError as error:
        raise document.error(f"field '{where}.Expression':", str(error)) from error


def _type(values: tuple[Scalar, ...]) -> str:
    kinds = {type(value) for value in values}
    for name, kind in (("bool", {bool}), ("int", {int}), ("float", {float, int}), ("string", {str})):
        if kinds <= kind:
            return name
    raise ExchangeError(f"the values {list(values)!r} are of several types, and T1 has one type for a parameter")


def _parameter_entry(parameter: Parameter) -> dict[str, Any]:
    return {
        "Name": parameter.name,
        "Type": _type(parameter.values),
        "Values": repr(list(parameter.values)),
        "Default": parameter.default,
        "Ordered": parameter.ordered,
    }


def _condition_entry(constraint: Constraint) -> dict[str, Any]:
    return {"Parameters": list(constraint.parameters), "Expression": constraint.text, "Reason": constraint.reason}


def _activation_entry(parameter: Parameter) -> dict[str, Any]:
    """Return the condition that a parameter which `when` switches off is at its default then."""
    rule = parameter.activation
    assert rule is not None
    assert parameter.when is not None
    text = f"{parameter.name} == {parameter.default!r} or ({parameter.when.text})"
    return {"Parameters": list(rule.parameters), "Expression": text, "Reason": rule.reason}
