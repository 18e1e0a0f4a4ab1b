from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.replay.spaces import valley, write_space
from tests.report.browser import Browser, browser, missing
from tuner.db.kernel_tuner import read_cache_file
from tuner.errors import TunerError
from tuner.replay import Rules, Score, estimates
from tuner.replay.chart import charts, rows
from tuner.replay.page import picture, render, write
from tuner.replay.play import Run
from tuner.replay.score import baseline_of, score_of
from tuner.replay.table import tables
from tuner.report.palette import LIGHT

RULES = Rules(trials=20, seeds=2)
COMMAND = ["tuner", "replay", "</script><b>.json"]


@pytest.fixture
def scores(tmp_path: Path) -> list[Score]:
    """Return two agents on three spaces of two kernels: one finds 2 ms, then 1 ms; one fails, and ends."""
    made = []
    spaces = [("conv", "red"), ("conv", "blue"), ("gemm", "<b>red")]
    for agent, curve in (("quick", [2e-3] * 9 + [1e-3] * 11), ("lost", [math.inf] * 5)):
        for kernel, device in spaces:
            path = write_space(tmp_path / f"{kernel}_{device[-3:]}.json", valley, kernel=kernel, device=device)
            recorded = read_cache_file(path)
            runs = [Run(tuple(curve), ()), Run((4e-3,) * 20, ())]
            made.append(score_of(recorded, baseline_of(recorded), agent, runs, 20, ["<i>prior"]))
    return made


def row(table: Any, **wanted: object) -> dict[str, Any]:
    """Return the one row that has these values."""
    records = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    [found] = [record for record in records if all(record[name] == value for name, value in wanted.items())]
    return found


def test_rows_are_the_fractions_of_the_runs(scores: list[Score]) -> None:
    tables_ = rows(scores, 20)
    assert set(tables_) == {"curves", "scores", "space-0", "space-1", "space-2"}
    assert row(tables_["curves"], agent="quick", n=9)["y"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    last = row(tables_["space-1"], agent="quick", n=20)
    assert (last["low"], last["y"], last["high"]) == pytest.approx((0.25, 0.625, 1.0))
    assert row(tables_["curves"], agent="lost", n=20)["y"] == pytest.approx(1 / 8)
    baseline = row(tables_["space-0"], agent="random search, calculated", n=1)
    assert baseline["y"] == pytest.approx(scores[0].baseline.expected_fractions([1])[0], rel=1e-4)
    assert baseline["low"] is None
    assert tables_["scores"]["agent"] == ["quick", "lost"]
    assert tables_["scores"]["y"][1] == pytest.approx(estimates(scores[3:])["score"].value, rel=1e-4)


def test_charts_stand_over_rows_that_there_are(scores: list[Score]) -> None:
    made = charts(scores, 20, LIGHT)
    assert [chart.name for chart in made] == ["convergence", "scores", "space-0", "space-1", "space-2"]
    assert {chart.rows for chart in made} == set(rows(scores, 20))


def test_tables(scores: list[Score]) -> None:
    quick, lost, both = tables(scores, RULES)
    assert [cells[0] for cells in quick.rows] == [
        "conv_red",
        "conv_lue",
        "gemm_red",
        "conv: 2 spaces",
        "mean",
        "95 % interval",
    ]
    assert "evaluations" not in quick.columns
    assert "evaluations" in lost.columns
    assert [cells[0] for cells in both.rows] == ["quick", "lost"]
    assert both.columns[-1] == "score over quick"
    assert both.rows[0][-1] == "-"
    gain = estimates(scores[3:])["score"].value - estimates(scores[:3])["score"].value
    assert both.rows[1][-1].startswith(f"{gain:+.3f} [")
    for table in (quick, lost, both):
        assert all(len(cells) == len(table.columns) for cells in table.rows)
    assert len(tables(scores[:3], RULES)) == 1


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [f"{tag} {value}" for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_what_names_hold_is_text_and_nothing_is_loaded(scores: list[Score]) -> None:
    page = Elements()
    page.feed(render(scores, RULES, COMMAND))
    assert page.tags.count("script") == 2
    assert not {"img", "b", "i", "iframe"} & set(page.tags)
    assert page.loads == ["link data:,"]
    assert "tuner replay '</script><b>.json'" in page.text
    assert "told before: <i>prior" in page.text
    assert page.tags.count("table") == 3


def test_the_script_finds_every_chart(scores: list[Score]) -> None:
    page = render(scores, RULES, COMMAND)
    found = re.search(r'id="report-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    [group] = json.loads(found[1])["tasks"]
    placed = re.findall(r'data-task="0" data-chart="([^"]+)"', page)
    assert set(placed) == set(group["charts"])
    assert all(chart["rows"] in group["rows"] for chart in group["charts"].values())


@pytest.mark.parametrize("spaces", [1, 3])
def test_a_picture_is_a_picture(scores: list[Score], spaces: int) -> None:
    chosen = [*scores[:spaces], *scores[3 : 3 + spaces]]
    data = picture(chosen, RULES)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert 1500 < width < 3000
    assert 1200 < height < 3000


def test_many_agents_are_told_apart(scores: list[Score]) -> None:
    many = [replace(score, agent=f"agent {i}") for i in range(12) for score in scores[:3]]
    spec = charts(many, 20, LIGHT)[0].spec.to_dict()
    encoding = spec["layer"][1]["encoding"]
    looks = list(
        zip(encoding["color"]["scale"]["range"], map(tuple, encoding["strokeDash"]["scale"]["range"]), strict=True)
    )
    assert len(looks) == len(set(looks)) == 13


@pytest.mark.parametrize("name", ["x.pdf", "x"])
def test_a_file_of_another_kind(scores: list[Score], tmp_path: Path, name: str) -> None:
    with pytest.raises(TunerError, match=r"\.html or \.png"):
        write(tmp_path / name, scores, RULES, COMMAND)


def test_a_folder_that_is_not_there(scores: list[Score], tmp_path: Path) -> None:
    with pytest.raises(TunerError, match="cannot write"):
        write(tmp_path / "none" / "x.html", scores, RULES, COMMAND)


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    if command := missing():
        pytest.skip(f"no Chromium to look with; {command}")
    with browser() as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_the_page_looks_right_in_chromium(
    window: Browser, scores: Sequence[Score], width: int, scheme: str, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    write(path, scores, RULES, COMMAND)
    window.messages(), window.requests()
    window.open(path, width, scheme)
    assert window.run("return document.documentElement.dataset.charts") == "drawn"
    assert window.messages() == []
    assert {url.partition(":")[0] for url in window.requests()} <= {"file", "data"}
    assert window.run("return document.documentElement.scrollWidth") == width
    assert window.run("return document.querySelectorAll('[data-drawn] svg').length") == 5
