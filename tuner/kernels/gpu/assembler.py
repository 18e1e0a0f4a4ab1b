"""What NVIDIA's assembler says of a function when it is asked to be verbose."""

from __future__ import annotations

import re

from tuner.errors import BuildError
from tuner.kernels.gpu.binary import Resources

__all__ = ["assembled", "settled"]

_REGISTERS = re.compile(r"Used (\d+) registers")
_BARRIERS = re.compile(r"used (\d+) barriers")
_STACK = re.compile(r"(\d+) bytes stack frame")
_SPILLS = re.compile(r"(\d+) bytes spill stores")
_STATIC = re.compile(r"(\d+) bytes smem")


def assembled(log: str, threads: int, dynamic_bytes: int) -> Resources:
    r"""Return what a block of the last function of `log` takes.

    Args:
        log: What the assembler said.
        threads: Of a block.
        dynamic_bytes: Shared memory that a launch asks for, beside the static memory that the assembler tells.

    Raises:
        BuildError: it has not said how many registers a thread takes.

    Example:
        >>> assembled("0 bytes stack frame, 8 bytes spill stores\nUsed 40 registers, used 1 barriers", 128, 1024)
        Resources(threads=128, registers=40, shared_bytes=1024, spill_bytes=8, stack_bytes=0, barriers=1)
    """
    if not _REGISTERS.search(log):
        raise BuildError("the assembler has not said how many registers a thread takes")

    def told(pattern: re.Pattern[str]) -> int:
        found = pattern.findall(log)
        return int(found[-1]) if found else 0

    return Resources(
        threads=threads,
        registers=told(_REGISTERS),
        shared_bytes=dynamic_bytes + told(_STATIC),
        spill_bytes=told(_SPILLS),
        stack_bytes=told(_STACK),
        barriers=max(1, told(_BARRIERS)),
    )


def settled(log: str) -> str:
    r"""Return what of a log is the same each time: without how long the assembler took.

    Example:
        >>> settled("Used 40 registers\nCompile time = 20.7 ms\n")
        'Used 40 registers'
    """
    lines = (line.strip(" \0") for line in log.splitlines())
    return "\n".join(line for line in lines if line and "Compile time" not in line)
