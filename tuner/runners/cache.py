"""A content-addressed cache of artifacts on disk, safe for concurrent processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

import platformdirs

from tuner.types import Artifact

__all__ = ["LIMIT_BYTES", "ArtifactCache", "default_cache_folder"]

LIMIT_BYTES = 4 << 30
"""What a cache may take on disk, unless told otherwise: some hundred thousand GPU kernels."""

# Of the limit, the part that is free after an eviction; and of what is free, the part after which it is looked again.
_FREE_PART = 8


def default_cache_folder() -> Path:
    """Return the user's cache folder for artifacts."""
    return Path(platformdirs.user_cache_dir("tuner")) / "artifacts"


class ArtifactCache:
    """Artifacts by key, one file each: a line of JSON, then the payload.

    A file appears whole or not at all, and one whose payload does not match its digest counts as absent. Where all
    files together exceed the limit, those that were not used for longest go, until an eighth of it is free.

    Args:
        folder: Where they lie.
        limit_bytes: How much they may take.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder
        self._limit = limit_bytes
        # What is known of the size: nothing, until something is put. Others put, too, so that it is looked up again.
        self._room = 0

    def get(self, key: str) -> Artifact | None:
        """Return the artifact, or None where it is absent or damaged."""
        try:
            path = self._path(key)
            header, payload = path.read_bytes().split(b"\n", 1)
            data = json.loads(header)
            if data["sha256"] != hashlib.sha256(payload).hexdigest():
                return None
            os.utime(path)
            return Artifact(key, payload, data["metadata"])
        except (OSError, ValueError, KeyError):
            return None

    def put(self, artifact: Artifact) -> None:
        """Keep `artifact`.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        path = self._path(artifact.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(artifact.payload).hexdigest()
        header = json.dumps({"sha256": digest, "metadata": dict(artifact.metadata)})
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(header.encode() + b"\n" + artifact.payload)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        self._room -= len(artifact.payload)
        if self._room < 0:
            self._evict(path)

    def _evict(self, newest: Path) -> None:
        """Remove the files that were not used for longest, where there are too many bytes; `newest` stays."""
        files = []
        for path in self.folder.glob("??/*"):
            # Another process may remove it meanwhile.
            with contextlib.suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        if total > self._limit:
            for _, size, path in sorted(files):
                if total <= self._limit - self._limit // _FREE_PART:
                    break
                if path != newest:
                    with contextlib.suppress(OSError):
                        path.unlink()
                    total -= size
        self._room = max(0, self._limit - total) // _FREE_PART

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key
