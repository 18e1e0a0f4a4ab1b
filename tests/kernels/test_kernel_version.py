from __future__ import annotations

from pathlib import Path

import pytest

from tuner.devices import detect
from tuner.kernels import CppKernel
from tuner.tunable import load

SPACE_OF = "examples/scaled_add.py:KERNEL"


@pytest.fixture
def kernel(tmp_path: Path) -> CppKernel:
    example = load(SPACE_OF)
    assert isinstance(example, CppKernel)
    (tmp_path / "deep.hpp").write_text("// nothing\n")
    (tmp_path / "mine.hpp").write_text('#pragma once\n  #  include "deep.hpp"\n')
    (tmp_path / "mine.cpp").write_text('#include "mine.hpp"\n' + example.source.read_text())
    return CppKernel(example.operator, tmp_path / "mine.cpp", example._space)


@pytest.mark.parametrize("name", ["mine.cpp", "mine.hpp", "deep.hpp"])
def test_whatever_the_source_includes_is_part_of_the_kernel(kernel: CppKernel, tmp_path: Path, name: str) -> None:
    workload, device = kernel.workload({"N": 1024}), detect("cpu")
    config = kernel.default(workload, device)
    before = kernel.version, kernel.build_key(config, workload, device)
    file = tmp_path / name
    file.write_text(file.read_text() + "// changed\n")
    after = kernel.version, kernel.build_key(config, workload, device)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_file_that_is_not_included_is_not(kernel: CppKernel, tmp_path: Path) -> None:
    before = kernel.version
    (tmp_path / "notes.hpp").write_text("// new\n")
    assert kernel.version == before
