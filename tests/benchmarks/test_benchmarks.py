from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import agents
from benchmarks.__main__ import main, names
from benchmarks.report import MARKED, Report, Table, fill, options_of, parser_of, tables_of
from tests.replay.spaces import valley, write_space

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_quick_run_writes_its_figures(name: str, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--seed", "3", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert found["benchmark"] == name
    assert found["quick"] is True
    assert found["seed"] == 3
    assert {"name", "cores", "features", "load"} <= set(found["machine"])
    assert {"python", "numpy", "compiler", "tuner"} <= set(found["versions"])
    assert found["results"]
    for table in tables_of(tmp_path).values():
        assert str(table) in done.stdout
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_a_failing_benchmark_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command[2])
        return subprocess.CompletedProcess(command, int(command[2] == f"benchmarks.{names()[0]}"))

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit, match=f"failed: {names()[0]}$"):
        main([str(tmp_path)])
    assert ran == [f"benchmarks.{name}" for name in names()]


def test_explicit_options_win_over_quick_ones() -> None:
    parser = parser_of("A benchmark.")
    parser.add_argument("--trials", type=int, default=100)
    parsed = [options_of(parser, words, {"trials": 2}).trials for words in (["--quick", "--trials", "7"], ["--quick"])]
    assert parsed == [7, 2]


def test_the_head_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    words = ["--json", str(tmp_path / "figures.json")]
    report = Report("one", options_of(parser_of("A benchmark."), words, {}), words)
    assert report.head["command"] == "python -m benchmarks.one --json figures.json"


def test_a_page_is_filled_from_the_files(tmp_path: Path) -> None:
    words = ["--json", str(tmp_path / "one.json")]
    Report("one", options_of(parser_of("A benchmark."), words, {}), words).finish(
        [{"ratio": 0.5}], [Table("speed", ["ratio"], [["0.50"]])]
    )
    page = tmp_path / "page.md"
    other = "<!-- benchmark: other -->\nkept\n<!-- end of benchmark -->\n"
    page.write_text(f"before\n<!-- benchmark: speed -->\nold\n<!-- end of benchmark -->\n{other}")
    main([str(tmp_path), "--fill", str(page)])
    table = "| ratio |\n|---|\n| 0.50 |"
    assert page.read_text() == f"before\n<!-- benchmark: speed -->\n{table}\n<!-- end of benchmark -->\n{other}"


def test_slices_of_a_run_are_one_table_and_other_columns_replace_it(tmp_path: Path) -> None:
    def write(file: str, columns: list[str], rows: list[list[str]]) -> None:
        words = ["--json", str(tmp_path / file)]
        Report("one", options_of(parser_of("A benchmark."), words, {}), words).finish(
            [], [Table("speed", columns, rows)]
        )

    write("a.json", ["agent", "ratio"], [["one", "1"]])
    write("a_other.json", ["agent", "ratio"], [["other", "2"], ["third", "3"]])
    assert tables_of(tmp_path)["speed"].rows == [["one", "1"], ["other", "2"], ["third", "3"]]
    write("b.json", ["agent", "seconds"], [["one", "4"]])
    assert tables_of(tmp_path)["speed"].rows == [["one", "4"]]


@pytest.mark.parametrize("name", ["README.md", "docs/agents.md"])
def test_pages_show_what_was_measured(name: str) -> None:
    page = (ROOT / name).read_text()
    folders = sorted((ROOT / "benchmarks" / "results").iterdir())
    known = [tables for folder in folders if (tables := tables_of(folder))]
    for match in MARKED.finditer(page):
        versions = [fill(match[0], tables) for tables in known if match["name"] in tables]
        assert match[0] in versions, f"{match['name']}: fill it with python -m benchmarks FOLDER --fill README.md"


def test_agents_are_told_of_one_device_or_wrongly(tmp_path: Path) -> None:
    files = [
        write_space(tmp_path / f"conv_{name}.json", valley, kernel="conv", device=name) for name in ("red", "blue")
    ]
    path = tmp_path / "figures.json"
    words = "--agents random --told random --rivals= --priors one,shuffled --trials 10 --seeds 1 --batch 2 --name mine"
    agents.main([*map(str, files), *words.split(), "--json", str(path)])
    found = json.loads(path.read_text())
    assert [table["name"] for table in found["tables"]] == ["mine", "mine-kernels"]
    assert [row[:2] for row in found["tables"][0]["rows"]] == [
        ["random, 2 at once", "one"],
        ["random, 2 at once", "shuffled"],
    ]
    assert found["results"][0]["spaces"][0]["prior"] == ["conv_blue"]
