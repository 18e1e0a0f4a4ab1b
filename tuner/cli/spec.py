"""A campaign's specification in YAML: read whole, and every mistake reported with its line.

agent: auto
prior: true
seed: 0
budget: {trials: 60, patience: 0.05}
schedule: gain
finals: {threshold: 1.0}
objective: minimize seconds
limits: [rel_error<1e-2, seconds_p99<0.01]
tasks:
- kernel: add_rmsnorm
  use: 32
  workloads: [llama3-8b-decode, {M: 64, N: 4096}, {workload: {M: 1, N: 4096}, use: 320}]
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tuner.agents import agent_class
from tuner.campaign import task_of
from tuner.cli.limit import Limits, parse_limits, split_error
from tuner.devices import detect
from tuner.errors import SpecError, TunerError, WorkloadError
from tuner.finals import Finals
from tuner.objective import Objective
from tuner.phrase import parse_objectives
from tuner.plan import Budget, Plan, agent_for
from tuner.schedule import Schedule
from tuner.tunable import ENGINE
from tuner.types import Device, Task

__all__ = ["Spec", "read_spec"]

T = TypeVar("T")

_TOP = (
    "agent",
    "prior",
    "seed",
    "device",
    "in_flight",
    "budget",
    "schedule",
    "finals",
    "objective",
    "pick",
    "price_per_hour",
    "limits",
    "tasks",
)
_TASK = ("kernel", "engine", "use", "workloads")
# Fields of an engine's workload that may name a file beside the specification.
_PATHS = ("model", "traffic")
_WEIGHTED = ("workload", "use")
_DEFAULTS = Plan()
_KINDS = {bool: "true or false", int: "a whole number", str: "text"}


@dataclass(frozen=True, slots=True)
class Spec:
    """What a campaign is asked to do."""

    tasks: tuple[Task, ...]
    plan: Plan


def read_spec(path: Path) -> Spec:
    """Return the specification in `path`.

    Raises:
        SpecError: it cannot be read, or has mistakes; each is a line `FILE:LINE: what is wrong`.
    """
    try:
        root = yaml.compose(path.read_text(), Loader=_Loader)
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not a text file: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{path}:{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not YAML: {error}") from error
    reader = _Reader(path)
    spec = reader.spec(root)
    if reader.mistakes or spec is None:
        raise SpecError("\n".join(reader.mistakes))
    return spec


class _Loader(yaml.SafeLoader):
    """Reads 1e-2 as a number, as YAML 1.2 does; for YAML 1.1 it is a word without its dot."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
)


class _Reader:
    """Walks the YAML nodes, which know their lines, and collects mistakes instead of stopping at the first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.mistakes: list[str] = []

    def spec(self, root: yaml.Node | None) -> Spec | None:
        """Return the specification; it counts only if there are no mistakes."""
        top = self._mapping(root, _TOP, "a campaign")
        if "tasks" not in top:
            self._mistake(root, "tasks are missing; list at least one {kernel: ..., workloads: [...]}")
        device = self._device(top.get("device"))
        objective, limits = self._objective(top)
        tasks, uses = self._tasks(top.get("tasks"), device, limits)
        budget = self._build(Budget, top.get("budget"))
        finals = self._build(Finals, top.get("finals"))
        self._try(top.get("finals"), finals.require_decidable)
        pick = self._scalar(top.get("pick"), str, _DEFAULTS.pick)
        if "pick" in top and not objective.beside:
            self._mistake(top["pick"], "pick chooses on a front, and there is one objective; list several")
        agent = self._scalar(top.get("agent"), str, _DEFAULTS.agent)
        seed = self._scalar(top.get("seed"), int, _DEFAULTS.seed)
        self._try(top.get("agent"), lambda: agent_class(agent))
        schedule = self._schedule(top.get("schedule"))
        in_flight = self._in_flight(top.get("in_flight"))
        prior = self._scalar(top.get("prior"), bool, _DEFAULTS.prior)
        plan = self._try(
            top.get("seed"),
            lambda: Plan(
                agent_for(agent, objective),
                budget,
                objective,
                finals,
                seed,
                in_flight,
                schedule,
                tuple(uses),
                prior,
                pick,
            ),
        )
        return Spec(tuple(tasks), plan) if plan and not self.mistakes else None

    def _try(self, node: yaml.Node | None, make: Callable[[], T]) -> T | None:
        """Return what `make` returns; a refusal is a mistake at `node`."""
        try:
            return make()
        except TunerError as error:
            self._mistake(node, str(error))
            return None

    def _device(self, node: yaml.Node | None) -> Device:
        return self._try(node, lambda: detect(self._scalar(node, str, "cpu"))) or detect("cpu")

    def _objective(self, top: Mapping[str, yaml.Node]) -> tuple[Objective, Limits]:
        """Return the objective, one or a list of them, with the limits of both places."""
        node = top.get("objective")
        entries = self._sequence(node, "objective") if isinstance(node, yaml.SequenceNode) else [node] if node else []
        words = [self._scalar(entry, str, "minimize seconds") for entry in entries]
        price: float | None = None
        if "price_per_hour" in top:
            value = self._plain(top["price_per_hour"])
            if isinstance(value, bool) or not isinstance(value, int | float):
                self._mistake(top["price_per_hour"], f"price_per_hour={value!r} is not a number")
            else:
                price = float(value)
        asked = self._try(node, lambda: parse_objectives(words, price)) or Objective()
        limits = self._limits(top.get("limits"))
        return self._try(top.get("limits"), lambda: split_error(asked, limits)) or (asked, limits)

    def _limits(self, node: yaml.Node | None) -> Limits:
        words = [self._scalar(entry, str, "") for entry in self._sequence(node, "limits")]
        return self._try(node, lambda: parse_limits(words)) or Limits()

    def _in_flight(self, node: yaml.Node | None) -> int | None:
        """Return how many trials are in flight at once; None leaves it to the runner."""
        count: int | None = self._scalar(node, int, None)
        if count is not None and count < 1:
            self._mistake(node, f"in_flight={count} is not positive")
            return None
        return count

    def _schedule(self, node: yaml.Node | None) -> Schedule:
        word = self._scalar(node, str, _DEFAULTS.schedule.value)
        if word not in list(Schedule):
            self._mistake(node, f"{word!r} is no schedule; choose one of {', '.join(Schedule)}")
            return _DEFAULTS.schedule
        return Schedule(word)

    def _tasks(self, node: yaml.Node | None, device: Device, limits: Limits) -> tuple[list[Task], list[float]]:
        """Return the tasks, and how often each is called."""
        tasks: dict[str, Task] = {}
        uses: dict[str, float] = {}
        for entry in self._sequence(node, "tasks"):
            found = self._mapping(entry, _TASK, "a task")
            missing = [name for name in ("kernel", "workloads") if name not in found]
            if "engine" in found and "kernel" not in found:
                missing.remove("kernel")
            if missing:
                self._mistake(entry, f"a task needs {' and '.join(missing)}")
                continue
            if "engine" in found and "kernel" in found:
                self._mistake(found["engine"], "a task has a kernel or an engine, not both")
                continue
            engine = self._scalar(found.get("engine"), str, "")
            kernel = f"{ENGINE}:{engine}" if engine else self._scalar(found.get("kernel"), str, "")
            use = self._use(found.get("use"), 1.0)
            for item in self._sequence(found["workloads"], "workloads"):
                weighted = self._weighted(item)
                workload = weighted.get("workload", item)
                task = self._try(workload, functools.partial(self._task, kernel, workload, device, limits))
                if task is None:
                    continue
                if task.key in tasks:
                    self._mistake(workload, f"{kernel} is listed twice for this workload")
                tasks[task.key] = task
                uses[task.key] = self._use(weighted.get("use"), use)
        return list(tasks.values()), list(uses.values())

    def _weighted(self, node: yaml.Node) -> Mapping[str, yaml.Node]:
        """Return the parts of `{workload: ..., use: ...}`; nothing for a workload as it is."""
        if isinstance(node, yaml.MappingNode) and any(key.value == _WEIGHTED[0] for key, _ in node.value):
            return self._mapping(node, _WEIGHTED, "a workload with its use")
        return {}

    def _use(self, node: yaml.Node | None, default: float) -> float:
        if node is None:
            return default
        value = self._plain(node)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            self._mistake(node, f"use={value!r} is not a positive number")
            return default
        return float(value)

    def _task(self, kernel: str, node: yaml.Node, device: Device, limits: Limits) -> Task:
        workload = self._plain(node)
        if not isinstance(workload, str | dict):
            raise WorkloadError(f"{workload!r} is no workload; write a name, or {{FIELD: VALUE}}")
        if isinstance(workload, dict) and kernel.startswith(f"{ENGINE}:"):
            workload = {name: self._beside(name, value) for name, value in workload.items()}
        return limits.applied(task_of(self._kernel(kernel), workload, device))

    def _beside(self, name: str, value: Any) -> Any:
        """Return a field's value; a path is one relative to the specification, where there is such a file."""
        if name in _PATHS and isinstance(value, str):
            head, colon, attribute = value.partition(":")
            if (self._path.parent / head).exists():
                return f"{self._path.parent / head}{colon}{attribute}"
        return value

    def _kernel(self, kernel: str) -> str:
        """Return `kernel`, with a file's path taken relative to the specification."""
        head, _, attribute = kernel.rpartition(":")
        return f"{self._path.parent / head}:{attribute}" if head.endswith(".py") else kernel

    def _build(self, kind: type[Any], node: yaml.Node | None) -> Any:
        """Return a dataclass of numbers from a mapping."""
        names = [field.name for field in fields(kind)]
        values = {name: self._plain(value) for name, value in self._mapping(node, names, kind.__name__.lower()).items()}
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                self._mistake(node, f"{name}={value!r} is not a number")
                return kind()
        return self._try(node, lambda: kind(**values)) or kind()

    def _mapping(self, node: yaml.Node | None, known: Sequence[str], what: str) -> Mapping[str, yaml.Node]:
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            self._mistake(node, f"{what} is a mapping of {', '.join(known)}")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.value not in known:
                self._mistake(key, f"unknown {key.value!r} in {what}; known: {', '.join(known)}")
            elif key.value in found:
                self._mistake(key, f"{key.value!r} is given twice")
            else:
                found[key.value] = value
        return found

    def _sequence(self, node: yaml.Node | None, what: str) -> Sequence[yaml.Node]:
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self._mistake(node, f"{what} is a list with at least one entry")
            return []
        entries: Sequence[yaml.Node] = node.value
        return entries

    def _scalar(self, node: yaml.Node | None, kind: type[Any], default: Any) -> Any:
        if node is None:
            return default
        value = self._plain(node)
        # A bool is an int, but true is no number.
        if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
            self._mistake(node, f"{value!r} is not {_KINDS[kind]}")
            return default
        return value

    def _plain(self, node: yaml.Node) -> Any:
        """Return the node's value as plain data; the safe constructor makes nothing else."""
        constructor = yaml.constructor.SafeConstructor()
        try:
            return constructor.construct_document(node)
        except yaml.MarkedYAMLError as error:
            self._mistake(node, str(error.problem))
            return ""

    def _mistake(self, node: yaml.Node | None, text: str) -> None:
        line = node.start_mark.line + 1 if node is not None else 1
        self.mistakes.append(f"{self._path}:{line}: {text}")
