from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lookup.proofs import GPU, OTHER, proof
from tuner.errors import SnapshotError
from tuner.lookup import Lock, Proof, Snapshot, read_snapshot, snapshot_of, write_snapshot
from tuner.lookup.snapshot import Made
from tuner.types import Config, Device, Workload, canonical_json

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | names
figures = st.floats(0, 1e9)


@st.composite
def winners(draw: st.DrawFn) -> Proof:
    return replace(
        proof(draw(st.integers(0, 2**40)), device=draw(st.sampled_from([GPU, OTHER]))),
        kernel=draw(st.sampled_from(["triton:matmul", "cpp:softmax"])),
        workload=Workload(draw(st.dictionaries(names, scalars, max_size=3))),
        config=Config(draw(st.dictionaries(names, scalars, max_size=3))),
        default=Config(draw(st.dictionaries(names, scalars, max_size=1))),
        speedup=draw(figures),
        interval=(draw(figures), draw(st.just(math.inf) | figures)),
    )


def canonical(one: Proof) -> Proof:
    """Return `one` with its names sorted, as it comes back; they are equal, and in one order by `repr`."""
    device = Device.from_json(json.loads(canonical_json(one.device.to_json())))
    workload, config, default = (dict(sorted(part.items())) for part in (one.workload, one.config, one.default))
    return replace(one, device=device, workload=Workload(workload), config=Config(config), default=Config(default))


def unpacked(snapshot: Snapshot) -> list[Proof]:
    return in_order([group.proof(row) for group in snapshot.groups for row in range(len(group))])


def in_order(proofs: list[Proof]) -> list[Proof]:
    return sorted(proofs, key=lambda one: (one.id, one.workload.json, one.config.json, one.default.json, repr(one)))


@given(st.lists(winners(), max_size=6), st.randoms())
def test_what_is_written_is_read_back_whatever_the_order(proofs: list[Proof], random: Any) -> None:
    path = Path(os.environ["XDG_DATA_HOME"]) / "snapshot.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    snapshot = snapshot_of(proofs)
    write_snapshot(path, snapshot)
    found = read_snapshot(path)
    assert len(found) == len(proofs)
    assert unpacked(found) == in_order([canonical(one) for one in proofs])
    random.shuffle(proofs)
    assert found.digest == snapshot.digest == snapshot_of(proofs).digest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "winners.json"
    write_snapshot(path, snapshot_of([proof(1), proof(2, M=32, N=4096, dtype="bf16")], Made.now(GPU)))
    return path


def test_the_digest_is_of_the_winners_and_not_of_when_or_where(path: Path) -> None:
    snapshot = read_snapshot(path)
    assert snapshot.made.environment_fingerprint == GPU.environment_fingerprint
    assert snapshot_of([proof(2, M=32, N=4096, dtype="bf16"), proof(1)]).digest == snapshot.digest
    assert snapshot_of([proof(1, 128), proof(2, M=32, N=4096, dtype="bf16")]).digest != snapshot.digest


def test_the_file_is_canonical_json_and_may_be_formatted_anew(path: Path) -> None:
    data = json.loads(path.read_text())
    assert path.read_text() == canonical_json(data) + "\n"
    path.write_text(json.dumps(data, indent=2))
    assert len(read_snapshot(path)) == 2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    text = path.read_bytes()
    path.write_bytes(text[: int(len(text) * share)])
    with pytest.raises(SnapshotError, match="is not whole, or not JSON") as caught:
        read_snapshot(path)
    assert str(path) in str(caught.value)


def resealed(path: Path, change: Any) -> None:
    """Change the content of a file and give it the digest that it then has, as someone hostile would."""
    data = json.loads(path.read_text())
    change(data["content"])
    path.write_text(json.dumps({**data, "digest": _sha(json.dumps(data["content"], **_COMPACT))}, **_COMPACT))


_COMPACT: dict[str, Any] = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False}


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def group(**values: Any) -> Any:
    return lambda content: content["groups"][0].update(values)


def column(at: int, *values: Any) -> Any:
    return lambda content: content["groups"][0]["columns"].__setitem__(at, list(values))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (group(device=7), "device=7 is not the number of one of 1"),
        (group(device=True), "device=True"),
        (group(environment=-1), "environment=-1"),
        (group(state="winning"), "state='winning' is none of"),
        (group(kernel=3), "kernel=3 is not a text"),
        (group(confidence=2), "confidence=2"),
        (group(fields=["dtype", "M", "N"]), "is not sorted"),
        (group(fields=["M", "M", "N"]), "names one twice"),
        (group(fields=["M", "N"]), "has not 12 columns"),
        (group(columns=[]), "columns"),
        (group(columns="x" * 12), "columns"),
        (group(default=[1]), "is not a config"),
        (group(default={"BLOCK": [1]}), "use a bool, int, float or str"),
        (group(extra=1), "and nothing else"),
        (column(0, 1), "not of one length"),
        (column(0, 1, [2]), "is not always a bool, int, float or str"),
        (column(0, 1, None), "is not always"),
        (column(0, 1, {"a": 1}), "is not always"),
        (column(0, 1, 2**63), "does not fit into 64 bits"),
        (column(0, 1, -(2**70)), "does not fit into 64 bits"),
        (column(5, 1, "2"), "speedup of triton:matmul has a value of another type"),
        (column(9, 1, 2.5), "id of triton:matmul has a value of another type"),
        (lambda content: content["devices"][0].update(count="2"), "count='2' of a device is not a int"),
        (lambda content: content["devices"][0].update(more=1), "and nothing else"),
        (lambda content: content["devices"][0].update(features={"x": []}), "use a bool, int, float or str"),
        (lambda content: content["environments"][0].update(triton=3), "texts only"),
        (lambda content: content.update(groups={}), "groups are not a list"),
        (lambda content: content.update(groups=[[]]), "groups are not a list of objects"),
        (lambda content: content.pop("devices"), "is not devices, environments and groups"),
    ],
)
def test_hostile_content_is_refused_with_file_and_reason(path: Path, change: Any, reason: str) -> None:
    resealed(path, change)
    with pytest.raises(SnapshotError) as caught:
        read_snapshot(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[]", "not a JSON object"),
        ("9" * 5000, "number that is too long"),
        ('{"schema": NaN}', "holds NaN"),
        ('{"schema": 1, "schema": 1}', "'schema' twice"),
        ('{"schema": 2}', "has schema 2, and this tuner reads schema 1"),
        ('{"schema": true}', "has schema True"),
        ("{}", "has schema None"),
        ('{"schema": 1}', "has the keys schema"),
    ],
)
def test_hostile_text_is_refused(path: Path, text: str, reason: str) -> None:
    path.write_text(text)
    with pytest.raises(SnapshotError, match=reason):
        read_snapshot(path)


def test_a_number_that_is_infinite_is_refused(path: Path) -> None:
    text = path.read_text().replace("1.25", "1e999", 1)
    data = text[len('{"content":') : text.rfind(',"digest":"')]
    path.write_text(text.replace(json.loads(text)["digest"], _sha(data)))
    with pytest.raises(SnapshotError, match="not finite"):
        read_snapshot(path)


def test_bytes_that_are_no_text_are_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(SnapshotError, match="not UTF-8"):
        read_snapshot(path)


def test_a_changed_winner_is_refused_by_the_digest(path: Path) -> None:
    path.write_text(path.read_text().replace("[64,64]", "[64,96]"))
    with pytest.raises(SnapshotError, match="it was changed"):
        read_snapshot(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="No such file"):
        read_snapshot(tmp_path / "none.json")
    with pytest.raises(SnapshotError, match="cannot be written"):
        write_snapshot(tmp_path / "none" / "winners.json", snapshot_of([]))


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SnapshotError, match="No space left"):
        write_snapshot(path, snapshot_of([]))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_snapshot_needs_the_standard_library_only(path: Path) -> None:
    """In a process where nothing else can be imported."""
    code = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names and root != "tuner":
            raise ImportError(f"{name} is not of the standard library")
sys.meta_path.insert(0, Refused())
from tuner.lookup import Lookup
lookup = Lookup.open(sys.argv[1], device=None)
choice = lookup.best("matmul", N=4096, M=16, dtype="bf16")
print(choice.source, choice.config["BLOCK"], lookup.digest)
print(*sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=root, check=True)
    answer, modules = done.stdout.splitlines()
    assert answer == f"exact 64 {read_snapshot(path).digest}"
    assert not set(modules.split()) - {"tuner", "__main__"} - _of_the_environment()


def _of_the_environment() -> set[str]:
    """Return what Python has loaded before any program: the hooks of editable installations."""
    code = "import sys; print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_a_lock_holds_the_winners_fast(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "tuner.lock"
    Lock.of(read_snapshot(path)).write(file)
    Lock.read(file).require(read_snapshot(path), "it")
    with pytest.raises(SnapshotError, match=r"it has 0 winners of digest .*, and the lock is on 2"):
        Lock.read(file).require(snapshot_of([]), "it")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema":1}', '{"schema":1,"digest":"x","winners":1}', "[" * 99999])
def test_what_is_no_lock_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tuner.lock"
    file.write_text(text)
    with pytest.raises(SnapshotError, match=r"tuner\.lock.*write it with `tuner lock`"):
        Lock.read(file)
