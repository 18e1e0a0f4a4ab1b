"""Compiled functions as data: what a device needs to launch them, packed into an artifact's payload."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tuner.errors import TunerError
from tuner.types import Artifact, Scalar

__all__ = ["FORMAT", "Binary", "Resources", "pack", "unpack"]

FORMAT = 2
"""Version of what is packed, and of how toolchains compile: part of every key, so that all is built anew after it."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one block of a compiled function takes.

    Attributes:
        threads: Of a block.
        registers: Of a thread.
        shared_bytes: Of a block, static and dynamic.
        spill_bytes: Stored to memory for want of registers, of a thread.
        stack_bytes: Of a thread.
        barriers: Named barriers of a block.
    """

    threads: int
    registers: int
    shared_bytes: int
    spill_bytes: int = 0
    stack_bytes: int = 0
    barriers: int = 1


@dataclass(frozen=True, slots=True)
class Binary:
    """A compiled function.

    Attributes:
        entry: Its name in the image.
        target: `cuda:90`, `hip:gfx942`.
        image: The cubin, or hsaco.
        parameters: Names and types of what it takes, in order; what the compiler specialised away is not among them.
        resources: What one block takes.
        dynamic_bytes: The part of its shared memory that a launch has to ask for.
        scratch_bytes: Memory that each block is given besides, by a pointer after the parameters.
        scratch_pointers: How many such pointers follow the parameters.
        log: What the assembler said.
        tools: Versions of the tools that made it.
    """

    entry: str
    target: str
    image: bytes
    parameters: tuple[tuple[str, str], ...]
    resources: Resources
    dynamic_bytes: int = 0
    scratch_bytes: int = 0
    scratch_pointers: int = 0
    log: str = ""
    tools: str = ""


def pack(key: str, binaries: Sequence[Binary]) -> Artifact:
    r"""Return the artifact of a program: a line of JSON, then the images; metadata tell of the hungriest function.

    Example:
        >>> binary = Binary("add", "cuda:90", b"\x7fELF", (("x", "*fp32"),), Resources(128, 24, 0))
        >>> unpack(pack("ab12", [binary])) == [binary]
        True
    """
    heads = [{**asdict(one), "image": len(one.image)} for one in binaries]
    payload = json.dumps(heads).encode() + b"\n" + b"".join(one.image for one in binaries)
    used = [one.resources for one in binaries]
    metadata: dict[str, Scalar] = {
        "registers": max(one.registers for one in used),
        "spill_bytes": max(one.spill_bytes for one in used),
        "shared_bytes": max(one.shared_bytes for one in used),
        "threads": max(one.threads for one in used),
        "code_bytes": sum(len(one.image) for one in binaries),
    }
    return Artifact(key, payload, metadata)


def unpack(artifact: Artifact) -> list[Binary]:
    """Return the compiled functions of a program.

    Raises:
        TunerError: the payload is none of ours.
    """
    try:
        head, images = artifact.payload.split(b"\n", 1)
        binaries, start = [], 0
        for data in json.loads(head):
            end = start + data["image"]
            binaries.append(_binary(data, images[start:end]))
            start = end
    except (ValueError, KeyError, TypeError) as error:
        raise TunerError(f"artifact {artifact.key} holds no GPU program: {error}") from error
    return binaries


def _binary(data: dict[str, Any], image: bytes) -> Binary:
    parameters = tuple((name, kind) for name, kind in data["parameters"])
    return Binary(**{**data, "image": image, "parameters": parameters, "resources": Resources(**data["resources"])})
