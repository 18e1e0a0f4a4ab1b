"""Files that others read while they are written: they find the old one or the new one, whole, and never a part."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["replacing"]

# A temporary file's own mode would keep others out.
_MODE = 0o644


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """Give a new file, to be written, that takes the place of `path` at the end; nothing of one that fails is left.

    Args:
        path: Where it is to be; its folder is there.
        durable: Whether its content is on the disk before it takes the place, so that a power cut leaves no empty file.

    Raises:
        OSError: the folder is not there or not writable, or the disk is full.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "a.txt")) as file:
        ...         _ = file.write(b"whole")
        ...     Path(folder, "a.txt").read_text(), os.listdir(folder)
        ('whole', ['a.txt'])
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(temporary, _MODE)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
