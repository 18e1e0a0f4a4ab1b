"""A content-addressed cache of artifacts on disk, safe for concurrent processes."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

import platformdirs

from tuner.types import Artifact

__all__ = ["ArtifactCache", "default_cache_folder"]


def default_cache_folder() -> Path:
    """Return the user's cache folder for artifacts."""
    return Path(platformdirs.user_cache_dir("tuner")) / "artifacts"


class ArtifactCache:
    """Artifacts by key, one file each: a line of JSON, then the payload.

    A file appears whole or not at all, and one whose payload does not match its digest counts as absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> Artifact | None:
        """Return the artifact, or None where it is absent or damaged."""
        try:
            header, payload = self._path(key).read_bytes().split(b"\n", 1)
            data = json.loads(header)
            if data["sha256"] != hashlib.sha256(payload).hexdigest():
                return None
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

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key
