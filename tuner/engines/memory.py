"""How much memory there is for one more engine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["available_memory_bytes"]


def available_memory_bytes(groups: Iterable[Path] = (Path("/sys/fs/cgroup"),)) -> int:
    """Return how much memory may still be used here, by the system's account and by those of control groups.

    Args:
        groups: Folders of the control groups that bound this process.
    """
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = 1024 * int(line.split()[1])
    for folder in groups:
        with contextlib.suppress(OSError, ValueError, KeyError):
            most, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
            # Files that were read count as used, and give way when memory is wanted.
            kept = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            available = min(available, max(0, most - used + int(kept["inactive_file"])))
    return available
