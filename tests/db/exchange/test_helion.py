from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.db.exchange.sample import DEVICE, again, told, winners_of
from tuner.db import MemoryStore
from tuner.db.exchange import Request, Selection
from tuner.db.exchange.helion_config import HelionConfigFiles, from_helion, to_helion
from tuner.db.sql import open_store
from tuner.errors import ExchangeError
from tuner.types import Config, State

helion = pytest.importorskip("helion", reason="make .venv/.dev installs Helion with the tests' other needs")
from tuner.db.exchange.helion_cache import CACHE, StoreCache  # noqa: E402

remote_cache: Any = importlib.import_module("helion.autotuner.remote_cache")
base_cache: Any = importlib.import_module("helion.autotuner.base_cache")
local_cache: Any = importlib.import_module("helion.autotuner.local_cache")

FORMAT = HelionConfigFiles()
ASKED = Request("helion:matmul", {"M": 64}, DEVICE)

numbers = st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False)
leaves: st.SearchStrategy[Any] = st.none() | st.booleans() | numbers | st.text(max_size=6)
values = leaves | st.lists(leaves, max_size=3) | st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3)
names = st.sampled_from(["block_sizes", "loop_orders", "num_warps", "maxnreg", "pid_type", "mine", "yours"])
configs = st.dictionaries(names, values, min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(config=configs)
def test_a_config_that_helion_saved_comes_back_for_helion(
    tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("helion")
    saved = helion.Config.from_dict(config)
    saved.save(folder / "saved.json")
    [finding] = FORMAT.read(folder / "saved.json", ASKED).findings
    assert to_helion(finding.config) == config
    assert told(again(FORMAT, [finding], folder / "again.json", ASKED)) == told([finding])
    assert (folder / "again.json").read_text() == (folder / "saved.json").read_text()
    loaded = helion.Config.load(folder / "again.json")
    assert loaded == helion.Config.load(folder / "saved.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("[1]", "holds a JSON list"),
        ("{}", "empty config"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a:json": 1}', "'a:json' ends in :json"),
    ],
)
def test_a_bad_file_is_one_error_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ExchangeError, match=message) as raised:
        FORMAT.read(path, ASKED)
    assert str(path) in str(raised.value)


def test_one_file_holds_one_config(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"block_sizes": [8]}')
    with pytest.raises(ExchangeError, match="--kernel"):
        FORMAT.read(path, Request(device=DEVICE))
    [found] = winners_of(FORMAT.read(path, ASKED).findings)
    with pytest.raises(ExchangeError, match="2 winners are selected"):
        FORMAT.write(tmp_path / "out.json", Selection(winners=[found, found]))
    with pytest.raises(ExchangeError, match="is no JSON"):
        to_helion(Config({"a:json": "["}))
    with pytest.raises(ExchangeError, match="is no JSON"):
        from_helion({"a": {1, 2}})


def entry(hardware: str = "NVIDIA H200", spec: str = "(1,)", **config: Any) -> str:
    """Return an entry as Helion writes it."""
    fields = {"specialization_key": spec, "hardware": hardware, "runtime_name": "13.0", "backend": "triton"}
    fields |= {"kernel_source_hash": "c0ffee" * 10, "config_spec_hash": "ab"}
    key = {"type": "LooseAutotuneCacheKey", "fields": fields}
    data = {"config": helion.Config(**config).to_json(), "key": key, "flat_config": json.dumps([1, 2])}
    return json.dumps(data, indent=2)


@settings(deadline=None, max_examples=30)
@given(puts=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), min_size=1, max_size=8))
def test_the_cache_is_a_mapping_with_the_newest_first(puts: list[tuple[str, int]]) -> None:
    cache, expected = StoreCache(MemoryStore()), dict[str, str]()
    for key, size in puts:
        data = entry(block_sizes=[size])
        cache.put(key, data)
        if expected.get(key) != data:
            expected.pop(key, None)
            expected[key] = data
    assert {key: cache.get(key) for key in "abc"} == {key: expected.get(key) for key in "abc"}
    assert list(cache.list()) == list(reversed(expected.values()))
    assert list(cache.list(max_results=1)) == list(reversed(expected.values()))[:1]


def test_entries_are_candidates_that_can_be_told_from_each_other() -> None:
    store = MemoryStore()
    cache = StoreCache(store)
    cache.put("k1", entry(block_sizes=[64, 64], num_warps=4))
    [winner] = store.winners(tunable=CACHE, state=None)
    assert winner.state is State.CANDIDATE
    assert winner.task.device.arch == "sm_90"
    assert winner.task.workload["specialization"] == "(1,)"
    assert to_helion(winner.config) == {"block_sizes": [64, 64], "num_warps": 4}
    assert winner.evidence.origin.startswith("Helion, k1")
    assert winner.evidence.environment == {"runtime_name": "13.0", "backend": "triton"}
    cache.put("k1", entry(block_sizes=[64, 64], num_warps=4))
    assert len(store.winners(state=None)) == 1
    # The promoted one comes before a newer one; the quarantined one is gone.
    cache.put("k1", entry(block_sizes=[32, 32]))
    assert cache.get("k1") == entry(block_sizes=[32, 32])
    store.promote(winner.id, "measured by hand")
    assert cache.get("k1") == entry(block_sizes=[64, 64], num_warps=4)
    store.quarantine(winner.id, "wrong results")
    assert cache.get("k1") == entry(block_sizes=[32, 32])


@pytest.mark.parametrize("data", ["", "[]", "{}", '{"config": "{}"}', '{"config": "[]", "key": {"fields": {}}}'])
def test_what_is_no_entry_is_refused(data: str) -> None:
    store = MemoryStore()
    with pytest.raises(ExchangeError, match="'k' is none of Helion's"):
        StoreCache(store).put("k", data)
    assert store.winners(state=None) == []


class TestHelion:
    """Helion's own code on our backend."""

    def cache(self, key: Any, autotuner: Any = None) -> Any:
        """Return Helion's cache over the backend that the environment names, for a kernel that needs no GPU."""
        made = object.__new__(remote_cache.RemoteAutotuneCache)
        made.key = key
        made._backend = remote_cache._load_remote_backend()
        spec = SimpleNamespace(create_config_generation=lambda **_: SimpleNamespace(flatten=lambda config: [1, 2]))
        made.kernel = SimpleNamespace(config_spec=spec, backend_cache_key=lambda config: "compiled")
        made.autotuner = SimpleNamespace(settings=SimpleNamespace(autotune_search_acf=None))
        return made

    def key(self, source: str = "aa") -> Any:
        return base_cache.LooseAutotuneCacheKey((1, "x"), (), source, "NVIDIA H200", "13.0", "triton")

    def test_another_machine_has_what_one_has_put(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HELION_REMOTE_CACHE_BACKEND", "tuner.db.exchange.helion_cache.StoreCache")
        monkeypatch.setenv("TUNER_STORE", str(tmp_path / "store.db"))
        for module in (local_cache, remote_cache):
            monkeypatch.setattr(module, "bound_structural_policy", lambda *_: None, raising=False)
        config = helion.Config(block_sizes=[64, 32], loop_orders=[[1, 0]], num_warps=8, maxnreg=None)
        monkeypatch.setenv("HELION_CACHE_DIR", str(tmp_path / "one"))
        assert self.cache(self.key()).get() is None
        self.cache(self.key()).put(config)
        monkeypatch.setenv("HELION_CACHE_DIR", str(tmp_path / "other"))
        assert self.cache(self.key()).get() == config
        assert self.cache(self.key("another kernel")).get() is None
        # And to begin a search with, where the key is another.
        [listed] = remote_cache._load_remote_backend().list()
        parsed = local_cache.parse_cache_entry(listed)
        assert (parsed.config, parsed.hardware, parsed.flat_config) == (config, "NVIDIA H200", (1, 2))
        store = open_store(tmp_path / "store.db")
        assert len(store.winners(tunable=CACHE, state=None)) == 1
        store.close()
