from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.db.exchange.sample import winner
from tuner.db.exchange import Request, Selection
from tuner.db.exchange.triton_cache import TritonCacheFiles
from tuner.db.exchange.triton_config import (
    TritonConfigFiles,
    arguments_of,
    config_of,
    space_of,
    triton_configs,
)
from tuner.errors import ExchangeError
from tuner.gpus import target_device
from tuner.types import Config, Scalar, Winner, Workload

triton = pytest.importorskip("triton", reason="pip install 'rltuner[triton]'")

LISTS, ENTRIES = TritonConfigFiles(), TritonCacheFiles()
H200 = target_device("h200")
HERE = Path(__file__).with_name("autotuned.py")
AUTOTUNER = f"{HERE}:scaled"
DTYPES = ("torch.float16", "torch.float16")
ASKED = Request(device=H200, keys=("M", "N"))

names = st.from_regex(r"[A-Z][A-Z_]{0,8}", fullmatch=True)
scalars: st.SearchStrategy[Scalar] = (
    st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
kwargs = st.dictionaries(names, scalars, max_size=4)
triton_config = st.builds(
    triton.Config,
    kwargs,
    num_warps=st.sampled_from([1, 2, 4, 8]),
    num_stages=st.integers(1, 6),
    num_ctas=st.sampled_from([1, 2]),
    maxnreg=st.none() | st.integers(24, 255),
)


@settings(deadline=None)
@given(config=triton_config)
def test_a_config_of_tritons_comes_back(config: Any) -> None:
    [again] = triton_configs([config_of(config)])
    assert str(again) == str(config)
    assert again == config


ours = st.builds(lambda own, warps: Config({**own, "num_warps": warps, "num_stages": 2}), kwargs, st.integers(1, 8))


@settings(deadline=None, max_examples=40)
@given(configs=st.lists(ours, min_size=1))
def test_a_list_that_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, configs: list[Config]) -> None:
    configs = list(dict.fromkeys(config for config in configs if set(config) == set(configs[0])))
    path = tmp_path_factory.mktemp("configs") / "configs.py"
    winners = [winner("triton:x", Workload(text='"""\n#'), config, number=i) for i, config in enumerate(configs)]
    assert LISTS.write(path, Selection(winners=winners)).configs == len(configs)
    space = LISTS.read(path, Request()).space
    assert space is not None
    assert set(space.iterate()) == set(configs)
    # Triton's own class takes what the file says.
    compiled: dict[str, Any] = {}
    exec(path.read_text(), compiled)
    assert [config_of(config) for config in compiled["CONFIGS"]] == configs


def test_lists_of_others_are_parsed_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "kernel.py"
    path.write_text(
        "from triton import Config\nraise SystemExit('run')\n"
        "A = [Config({'BLOCK': 64}, 8), triton.Config(kwargs={'BLOCK': -1}, num_warps=4, pre_hook=None)]\n"
    )
    space = LISTS.read(path, Request()).space
    assert space is not None
    assert list(space.iterate()) == [Config(BLOCK=64, num_warps=8), Config(BLOCK=-1, num_warps=4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", "is no Python"),
        ("x = 1", "has no triton.Config"),
        ("triton.Config({'A': B})", r"in line 1 'B' is no literal|\{'A': B\}"),
        ("\ntriton.Config({'A': [1]})", "line 2"),
        ("triton.Config({'A': 1}, pre_hook=1)", "pre_hook"),
        ("triton.Config({'A': 1}, warps=1)", "'warps'"),
        ("triton.Config({'A': 1}, **more)", "None"),
        ("triton.Config({'num_warps': 1}, num_warps=1)", "'num_warps' twice"),
        ("triton.Config(num_warps=1)", "kwargs are None"),
        ("[triton.Config({'A': 1}), triton.Config({'B': 1})]", "do not both have"),
    ],
)
def test_a_bad_list_is_one_error_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "kernel.py"
    path.write_text(text)
    with pytest.raises(ExchangeError, match=message) as raised:
        LISTS.read(path, Request())
    assert str(path) in str(raised.value)


def test_a_hook_is_no_data() -> None:
    with pytest.raises(ExchangeError, match="pre_hook"):
        config_of(triton.Config({"A": 1}, pre_hook=print))
    with pytest.raises(ExchangeError, match="there is none"):
        space_of([])
    assert arguments_of(Config(A=1, num_ctas=2)) == {"kwargs": {"A": 1}, "num_ctas": 2}


class Driver:
    """What the autotuner asks of the driver of an H200."""

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)


@pytest.fixture
def gpu(tmp_path: Path) -> Iterator[Path]:
    """Let Triton believe in an H200; yields its cache folder."""
    config = triton.runtime.driver
    before = config._active
    with triton.knobs.cache.scope():
        triton.knobs.cache.dir = str(tmp_path / "cache")
        config.set_active(Driver())
        yield tmp_path / "cache"
    config._active = before


def tuned(times: dict[int, float] | None) -> Any:
    """Return the autotuner as a new process has it, launches recorded; it measures `times` by BLOCK, or must not."""
    sys.modules.pop("tests.db.exchange.autotuned", None)
    from tests.db.exchange.autotuned import scaled

    launched: list[dict[str, Any]] = []

    def run(*arguments: Any, **options: Any) -> None:
        launched.append(options)

    def bench(call: Any, quantiles: Any) -> list[float]:
        assert times is not None, "it measures although there is an entry"
        call()
        time = times[launched[-1]["BLOCK"]]
        return [time, time, time]

    scaled.fn.run = run
    scaled._do_bench = bench
    scaled.launched = launched
    return scaled


def call(autotuner: Any, m: int, n: int) -> dict[str, Any]:
    tensor = SimpleNamespace(dtype="torch.float16")
    autotuner.run(tensor, tensor, m, n, grid=(1,))
    found: dict[str, Any] = autotuner.launched[-1]
    return found


def winner_for(m: int, config: Config, *, seconds: float = 2e-4, **options: Any) -> Winner:
    return winner("triton.autotune:scaled", Workload(M=m, N=8), config, device=H200, seconds=seconds, **options)


def test_triton_takes_our_entries_instead_of_measuring(gpu: Path) -> None:
    found = [
        winner_for(32, Config(BLOCK=256, num_warps=8, num_stages=3, maxnreg=128), number=1),
        winner_for(64, Config(BLOCK=64, num_warps=2, num_stages=2), samples=(1e-4, 2e-4, 3e-4), number=2),
    ]
    writing = ENTRIES.write(gpu, Selection(winners=found, autotuner=AUTOTUNER, dtypes=DTYPES))
    assert [file.name for file in writing.files] == ["scaled.autotune.json"] * 2
    autotuner = tuned(None)
    assert call(autotuner, 32, 8)["BLOCK"] == 256
    assert call(autotuner, 64, 8)["BLOCK"] == 64
    # There is no entry for this one.
    with pytest.raises(AssertionError, match="although"):
        call(autotuner, 65, 8)
    reading = ENTRIES.read(gpu, ASKED)
    assert {(one.workload["M"], one.config) for one in reading.findings} == {
        (one.task.workload["M"], one.config) for one in found
    }


def test_an_entry_that_triton_wrote_is_read(gpu: Path) -> None:
    times = {64: 0.5, 128: 0.25, 256: float("inf")}
    assert call(tuned(times), 16, 8)["BLOCK"] == 128
    [finding] = ENTRIES.read(gpu, ASKED).findings
    assert finding.tunable == "triton.autotune:scaled"
    assert finding.workload == Workload(M=16, N=8, key_2="torch.float16", key_3="torch.float16")
    assert finding.config == Config(BLOCK=128, num_warps=4, num_stages=3)
    assert finding.seconds == pytest.approx(2.5e-4)
    assert finding.device == H200
    assert finding.details["configs_measured"] == 3
    assert ENTRIES.read(gpu, Request("triton:scaled", {"K": 1}, H200, ("M",))).findings[0].workload.get("key_1") == 8


def test_writing_leaves_triton_as_it_was(tmp_path: Path) -> None:
    before = triton.runtime.driver._active, os.environ.get("TRITON_CACHE_DIR")
    found = winner_for(32, Config(BLOCK=128, num_warps=4, num_stages=3))
    ENTRIES.write(tmp_path, Selection(winners=[found], autotuner=AUTOTUNER, dtypes=DTYPES))
    assert (triton.runtime.driver._active, os.environ.get("TRITON_CACHE_DIR")) == before


@pytest.mark.parametrize(
    ("found", "autotuner", "message"),
    [
        (winner_for(1, Config(BLOCK=128, num_warps=4, num_stages=3)), "", "--autotuner"),
        (winner_for(1, Config(BLOCK=128, num_warps=4, num_stages=3)), f"{HERE}:triton", "not a function under"),
        (winner_for(1, Config(BLOCK=128, num_warps=4, num_stages=3)), f"{HERE}:PRUNED", "prunes its configs"),
        (winner_for(1, Config(BLOCK=512, num_warps=4, num_stages=3)), AUTOTUNER, "not one of the autotuner's"),
        (winner_for(1, Config(BLOCK=128, num_warps=4, num_stages=3), seconds=0.0), AUTOTUNER, "how long"),
        (winner("x:y", Workload(M=1), Config(BLOCK=128), device=H200), AUTOTUNER, "no field 'N'"),
    ],
)
def test_what_triton_would_not_take_is_not_written(tmp_path: Path, found: Winner, autotuner: str, message: str) -> None:
    with pytest.raises(ExchangeError, match=message):
        ENTRIES.write(tmp_path, Selection(winners=[found], autotuner=autotuner, dtypes=DTYPES))
    assert not list(tmp_path.iterdir())


ENTRY = [{"kwargs": {"BLOCK": 64}, "num_warps": 4, "num_stages": 3, "num_ctas": 1, "maxnreg": None}, [1.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "is not JSON"),
        ([], "holds a JSON list"),
        ({"configs_timings": [ENTRY]}, "field 'key' is missing"),
        ({"key": [[1]], "configs_timings": [ENTRY]}, "field 'key' is missing, or not a list"),
        ({"key": [1], "configs_timings": []}, "field 'configs_timings' is missing, empty"),
        ({"key": [1], "configs_timings": [ENTRY, 7]}, r"configs_timings\[1\]' is not a pair"),
        ({"key": [1], "configs_timings": [[{"kwargs": {}, "warps": 1}, [1.0]]]}, "has the field 'warps'"),
        ({"key": [1], "configs_timings": [[{"kwargs": 7}, [1.0]]]}, "its kwargs are 7"),
        ({"key": [1], "configs_timings": [[ENTRY[0], ["x"]]]}, r"has the times \['x'\]"),
        ({"key": [1], "configs_timings": [[ENTRY[0], [float("inf")]]]}, "no config that ran"),
        ({"key": [1], "configs_timings": [[{"kwargs": {}, "pre_hook": "x"}, [1.0]]]}, "pre_hook"),
    ],
)
def test_a_bad_entry_is_one_error_that_names_it(tmp_path: Path, data: Any, message: str) -> None:
    path = tmp_path / "scaled.autotune.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(ExchangeError, match=message) as raised:
        ENTRIES.read(path, ASKED)
    assert str(path) in str(raised.value)


def test_what_an_entry_does_not_tell_has_to_be_said(tmp_path: Path) -> None:
    path = tmp_path / "scaled.autotune.json"
    path.write_text(json.dumps({"key": [1], "configs_timings": [ENTRY]}))
    with pytest.raises(ExchangeError, match="--target"):
        ENTRIES.read(path, Request())
    with pytest.raises(ExchangeError, match="given twice"):
        ENTRIES.read(path, Request(device=H200, keys=("M",), fields={"M": 2}))
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ExchangeError, match="whose names end in"):
        ENTRIES.read(tmp_path / "x.json", ASKED)
    (tmp_path / "none").mkdir()
    with pytest.raises(ExchangeError, match="has no entry"):
        ENTRIES.read(tmp_path / "none", ASKED)


def test_reading_needs_no_triton() -> None:
    tree = ast.parse(Path(sys.modules[TritonConfigFiles.__module__].__file__ or "").read_text())
    imported = [node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert "triton" not in imported
