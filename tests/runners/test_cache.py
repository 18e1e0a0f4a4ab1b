from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tuner.runners.cache import ArtifactCache, default_cache_folder
from tuner.types import Artifact

ARTIFACT = Artifact("ab12", b"\x7fELF\n\n\0" * 1000, {"code_bytes": 7000, "entry": "kernel"})


def test_what_is_put_is_got(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path / "a/b")
    assert cache.get("ab12") is None
    cache.put(ARTIFACT)
    assert cache.get("ab12") == ARTIFACT


@pytest.mark.parametrize("damage", [b"", b"no json\n", b"{}\n", b'{"sha256": "0", "metadata": {}}\npayload', b"\xff"])
def test_a_damaged_entry_counts_as_absent_and_is_replaced(tmp_path: Path, damage: bytes) -> None:
    cache = ArtifactCache(tmp_path)
    cache.put(ARTIFACT)
    (tmp_path / "ab" / "ab12").write_bytes(damage)
    assert cache.get("ab12") is None
    cache.put(ARTIFACT)
    assert cache.get("ab12") == ARTIFACT


def test_a_truncated_entry_counts_as_absent(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path)
    cache.put(ARTIFACT)
    path = tmp_path / "ab" / "ab12"
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.get("ab12") is None


def test_many_may_put_the_same_at_once(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path)

    def put_and_get(_: int) -> Artifact | None:
        cache.put(ARTIFACT)
        return cache.get("ab12")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(put_and_get, range(64)))
    assert found == [ARTIFACT] * 64
    assert [path.name for path in (tmp_path / "ab").iterdir()] == ["ab12"]


def test_a_folder_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "ab").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="ab"):
        ArtifactCache(tmp_path).put(ARTIFACT)


def test_the_default_is_the_user_s_cache() -> None:
    assert default_cache_folder().name == "artifacts"


def test_the_artifacts_that_were_not_used_for_longest_make_room(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, limit_bytes=80_000)
    for number in range(30):
        key = f"{number:04x}"
        cache.put(Artifact(key, bytes(5000)))
        os.utime(tmp_path / key[:2] / key, (number, number))
        if number:
            # It is used all the time.
            assert cache.get("0000") is not None
    kept = {path.name: path.stat().st_size for path in tmp_path.glob("??/*")}
    assert sum(kept.values()) <= 90_000
    assert "0000" in kept
    assert "001d" in kept
    assert "0001" not in kept
