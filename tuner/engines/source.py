"""What identifies sources: the code of ours that decides what is measured, and files that workloads name."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tuner.errors import WorkloadError

__all__ = ["file_digest", "source_version"]


def file_digest(path: Path) -> str:
    """Return sixteen hexadecimal digits that identify a file's content.

    Raises:
        WorkloadError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise WorkloadError(f"cannot read {path}: {error.strerror}") from error


def source_version(*names: str) -> str:
    """Return the hash of these modules of this folder.

    Example:
        >>> source_version("traffic", "client") == source_version("client", "traffic") != source_version("client")
        True
    """
    content = hashlib.sha256()
    for name in sorted(names):
        content.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return content.hexdigest()[:16]
