from __future__ import annotations

import subprocess
import sys

import pytest

import tuner

HEAVY = {
    "alembic",
    "gymnasium",
    "numpy",
    "optuna",
    "pandas",
    "platformdirs",
    "ray",
    "rich",
    "scipy",
    "sqlalchemy",
    "stable_baselines3",
    "torch",
    "triton",
    "typer",
    "yaml",
}


def loaded_by(code: str) -> set[str]:
    command = f"{code}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_tuner_loads_nothing_heavy() -> None:
    assert not loaded_by("import tuner") & HEAVY


def test_the_types_load_nothing_heavy() -> None:
    assert not loaded_by("import tuner.types, tuner.errors") & HEAVY


def test_lookups_and_the_decorator_load_nothing_heavy() -> None:
    assert not loaded_by("import tuner.lookup, tuner.decorator") & HEAVY


def test_a_worker_loads_no_torch_and_no_search() -> None:
    heavy = HEAVY - {"numpy", "platformdirs"}
    assert not loaded_by("import tuner.runners.worker, tuner.kernels.add_rmsnorm.cpp") & heavy


def test_a_builder_of_gpu_kernels_loads_no_torch_and_no_search() -> None:
    found = loaded_by("import tuner.runners.worker, tuner.kernels.matmul.triton, tuner.kernels.softmax.cuda")
    assert not found & (HEAVY - {"numpy", "platformdirs"})
    assert "cuda" not in found


@pytest.mark.parametrize("name", tuner.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(tuner, name).__name__ == name


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Tuner'"):
        tuner.Tuner  # noqa: B018


def test_dir_lists_the_public_names() -> None:
    assert set(tuner.__all__) <= set(dir(tuner))
