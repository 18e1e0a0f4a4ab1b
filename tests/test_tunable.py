from __future__ import annotations

from pathlib import Path

import pytest

from tuner.devices import detect
from tuner.errors import TunableError
from tuner.testing.toys import PARABOLA
from tuner.tunable import installed, load, make_task, resolve
from tuner.types import Device, Workload


def test_installed_kernels_are_found_without_importing_them() -> None:
    assert {"add_rmsnorm", "decode_attention", "int8_gemv"} <= set(installed())
    assert installed()["add_rmsnorm"] == ["cpp", "triton", "cuda"]


def test_a_bare_name_means_the_device_s_default_toolchain() -> None:
    assert resolve("add_rmsnorm", "cpu") == "cpp:add_rmsnorm"
    assert resolve("cpp:add_rmsnorm", "cpu") == "cpp:add_rmsnorm"
    assert resolve("add_rmsnorm", "cuda") == "triton:add_rmsnorm"


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(TunableError, match=r"unknown kernel 'add_rms'; known: .*add_rmsnorm"):
        resolve("add_rms", "cpu")


def test_a_kernel_without_a_toolchain_for_the_device() -> None:
    with pytest.raises(TunableError, match="no toolchain for cuda; it has: cpp"):
        resolve("int8_gemv", "cuda")


def test_an_installed_kernel_loads() -> None:
    assert load("cpp:add_rmsnorm").name == "add_rmsnorm"


def test_a_file_is_loaded_once_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("from tuner.testing.toys import Parabola\nKERNEL = Parabola()\n")
    monkeypatch.chdir(tmp_path)
    reference = resolve("mine.py:KERNEL", "cpu")
    assert reference == f"{tmp_path}/mine.py:KERNEL"
    assert load(reference) is load(reference)


def test_a_file_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_the_kernel.py").write_text("from tuner.testing.toys import Parabola\n")
    (tmp_path / "mine.py").write_text("from beside_the_kernel import Parabola\nKERNEL = Parabola()\n")
    assert load(f"{tmp_path}/mine.py:KERNEL").name == "parabola"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("KERNEL = 1 / 0\n", r"ZeroDivisionError: division by zero \(.*mine.py, line 1\)"),
        ("def broken(:\n", r"SyntaxError: .*mine.py, line 1"),
        ("import no_such_module\n", "ModuleNotFoundError"),
        ("OTHER = 1\n", "no attribute 'KERNEL'"),
        ("KERNEL = 42\n", "is a int, not a tunable; it lacks build, "),
    ],
)
def test_a_file_with_an_error_says_where(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(TunableError, match=message):
        load(f"{tmp_path}/mine.py:KERNEL")


@pytest.mark.parametrize("reference", ["nothing", ":x", "x:", "no_such_module:x", "/no/such/file.py:x"])
def test_a_bad_reference_is_refused(reference: str) -> None:
    with pytest.raises(TunableError):
        load(reference)


def test_a_task_carries_the_versions_of_the_tools() -> None:
    kernel = load("cpp:add_rmsnorm")
    task = make_task("cpp:add_rmsnorm", kernel, kernel.workload({"M": 1, "N": 64}), detect("cpu"))
    assert "compiler" in task.device.environment
    assert task.version == kernel.version


def test_a_task_needs_a_device_that_the_tunable_runs_on() -> None:
    with pytest.raises(TunableError, match="does not run on cuda; it runs on: cpu"):
        make_task("a:b", PARABOLA, Workload(N=1), Device("cuda", "H100", "sm_90", 1, 0))
