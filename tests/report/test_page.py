from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.report.browser import Browser, browser, missing
from tuner.db import CampaignState, MemoryStore
from tuner.report.chart import charts
from tuner.report.data import Report, Roof, gather
from tuner.report.page import judge, render
from tuner.report.palette import DARK, LIGHT, Palette
from tuner.report.picture import write_pictures
from tuner.schedule import Schedule
from tuner.types import Work

Made = tuple[MemoryStore, str]
Make = Callable[..., Made]

VIEWS = [(width, scheme) for width in (1280, 400) for scheme in ("light", "dark")]


def with_roof(made: Made) -> Report:
    store, campaign = made
    roofs = {
        task.key: Roof(Work(flops=4e6, bytes=1e6), 5e10, {"L2": 1e11, "memory": 1e10}, "L2")
        for task in store.tasks(campaign)
    }
    return gather(store, campaign, roofs=roofs)


def page_of(report: Report) -> str:
    return render(report, judge(report), store="tuner.db")


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


def test_what_kernels_write_is_text_and_nothing_is_loaded(made: Make) -> None:
    page = Elements()
    page.feed(page_of(gather(*made())))
    assert page.tags.count("script") == 2
    assert not {"img", "b", "iframe", "object"} & set(page.tags)
    assert "<script>document.title='broken'</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert [load for load in page.loads if not load.startswith("a #")] == ["link data:,"]


def test_data_cannot_end_their_script(made: Make) -> None:
    found = re.search(r'id="report-data">(.*?)</script>', page_of(gather(*made())), re.DOTALL)
    assert found is not None
    assert "<" not in found[1]
    data: dict[str, Any] = json.loads(found[1])
    assert any("</script>" in (why or "") for why in data["tasks"][0]["rows"]["trials"]["why"])


@pytest.mark.slow
def test_a_large_campaign_stays_below_two_megabytes(made: Make) -> None:
    assert len(page_of(gather(*made(trials=1000, tasks=4))).encode()) < 2e6


def test_pictures_are_pictures(made: Make, tmp_path: Path) -> None:
    report = with_roof(made())
    files = write_pictures(report, judge(report), tmp_path / "new" / "png")
    names = [file.name for file in files]
    assert names == [
        f"1-PARABOLA-{name}.png"
        for name in ("pairs", "spread", "convergence", "importance", "machine", "roofline", "slices")
    ]
    for file in files:
        data = file.read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", data[16:24])
        assert 1200 < width < 2000
        assert 200 < height < 2000


def test_a_search_without_a_final_has_no_pairs(made: Make) -> None:
    report = gather(*made(state=CampaignState.INTERRUPTED))
    names = {chart.name for chart in charts(report.tasks[0], judge(report)[0], LIGHT)}
    assert "convergence" in names
    assert "pairs" not in names


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_stand_out_as_wcag_asks(palette: Palette) -> None:
    for name in ("ink", "muted", "gain", "warn"):
        for behind in (palette.paper, palette.panel):
            assert contrast(getattr(palette, name), behind) >= 4.5, name
    for name in ("trial", "compile", "runtime", "correctness", "timeout", "constraints", "limit"):
        assert contrast(getattr(palette, name), palette.paper) >= 3, name


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    if command := missing():
        pytest.skip(f"no Chromium to look with; {command}")
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(made: Make, ran: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    reports = {
        "promoted": with_roof(made(tasks=2)),
        "kept": gather(*made(promoted=False, trials=25)),
        "running": gather(*made(state=CampaignState.RUNNING, trials=5)),
        "no other worked": gather(*made(promoted=None, failing=1.0)),
        "ran": gather(*ran),
    }
    folder = tmp_path_factory.mktemp("pages")
    files = {}
    for name, report in reports.items():
        files[name] = folder / f"{name}.html"
        files[name].write_text(page_of(report), encoding="utf-8")
    return files


@pytest.mark.slow
@pytest.mark.parametrize("name", ["promoted", "kept", "running", "no other worked", "ran"])
@pytest.mark.parametrize(("width", "scheme"), VIEWS, ids=[f"{width}-{scheme}" for width, scheme in VIEWS])
def test_the_page_looks_right_in_chromium(
    window: Browser, pages: dict[str, Path], name: str, width: int, scheme: str, tmp_path: Path
) -> None:
    window.messages(), window.requests()
    window.open(pages[name], width, scheme)
    assert window.run("return document.documentElement.dataset.charts") == "drawn"
    assert window.messages() == []
    assert {url.partition(":")[0] for url in window.requests()} <= {"file", "data"}
    assert window.run("return document.documentElement.scrollWidth") == width
    empty = window.run(
        "return [...document.querySelectorAll('[data-chart]')].filter(place => {"
        "  const marks = place.querySelectorAll('.mark-symbol path, .mark-rect path, .mark-line path');"
        "  const box = place.querySelector('svg').getBoundingClientRect();"
        "  return ![...marks].some(mark => mark.getBoundingClientRect().width > 0) || box.width > place.clientWidth + 1"
        "    || box.width < 200;"
        "}).map(place => place.dataset.chart)"
    )
    assert empty == []
    assert window.run("return document.querySelectorAll('[data-chart]').length") >= 3
    paper = window.run("return getComputedStyle(document.body).backgroundColor")
    expected = (LIGHT if scheme == "light" else DARK).paper
    assert paper == f"rgb({', '.join(str(int(expected[i : i + 2], 16)) for i in (1, 3, 5))})"
    window.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_a_page_says_what_each_task_had_of_shared_trials(made: Make) -> None:
    report = gather(*made(tasks=2))
    page = page_of(replace(report, plan=replace(report.plan, uses=(32.0, 1.0))))
    assert "120 shared by expected gain times use" in page
    assert page.count("trials of the task") == 1
    assert '<td class="number tight">32</td>' in page
    each = page_of(replace(report, plan=replace(report.plan, schedule=Schedule.EACH)))
    assert "trials of the task" not in each
    assert "shared by" not in each
