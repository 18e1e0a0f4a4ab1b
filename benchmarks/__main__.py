"""Runs every benchmark and keeps its figures, or fills README's tables from figures that were kept.

    python -m benchmarks                                            # into build/benchmarks
    python -m benchmarks --quick                                    # a smoke run
    python -m benchmarks benchmarks/results/cpu_epyc --tables       # print the tables in a folder
    python -m benchmarks benchmarks/results/cpu_epyc --fill README.md

A page's table stands between `<!-- benchmark: NAME -->` and `<!-- end of benchmark -->`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import fill, tables_of

HERE = Path(__file__).parent
# Modules that measure nothing themselves.
SHARED = ("__main__", "report")


def names() -> list[str]:
    """Return the names of all benchmarks."""
    return [path.stem for path in sorted(HERE.glob("*.py")) if path.stem not in SHARED]


def run(folder: Path, extra: Sequence[str], spaces: Path | None) -> list[str]:
    """Run each benchmark in a process of its own, so that none disturbs the next, and return those that failed."""
    failed = []
    for name in names():
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(folder / f"{name}.json"), *extra]
        if spaces and name == "search_spaces":
            command += ["--spaces", str(spaces.resolve())]
        if subprocess.run(command, cwd=HERE.parent).returncode:
            failed.append(name)
    return failed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks, or show what a folder holds of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/benchmarks"), help="default %(default)s")
    parser.add_argument("--quick", action="store_true", help="a smoke run, whose figures mean nothing")
    parser.add_argument("--spaces", type=Path, metavar="FILE", help="what benchmarks.search_spaces is to construct")
    parser.add_argument("--tables", action="store_true", help="run nothing, print the tables that the folder holds")
    parser.add_argument("--fill", type=Path, metavar="PAGE", help="run nothing, fill the tables that PAGE marks")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    if options.fill:
        options.fill.write_text(fill(options.fill.read_text(), tables_of(folder)))
    elif options.tables:
        for table in tables_of(folder).values():
            print(f"{table.name}\n\n{table}\n")
    elif failed := run(folder, ["--quick"] if options.quick else [], options.spaces):
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
