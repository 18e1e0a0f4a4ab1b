from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.db.exchange import Request, Search, Selection
from tuner.db.exchange.t1 import T1Files, read_space
from tuner.db.exchange.values import MOST_VALUES, parse_values
from tuner.errors import ExchangeError
from tuner.gpus import target_device
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.tunable import load
from tuner.types import Config, Device, Task, Workload

FORMAT = T1Files()
TASK = Task("cuda:toy", "1", Workload(M=64, N=32), Device("cuda", "NVIDIA H200", "sm_90", 1, 0))
# As Kernel Tuner's examples have them.
THEIRS = {
    "ConfigurationSpace": {
        "TuningParameters": [
            {"Name": "block_size_x", "Type": "int", "Values": "[16*i for i in range(1, 5)]"},
            {"Name": "block_size_y", "Type": "int", "Values": "[2**i for i in range(3)]"},
            {"Name": "use_padding", "Type": "int", "Values": "list(range(2))"},
            {"Name": "method", "Type": "string", "Values": "['a', 'b']"},
        ],
        "Conditions": [
            {"Parameters": ["block_size_x", "block_size_y"], "Expression": "block_size_x*block_size_y >= 64"},
            {"Parameters": ["use_padding"], "Expression": "use_padding == 0 or (block_size_x % 32 != 0)"},
        ],
    },
    "KernelSpecification": {
        "Language": "CUDA",
        "KernelName": "toy",
        "KernelFile": "toy.cu",
        "GlobalSize": {"X": "64"},
        "LocalSize": {"X": "block_size_x"},
    },
}


def put(folder: Path, data: Any) -> Path:
    path = folder / "space.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def changed(where: str, value: Any) -> dict[str, Any]:
    """Return the file with one field changed: `TuningParameters.0.Values`."""
    data: dict[str, Any] = json.loads(json.dumps(THEIRS))
    node: Any = data["ConfigurationSpace"]
    *path, last = where.split(".")
    for name in path:
        node = node[int(name) if name.isdigit() else name]
    node[int(last) if last.isdigit() else last] = value
    return data


def test_a_space_of_others_is_read(tmp_path: Path) -> None:
    space = read_space(put(tmp_path, THEIRS))
    assert [parameter.values for parameter in space.parameters] == [
        (16, 32, 48, 64),
        (1, 2, 4),
        (0, 1),
        ("a", "b"),
    ]
    # The first values together are not valid; the first valid config is the default.
    assert space.default == Config(block_size_x=16, block_size_y=4, use_padding=0, method="a")
    valid = [
        (x, y, p)
        for x in (16, 32, 48, 64)
        for y in (1, 2, 4)
        for p in (0, 1)
        if x * y >= 64 and (p == 0 or x % 32 != 0)
    ]
    assert space.size == 2 * len(valid)
    reading = FORMAT.read(put(tmp_path, THEIRS), Request())
    assert reading.findings == ()
    assert "nothing is kept" in reading.notes[0]


scalars = (
    st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=5, unique=True)
    | st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4, unique=True)
    | st.permutations([True, False])
    | st.lists(st.text(max_size=6), min_size=1, max_size=4, unique=True)
)


@settings(max_examples=60, deadline=None)
@given(
    values=st.dictionaries(st.from_regex(r"[A-Z]{1,4}", fullmatch=True), scalars, min_size=2, max_size=4),
    data=st.data(),
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], data: st.DataObject
) -> None:
    defaults = {name: data.draw(st.sampled_from(listed)) for name, listed in values.items()}
    parameters = [Parameter(name, tuple(listed), defaults[name]) for name, listed in values.items()]
    one, other = parameters[:2]
    rule = Constraint.parse(f"{one.name} == {one.default!r} or {other.name} == {other.default!r}", "they go together")
    space = SearchSpace(parameters, [rule])
    path = tmp_path_factory.mktemp("t1") / "space.json"
    assert FORMAT.write(path, Selection(search=Search(TASK, space))).files == (path,)
    again = read_space(path)
    assert again.fingerprint == space.fingerprint
    assert again.default == space.default
    assert again.constraints[0].reason == "they go together"


def test_a_parameter_with_a_condition_keeps_its_meaning(tmp_path: Path) -> None:
    space = SearchSpace(
        [Parameter("USE", (False, True)), Parameter("SPLIT", (1, 2, 4), when=Constraint.parse("USE"))],
    )
    FORMAT.write(tmp_path / "s.json", Selection(search=Search(TASK, space)))
    again = read_space(tmp_path / "s.json")
    assert set(again.iterate()) == set(space.iterate())


def test_kernels_of_ours_are_written(tmp_path: Path) -> None:
    kernel = load("triton:fused_moe")
    workload = kernel.workloads["mixtral-8x7b-up-64"]
    space = kernel.search_space(workload, target_device("h200"))
    task = Task("triton:fused_moe", kernel.version, workload, target_device("h200"))
    FORMAT.write(tmp_path / "s.json", Selection(search=Search(task, space)))
    again = read_space(tmp_path / "s.json")
    assert again.size == space.size
    assert again.fingerprint == space.fingerprint


def test_what_t1_has_no_words_for_is_not_written(tmp_path: Path) -> None:
    function = SearchSpace([Parameter("A", (1, 2))], [Constraint(lambda A: A < 3, "small")])
    listed = SearchSpace.from_configs([Parameter("A", (1, 2))], [Config(A=1)])
    mixed = SearchSpace([Parameter("A", (1, "b"))])
    for space, message in ((function, "is a Python function"), (listed, "list of configs"), (mixed, "several types")):
        with pytest.raises(ExchangeError, match=message):
            FORMAT.write(tmp_path / "s.json", Selection(search=Search(TASK, space)))
    with pytest.raises(ExchangeError, match="say whose"):
        FORMAT.write(tmp_path / "s.json", Selection())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "is not JSON"),
        ("[1]", "holds a JSON list"),
        ({}, "field 'ConfigurationSpace' is missing"),
        ({"ConfigurationSpace": {}}, "field 'ConfigurationSpace.TuningParameters' is missing"),
        (changed("Conditions", 1), "field 'ConfigurationSpace.Conditions' is not a list"),
        (changed("TuningParameters.1", 7), r"TuningParameters\[1\]' is not an object"),
        (changed("TuningParameters.0.Name", None), r"TuningParameters\[0\].Name' is missing"),
        (changed("TuningParameters.0.Type", "double"), r"TuningParameters\[0\].Type' is 'double'"),
        (changed("TuningParameters.0.Values", "[1, 'a']"), r"Values' of 'block_size_x': 'a' is no int"),
        (changed("TuningParameters.0.Values", "[]"), "has no values"),
        (changed("TuningParameters.0.Values", "[1, 1]"), "the value 1 twice"),
        (changed("TuningParameters.0.Values", "open('/etc/passwd')"), "is not a list of values"),
        (changed("TuningParameters.1.Name", "block_size_x"), "two parameters are called"),
        (changed("Conditions.0.Expression", "__import__('os').remove('x')"), r"Conditions\[0\].Expression'"),
        (changed("Conditions.0.Expression", "block_size_z > 1"), "reads 'block_size_z'"),
        (changed("Conditions.0.Expression", "block_size_x > 1000"), "no config is valid"),
    ],
)
def test_a_bad_file_is_one_error_that_names_it(tmp_path: Path, data: Any, message: str) -> None:
    path = put(tmp_path, data)
    with pytest.raises(ExchangeError, match=message) as raised:
        FORMAT.read(path, Request())
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[1, -2, 3.5]", (1, -2, 3.5)),
        ("('a', \"b\")", ("a", "b")),
        ("range(2, 9, 3)", (2, 5, 8)),
        ("list(range(3))", (0, 1, 2)),
        ("[True, False]", (True, False)),
        ("[8 * x + 1 for x in [1, 2]]", (9, 17)),
        ("[x for x in range(2)]", (0, 1)),
        ("[2**i // 3 for i in range(4, 6)]", (5, 10)),
    ],
)
def test_values_are_parsed(text: str, values: tuple[Any, ...]) -> None:
    assert parse_values(text) == values


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "[",
        "[[1]]",
        "[None]",
        "[x for x in range(3) if x]",
        "[y for x in range(3)]",
        "[x.real for x in range(3)]",
        "[9**9**9]",
        "[2**65]",
        "[1 / 0]",
        "['a' * 3]",
        "[1e999]",
        f"range({MOST_VALUES + 1})",
        "range(1.5)",
        "range()",
        "[*range(3)]",
        "sorted([1])",
        "[(" * 200 + "1" + ")]" * 200,
        "[" + "-" * 500 + "1]",
        "[1j]",
    ],
)
def test_what_is_no_list_of_values_is_refused(text: str) -> None:
    with pytest.raises(ExchangeError, match="is not a list of values"):
        parse_values(text)


@pytest.mark.filterwarnings("ignore:None of the tunable parameters specify")
class TestKernelTuner:
    """Kernel Tuner's own code on files of ours."""

    def test_its_schema_takes_them(self, tmp_path: Path) -> None:
        file_utils = pytest.importorskip("kernel_tuner.file_utils", reason="pip install 'rltuner[bench]'")
        space = SearchSpace(
            [Parameter("A", (1, 2, 4)), Parameter("B", ("x", "y"))], [Constraint.parse("A < 4 or B == 'y'")]
        )
        path = tmp_path / "space.json"
        FORMAT.write(path, Selection(search=Search(TASK, space)))
        data = file_utils.get_input_file(path)
        assert data["KernelSpecification"]["Device"]["Name"] == "NVIDIA H200"

    @pytest.mark.slow
    def test_it_tunes_our_space_on_our_record(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        interface = pytest.importorskip("kernel_tuner.interface", reason="pip install 'rltuner[bench]'")
        from tests.db.exchange.test_t4 import trials_of
        from tuner.db.exchange.cache_file import KernelTunerFiles

        monkeypatch.chdir(tmp_path)
        space = SearchSpace(
            [Parameter("A", (1, 2, 4)), Parameter("B", ("x", "y"))], [Constraint.parse("A < 4 or B == 'y'", "fits")]
        )
        trials = trials_of(space, np.random.default_rng(1))
        space_file, cache_file = tmp_path / "space.json", tmp_path / "cache.json"
        FORMAT.write(space_file, Selection(search=Search(TASK, space)))
        KernelTunerFiles().write(cache_file, Selection(search=Search(TASK, space, trials)))
        (tmp_path / "toy.cu").write_text("__global__ void toy() {}")
        _, found = interface.tune_kernel_T1(
            space_file, cache_filepath=str(cache_file), simulation_mode=True, strategy="brute_force"
        )
        configs = [Config(result["configuration"]) for result in found["results"]]
        assert sorted(config.json for config in configs) == sorted(config.json for config in space.iterate())
