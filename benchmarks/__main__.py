"""Runs every benchmark and keeps its figures: `python -m benchmarks [FOLDER]`, build/benchmarks by default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(folder: Path) -> None:
    """Run each benchmark in a process of its own, so that none disturbs the next."""
    folder.mkdir(parents=True, exist_ok=True)
    for script in sorted(HERE.glob("[a-z]*.py")):
        print(f"== {script.name}", flush=True)
        command = [sys.executable, str(script), "--json", str(folder / f"{script.stem}.json")]
        if subprocess.run(command).returncode:
            raise SystemExit(f"{script.name} failed")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/benchmarks"))
