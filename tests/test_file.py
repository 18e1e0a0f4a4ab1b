from __future__ import annotations

import os
from pathlib import Path

import pytest

from tuner.file import replacing


def test_what_fails_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"new")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["kept.json"])


@pytest.mark.parametrize("durable", [False, True])
def test_others_may_read_it(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "kept.json"
    with replacing(path, durable=durable) as file:
        file.write(b"new")
        assert not path.exists()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o644)
