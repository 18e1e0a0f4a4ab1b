"""What this machine has to tune for, as `Device` values."""

from __future__ import annotations

import importlib
import os
import platform
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuner.errors import TunerError
from tuner.gpus import GPUS, Limits
from tuner.types import Device, Scalar

__all__ = ["available_cores", "detect", "detect_cpu", "detect_gpu"]

_GPU_KINDS = ("cuda", "hip")
# The most that an instruction of NVIDIA's can name.
_NVIDIA_THREAD_REGISTERS = 255
# The first major compute capability with a limit on the named barriers of a multiprocessor.
_HOPPER = 9
_MOST_BARRIERS = 16 * 32

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
        name: `cpu` for one core, `cpu:4` for four; `cuda` for a GPU.

    Raises:
        TunerError: there is no such device; the message says what there is.
    """
    kind, colon, count = name.partition(":")
    if kind in _GPU_KINDS:
        if count not in ("", "1"):
            raise TunerError(f"{name!r} is not a device: a trial runs on one GPU; write {kind}")
        return detect_gpu(kind)
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


def detect_gpu(kind: str = "cuda") -> Device:
    """Return the first GPU that this process may use, with its own limits.

    NVIDIA's driver tells them, except for the number of named barriers, which follows from its blocks and its
    architecture. Of AMD's GPUs torch tells what it knows, and the table of GPUs the rest.

    Args:
        kind: `cuda`, or `hip`.

    Raises:
        TunerError: there is none, or its driver or the package that asks it is missing.
    """
    if kind == "hip":
        return _hip_device()
    try:
        driver = importlib.import_module("cuda.bindings.driver")
        return _cuda_device(driver)
    except ImportError as error:
        raise TunerError(
            f"no cuda device: {error}; pip install 'rltuner[cuda]' on a machine that has one, or compile for one "
            "without it: --target cuda:90 --compile-only"
        ) from error
    except RuntimeError as error:
        # The package tells a missing driver this way.
        raise TunerError(
            f"no cuda device on this machine ({error}); compile for one without it: --target cuda:90 --compile-only"
        ) from error


def _hip_device() -> Device:
    """Return the first GPU of AMD's as torch tells it.

    Raises:
        TunerError: torch is not there, or not for ROCm, or finds none, or one that the table does not have.
    """
    offer = "compile for one without it: --target hip:gfx942 --compile-only"
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise TunerError(f"no hip device: {error}; install PyTorch for ROCm, or {offer}") from error
    if not torch.version.hip:
        raise TunerError(f"no hip device: PyTorch {torch.__version__} is not for ROCm; {offer}")
    if not torch.cuda.is_available():
        raise TunerError(f"no hip device on this machine; {offer}")
    told = torch.cuda.get_device_properties(0)
    arch = told.gcnArchName.partition(":")[0]
    models = [gpu for gpu in GPUS.values() if gpu.target == f"hip:{arch}"]
    if not models:
        raise TunerError(f"the limits of {told.name} ({arch}) are not known; known: {', '.join(GPUS)}")
    limits = replace(models[0].limits, multiprocessors=told.multi_processor_count, l2_bytes=told.L2_cache_size)
    environment = {"hip": torch.version.hip, "tuner": _own_version()}
    return Device("hip", told.name, arch, 1, told.total_memory, limits.features(), environment)


def _cuda_device(driver: Any) -> Device:
    """Return the first GPU as the CUDA driver tells it."""

    def told(call: Any, *arguments: Any) -> Any:
        status, *values = call(*arguments)
        if status != driver.CUresult.CUDA_SUCCESS:
            raise RuntimeError(f"{getattr(call, '__name__', 'the driver')} says {status.name}")
        return values[0] if values else None

    told(driver.cuInit, 0)
    if not told(driver.cuDeviceGetCount):
        raise RuntimeError("the driver finds none")
    device = told(driver.cuDeviceGet, 0)
    attributes = driver.CUdevice_attribute

    def attribute(name: str) -> int:
        return int(told(driver.cuDeviceGetAttribute, getattr(attributes, f"CU_DEVICE_ATTRIBUTE_{name}"), device))

    major, minor = attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")
    blocks = attribute("MAX_BLOCKS_PER_MULTIPROCESSOR")
    limits = Limits(
        multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
        warp_threads=attribute("WARP_SIZE"),
        block_threads=attribute("MAX_THREADS_PER_BLOCK"),
        multiprocessor_threads=attribute("MAX_THREADS_PER_MULTIPROCESSOR"),
        multiprocessor_blocks=blocks,
        thread_registers=_NVIDIA_THREAD_REGISTERS,
        block_registers=attribute("MAX_REGISTERS_PER_BLOCK"),
        multiprocessor_registers=attribute("MAX_REGISTERS_PER_MULTIPROCESSOR"),
        block_shared_bytes=attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
        multiprocessor_shared_bytes=attribute("MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"),
        reserved_shared_bytes=attribute("RESERVED_SHARED_MEMORY_PER_BLOCK"),
        multiprocessor_barriers=_barriers(major, minor, blocks),
        l2_bytes=attribute("L2_CACHE_SIZE"),
    )
    name = told(driver.cuDeviceGetName, 256, device).split(b"\0", 1)[0].decode()
    memory = int(told(driver.cuDeviceTotalMem, device))
    version = int(told(driver.cuDriverGetVersion))
    environment = {"cuda_driver": f"{version // 1000}.{version % 1000 // 10}", "tuner": _own_version()}
    return Device("cuda", name, f"sm_{major}{minor}", 1, memory, limits.features(), environment)


def _barriers(major: int, minor: int, blocks: int) -> int:
    """Return the named barriers of a multiprocessor: the dies for data centres have two for each block, others one."""
    if major < _HOPPER:
        return _MOST_BARRIERS
    return blocks * (2 if minor == 0 and major in (_HOPPER, _HOPPER + 1) else 1)


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
