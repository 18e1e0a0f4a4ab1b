"""Runs what README.md and docs/ show."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Run by continuous integration itself, once, or what installing is.
ELSEWHERE = ("make", "pip")


def blocks(language: str) -> list[tuple[str, str]]:
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [(page.name, block) for page in PAGES for block in pattern.findall(page.read_text())]


def commands() -> list[tuple[str, list[str]]]:
    """Return each page's commands together: later ones need what earlier ones stored."""
    pages: dict[str, list[str]] = {}
    for page, block in blocks("bash"):
        lines = [line for line in block.splitlines() if line and not line.startswith(ELSEWHERE)]
        if lines:
            pages.setdefault(page, []).extend(lines)
    return list(pages.items())


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `command` in a folder of its own that has the examples, and the store."""
    examples = folder / "examples"
    if not examples.exists():
        examples.symlink_to(ROOT / "examples")
    env = {**os.environ, "TUNER_STORE": str(folder / "store.db")}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("page", "lines"), commands(), ids=[page for page, _ in commands()])
def test_commands_run(page: str, lines: list[str], tmp_path: Path) -> None:
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "tuner", f"{page}: {line}"
        done = run([sys.executable, "-m", "tuner", *words[1:]], tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "code"), blocks("python"), ids=[f"{page}-{i}" for i, (page, _) in enumerate(blocks("python"))]
)
def test_python_runs(page: str, code: str, tmp_path: Path) -> None:
    done = run([sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", code], tmp_path)
    assert done.returncode == 0, f"{page}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / link).exists(), f"{page.name}: {link}"
