"""What every benchmark shares: its options, the head of its JSON file, and the tables that README shows.

A benchmark is a module with a `main(arguments)` that takes `--quick`, `--seed` and `--json FILE`, measures, and hands
what it found to `Report`. It is run as `python -m benchmarks.NAME`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuner.devices import available_cores, detect
from tuner.kernels.layernorm.cpp import KERNEL

__all__ = ["Report", "Table", "fill", "options_of", "parser_of", "tables_of"]

# Packages whose version may change a figure: ours, what it stands on, and what it is compared with.
PACKAGES = {
    "tuner": "rltuner",
    "numpy": "numpy",
    "optuna": "optuna",
    "ray": "ray",
    "torch": "torch",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "scikit-learn": "scikit-learn",
    "scipy": "scipy",
    "triton": "triton",
    "gymnasium": "gymnasium",
    "stable-baselines3": "stable-baselines3",
    "sb3-contrib": "sb3-contrib",
    "kernel_tuner": "kernel_tuner",
    "python-constraint2": "python-constraint2",
}
# A table in a page stands between these two; what lies between them is replaced.
MARKED = re.compile(r"(<!-- benchmark: (?P<name>[\w-]+) -->\n).*?(<!-- end of benchmark -->)", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """A table as README shows it.

    Attributes:
        name: What a page calls it in `<!-- benchmark: NAME -->`; unique among all benchmarks.
        columns: The titles.
        rows: The cells, each row as long as `columns`.

    Example:
        >>> print(Table("speed", ["runner", "ratio"], [["local", "1.01"]]))
        | runner | ratio |
        |---|---|
        | local | 1.01 |
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        text = [f"| {' | '.join(cells)} |" for cells in lines]
        return "\n".join([text[0], "|" + "---|" * len(self.columns), *text[1:]])


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has; `description` is the module's docstring."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run of seconds, whose figures mean nothing")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, raw samples included")
    return parser


def options_of(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, quick: Mapping[str, Any]
) -> argparse.Namespace:
    """Return the parsed options; with `--quick`, those of `quick` are the defaults."""
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**quick)
    return parser.parse_args(arguments)


class Report:
    """One run of one benchmark: begun before it measures, so that the load that it met is known.

    Args:
        name: The module's name.
        options: What `options_of` returned.
        arguments: The command line; that of the process if None.
    """

    def __init__(self, name: str, options: argparse.Namespace, arguments: Sequence[str] | None = None) -> None:
        self._path: Path | None = options.json
        given = sys.argv[1:] if arguments is None else arguments
        self.head = {
            "benchmark": name,
            "command": shlex.join(["python", "-m", f"benchmarks.{name}", *map(_named, given)]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": options.quick,
            "seed": options.seed,
            "machine": _machine(),
            "versions": _versions(),
        }

    def finish(self, results: Sequence[Mapping[str, Any]], tables: Sequence[Table]) -> None:
        """Print the tables, and write head, results and tables to the file if one was asked for."""
        for table in tables:
            print(f"\n{table.name}\n\n{table}", flush=True)
        if self._path is None:
            return
        shown = [{"name": table.name, "columns": table.columns, "rows": table.rows} for table in tables]
        text = json.dumps({**self.head, "results": results, "tables": shown}, indent=1)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(text + "\n")
        print(f"wrote {self._path}", file=sys.stderr)


def tables_of(folder: Path) -> dict[str, Table]:
    """Return by name the tables in the JSON files of `folder`.

    Tables of one name and the same columns are one table: a run may be made in slices, `agents.json` and
    `agents_gp.json`, whose rows follow each other in the order of the files' names.
    """
    found: dict[str, Table] = {}
    for path in sorted(folder.glob("*.json")):
        figures = json.loads(path.read_text())
        # Files of before had lists, and no tables.
        for table in figures["tables"] if isinstance(figures, dict) and "tables" in figures else ():
            name, before = table["name"], found.get(table["name"])
            slices = [before] if before and list(before.columns) == table["columns"] else []
            found[name] = Table(name, table["columns"], [row for one in slices for row in one.rows] + table["rows"])
    return found


def fill(page: str, tables: Mapping[str, Table]) -> str:
    r"""Return `page` with each marked table replaced by the one of its name; those that are not in `tables` stay.

    Example:
        >>> page = "<!-- benchmark: speed -->\nold\n<!-- end of benchmark -->"
        >>> print(fill(page, {"speed": Table("speed", ["ratio"], [["1.01"]])}))
        <!-- benchmark: speed -->
        | ratio |
        |---|
        | 1.01 |
        <!-- end of benchmark -->
    """

    def filled(match: re.Match[str]) -> str:
        table = tables.get(match["name"])
        return match[0] if table is None else f"{match[1]}{table}\n{match[3]}"

    return MARKED.sub(filled, page)


def _named(word: str) -> str:
    """Return `word`, where it is a path, without the folders that only this machine has."""
    return Path(word).name if os.sep in word else word


def _machine() -> dict[str, Any]:
    device = detect("cpu")
    return {
        "name": device.name,
        "arch": device.arch,
        "cores": len(available_cores()),
        "memory_bytes": device.memory_bytes,
        "features": dict(device.features),
        "system": device.environment["system"],
        "load": os.getloadavg()[0],
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), **KERNEL.environment()}
    for name, package in PACKAGES.items():
        try:
            versions[name] = version(package)
        except PackageNotFoundError:
            continue
    return versions
