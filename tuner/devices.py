"""What this machine has to tune for, as `Device` values."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tuner.errors import TunerError
from tuner.types import Device, Scalar

__all__ = ["available_cores", "detect", "detect_cpu"]

_CPUINFO = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")

# Bytes of one vector register and how many there are, by the widest instruction set that the CPU reports.
_VECTORS: tuple[tuple[str, int, int], ...] = (("avx512f", 64, 32), ("avx2", 32, 16), ("asimd", 16, 32))
_SMALLEST_VECTOR = (16, 16)

# What some CPUs have beside vectors of numbers: the flags that tell it, sets of which any one will do.
_UNITS: dict[str, tuple[frozenset[str], ...]] = {
    "int8_dot": (frozenset({"avx512_vnni"}), frozenset({"avx_vnni"}), frozenset({"asimddp"})),
    "bf16_dot": (frozenset({"avx512_bf16"}), frozenset({"bf16"})),
    "amx": (frozenset({"amx_tile", "amx_int8", "amx_bf16"}),),
}

_SIZE_UNITS = {"K": 10, "M": 20}

# Where the system does not tell, sizes that no current server core falls short of.
_CACHE_FALLBACKS: dict[str, int] = {"l1d_bytes": 32 << 10, "l2_bytes": 512 << 10, "l3_bytes": 8 << 20}


def detect(name: str = "cpu") -> Device:
    """Return a device of this machine.

    Args:
        name: `cpu` for one core, `cpu:4` for four.

    Raises:
        TunerError: there is no such device; the message says what there is.
    """
    kind, colon, count = name.partition(":")
    if kind != "cpu":
        raise TunerError(f"no device of kind {kind!r} can be measured on this machine; available: cpu")
    if not colon:
        return detect_cpu()
    # int() also takes signs, spaces and underscores.
    if not (count.isascii() and count.isdigit() and int(count)):
        raise TunerError(f"{name!r} is not a device; write cpu for one core, or cpu:N for N cores")
    return detect_cpu(int(count))


def detect_cpu(count: int = 1) -> Device:
    """Return some cores of this machine's CPU as a device.

    Its features are what kernels' search spaces read: `l1d_bytes`, `l2_bytes`, `l3_bytes`, `vector_bytes` and
    `vector_registers`; and, true where the CPU has them, `int8_dot` and `bf16_dot` (products of neighbours, summed in
    one instruction) and `amx` (products of tiles).

    Args:
        count: How many cores.

    Raises:
        TunerError: this process may not use so many.
    """
    if count > (available := len(available_cores())):
        cores = "one core" if available == 1 else f"{available} cores"
        raise TunerError(f"cpu:{count} is not there: this process may use {cores}")
    fields = _cpuinfo()
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    vector_bytes, vector_registers = next(
        ((size, count) for flag, size, count in _VECTORS if flag in flags), _SMALLEST_VECTOR
    )
    features: dict[str, Scalar] = {
        **_caches(),
        "vector_bytes": vector_bytes,
        "vector_registers": vector_registers,
        **{name: True for name, sets in _UNITS.items() if any(needed <= flags for needed in sets)},
    }
    return Device(
        kind="cpu",
        name=_name(fields),
        arch=platform.machine(),
        count=count,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        features=features,
        environment={
            "system": f"{platform.system()} {platform.release()}",
            "tuner": _own_version(),
        },
    )


def available_cores() -> tuple[int, ...]:
    """Return the numbers of the cores that this process may use, in order."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _cpuinfo() -> dict[str, str]:
    if not _CPUINFO.exists():
        return {}
    first = _CPUINFO.read_text().split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _name(fields: dict[str, str]) -> str:
    """Return the maker's name of the CPU; ARM tells numbers only, which differ where the cores do."""
    if name := fields.get("model name"):
        return name
    numbers = [fields[key] for key in ("CPU implementer", "CPU part", "CPU variant") if key in fields]
    return " ".join([platform.processor() or platform.machine(), *numbers])


def _caches() -> dict[str, int]:
    sizes = dict(_CACHE_FALLBACKS)
    for index in sorted(_CACHES.glob("index*")):
        try:
            kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
        except OSError:
            # Some virtual machines list caches without their sizes.
            continue
        name = "l1d_bytes" if (level, kind) == ("1", "Data") else f"l{level}_bytes"
        if name in sizes and kind != "Instruction" and size[-1:] in _SIZE_UNITS:
            sizes[name] = int(size[:-1]) << _SIZE_UNITS[size[-1]]
    return sizes


def _own_version() -> str:
    try:
        return version("rltuner")
    except PackageNotFoundError:
        return "not installed"
