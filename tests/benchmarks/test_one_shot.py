from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.one_shot import METHODS, Case, by_distance, judged, shape_cases, table_of
from tuner.db.kernel_tuner import write_cache_file
from tuner.search_spaces import Parameter, SearchSpace
from tuner.types import Config, Device, Measurement, Status, Task, Trial, Workload

DEVICE = Device("cpu", "one", "x86_64", 1, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings whose best TILE is the number of rows, at most 64; one config fails, the default is far off."""
    for rows in (4, 8, 16, 32, 64):
        # A shape has only the tiles that it fills.
        tiles = [tile for tile in (64, 4, 8, 16, 32) if tile <= rows]
        space = SearchSpace([Parameter("TILE", tuple(tiles), ordered=True), Parameter.boolean("FAST")])
        trials = []
        for config in space:
            tile = config["TILE"]
            assert isinstance(tile, int)
            fails = tile == 4 and config["FAST"] is True
            seconds = 1 + abs(np.log2(tile / rows)) + 0.1 * (config["FAST"] is False)
            measurement = (
                Measurement(Status.RUNTIME, error="no")
                if fails
                else Measurement(Status.CORRECT, {"seconds": (seconds,)})
            )
            trials.append(Trial(config, measurement))
        trials.sort(key=lambda trial: trial.config != Config(TILE=min(tiles), FAST=False))
        task = Task("mine.py:KERNEL", "1", Workload(M=rows, dtype="bf16"), DEVICE)
        write_cache_file(tmp_path / f"kernel_{rows}.json.gz", task, space, trials)
    task = Task("mine.py:KERNEL", "1", Workload(M=4, dtype="fp32"), DEVICE)
    write_cache_file(tmp_path / "kernel_alone.json.gz", task, space, trials)
    return tmp_path


def test_shapes_are_judged_by_what_is_known_of_others(folder: Path) -> None:
    cases = shape_cases(folder)
    # The recording of another dtype has nobody to learn from.
    assert sorted(case.name for case in cases) == ["M=16", "M=32", "M=4", "M=64", "M=8"]
    results = {result["left_out"]: result for result in judged(cases, 0)}
    assert list(results["M=16"])[2:] == list(METHODS)
    # The best of 32 does not fit, the next best does; nothing larger than 64 is known, and 64 itself is not.
    assert results["M=16"]["nearest"] == pytest.approx(1)
    assert results["M=64"]["nearest"] == pytest.approx(0.5)
    # Tile 4 in every shape, in the slow variant: the quick one fails.
    assert results["M=16"]["default"] == pytest.approx(1 / 3.1)
    assert 0 < results["M=4"]["average"] <= 1
    table = table_of("shapes", "shapes", list(results.values()), by_kernel=True)
    assert [row[:2] for row in table.rows] == [["KERNEL", "5"], ["mean", ""], ["worst", ""]]


def test_what_a_best_config_is_worth_elsewhere_is_told_by_distance(folder: Path) -> None:
    pairs, table = by_distance(shape_cases(folder))
    found = {(one["known"], one["left_out"]): one for one in pairs}
    # A tile that is larger than the shape is not valid there.
    assert ("M=64", "M=32") not in found
    assert (found["M=16", "M=64"]["doublings"], found["M=16", "M=64"]["share"]) == (2, pytest.approx(1 / 3))
    assert found["M=8", "M=64"]["default_share"] == pytest.approx(1 / 5.1)
    assert [row[:2] for row in table.rows] == [["0 to 2", "7"], ["2 to 4", "3"]]


def test_a_config_that_failed_somewhere_is_not_chosen_on_average(folder: Path) -> None:
    cases = shape_cases(folder)
    target = next(case for case in cases if case.name == "M=64")
    known = [case for case in cases if case is not target]
    worth = METHODS["average"](known, target, np.random.default_rng(0))
    failing = [row.tolist() == [0, 1] for row in target.rows]
    assert np.isinf(worth[failing]).all()
    near = METHODS["near average"](known, target, np.random.default_rng(0))
    assert target.rows[near.argmin()][0] > 1


def test_what_no_file_tells_is_no_column() -> None:
    rows = np.array([[0], [1]])
    cases = [Case("k", name, rows, np.array([0.0, 0.5]), np.array([float(i)])) for i, name in enumerate("abc")]
    table = table_of("devices", "device", judged(cases, 0), by_kernel=False)
    assert "default" not in table.columns
    assert table.rows[0][:3] == ["k", "a", "1.000"]
