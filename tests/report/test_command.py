"""`tuner report` as people call it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.campaign import task_of
from tuner.db.sql import open_store
from tuner.plan import Plan
from tuner.testing.store import make_peaks
from tuner.types import Task

ROOT = Path(__file__).parents[2]
TOY = "tuner.testing.toys:FRAGILE"


def tuner(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tuner", *words], capture_output=True, text=True, cwd=ROOT, env=dict(os.environ)
    )
    assert not check or done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_report_is_written_and_its_figures_are_told(tmp_path: Path) -> None:
    store, out = str(tmp_path / "store.db"), tmp_path / "report.html"
    words = ["tune", TOY, "-w", "N=3", "--trials", "25", "--agent", "random", "--store", store, "--json"]
    tuned = json.loads(tuner(*words).stdout.splitlines()[-1])
    pictures = tmp_path / "png"
    done = tuner("report", tuned["campaign"][:5], "--out", str(out), "--png", str(pictures), "--store", store, "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["page"] == str(out)
    assert sorted(told["pictures"]) == sorted(str(file) for file in pictures.iterdir())
    [task] = told["tasks"]
    assert (task["outcome"], task["speedup"]) == ("promoted", tuned["speedup"])
    assert sum(task["failures"].values()) == 25 - tuned["statuses"]["correct"]
    assert f"Campaign {tuned['campaign']}" in out.read_text(encoding="utf-8")
    refused = tuner(
        "report", tuned["campaign"], "--out", str(tmp_path / "no" / "x.html"), "--store", store, check=False
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: cannot write ")


def test_a_page_shows_the_roof_that_the_store_has(tmp_path: Path) -> None:
    store, out = tmp_path / "store.db", tmp_path / "report.html"
    task = task_of("tuner.testing.toys:PARABOLA", {"N": 3})
    gone = Task("tuner.testing.toys:GONE", "1", task.workload, task.device)
    opened = open_store(str(store))
    campaign = opened.create_campaign(Plan(agent="random").to_json(), [task, gone])
    tuner("report", campaign, "--out", str(out), "--store", str(store))
    assert "How near the roof" not in out.read_text(encoding="utf-8")
    opened.keep_peaks(task.device, make_peaks())
    opened.close()
    tuner("report", campaign, "--out", str(out), "--store", str(store))
    page = out.read_text(encoding="utf-8")
    # The kernel of the other task is gone.
    assert page.count("How near the roof") == 1
    assert "One call does 1 flops on 1 bytes" in page
    assert f"with its data in {make_peaks().levels[0].name}" in page


@pytest.mark.parametrize("package", ["altair", "jinja2", "sklearn", "vl_convert"])
def test_without_the_extra_one_line_says_what_to_install(package: str, tmp_path: Path) -> None:
    absent = f"import sys; sys.modules[{package!r}] = None; sys.argv[1:] = ['report', 'abc']"
    code = f"{absent}; from tuner.cli import main; main()"
    env = {**os.environ, "TUNER_STORE": str(tmp_path / "store.db")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode == 1
    assert re.fullmatch(
        rf"error: tuner report needs the package '{package}(\.\w+)?'; pip install 'rltuner\[report\]'\n", done.stderr
    )


def test_other_commands_do_not_load_what_draws() -> None:
    code = "import tuner.cli, sys; print(sorted({'altair', 'sklearn', 'vl_convert', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    # Mako and others may load Jinja; what is slow must stay away.
    assert not set(json.loads(done.stdout.replace("'", '"'))) - {"jinja2"}
