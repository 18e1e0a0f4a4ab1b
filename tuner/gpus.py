"""GPUs as data: what can be compiled for, pruned for and compared with, on a machine that has none of them.

Limits of an architecture are those of NVIDIA's *CUDA C++ Programming Guide* ("Technical Specifications per Compute
Capability") and of AMD's instruction set guides; sizes and peaks of a model are those of its data sheet, dense (without
structured sparsity), at the boost clock. A GPU that is present tells its own limits; see `tuner.devices`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from tuner.errors import TunerError
from tuner.types import Device, MemoryLevel, Peaks, Scalar

__all__ = ["GPUS", "Gpu", "Limits", "data_sheet_peaks", "known_gpu", "limits_of", "target_device", "target_of"]

_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30
# A block has up to 16 named barriers; before Hopper they bound no multiprocessor.
_NO_LIMIT = 16 * 32


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use on a GPU, and how much of it there is; search spaces read these as a device's features.

    An AMD compute unit counts as a multiprocessor, its LDS as shared memory, its vector registers as registers.

    Attributes:
        multiprocessors: How many there are.
        warp_threads: Threads of a warp.
        block_threads: Most threads of a block.
        multiprocessor_threads: Most threads of all blocks on a multiprocessor.
        multiprocessor_blocks: Most blocks on a multiprocessor.
        thread_registers: Most 32-bit registers of a thread.
        block_registers: Most registers of a block.
        multiprocessor_registers: Registers of a multiprocessor.
        block_shared_bytes: Most shared memory of a block, where the program asks for more than the usual 48 KiB.
        multiprocessor_shared_bytes: Shared memory of a multiprocessor.
        reserved_shared_bytes: Shared memory that the system takes from each block.
        multiprocessor_barriers: Named barriers of all blocks on a multiprocessor.
        l2_bytes: The last cache before memory.
    """

    multiprocessors: int
    warp_threads: int
    block_threads: int
    multiprocessor_threads: int
    multiprocessor_blocks: int
    thread_registers: int
    block_registers: int
    multiprocessor_registers: int
    block_shared_bytes: int
    multiprocessor_shared_bytes: int
    reserved_shared_bytes: int
    multiprocessor_barriers: int
    l2_bytes: int

    def features(self) -> dict[str, Scalar]:
        """Return the limits as a device's features."""
        return dict(asdict(self))


@dataclass(frozen=True, slots=True)
class Gpu:
    """A model of GPU.

    Attributes:
        target: What a compiler is told, with the kind of device before it: `cuda:90`, `hip:gfx942`.
        name: The maker's name, as the driver tells it.
        memory_bytes: Its memory.
        limits: What a program may use.
        peak_flops: By dtype, multiply-adds counted as two, with tensor cores where they take the dtype.
        peak_bytes_per_second: Bandwidth of its memory.
        source: Where the numbers come from.
    """

    target: str
    name: str
    memory_bytes: int
    limits: Limits
    peak_flops: Mapping[str, float]
    peak_bytes_per_second: float
    source: str

    @property
    def kind(self) -> str:
        """`cuda` or `hip`."""
        return self.target.partition(":")[0]

    @property
    def arch(self) -> str:
        """What `Device.arch` says: `sm_90`, `gfx942`."""
        version = self.target.partition(":")[2]
        return f"sm_{version}" if self.kind == "cuda" else version

    def device(self) -> Device:
        """Return the GPU as a device that need not be present."""
        return Device(self.kind, self.name, self.arch, 1, self.memory_bytes, self.limits.features())


def _nvidia(
    multiprocessors: int, l2_bytes: int, *, shared_kib: int, threads: int = 2048, blocks: int = 32, barriers: int = 64
) -> Limits:
    """Return limits that NVIDIA's architectures since 8.0 have in common, with those in which they differ."""
    return Limits(
        multiprocessors=multiprocessors,
        warp_threads=32,
        block_threads=1024,
        multiprocessor_threads=threads,
        multiprocessor_blocks=blocks,
        thread_registers=255,
        block_registers=65536,
        multiprocessor_registers=65536,
        block_shared_bytes=(shared_kib - 1) * _KIB,
        multiprocessor_shared_bytes=shared_kib * _KIB,
        reserved_shared_bytes=_KIB,
        multiprocessor_barriers=barriers,
        l2_bytes=l2_bytes,
    )


def _amd(multiprocessors: int, l2_bytes: int, *, shared_kib: int) -> Limits:
    """Return limits of AMD's CDNA 3 and 4: four SIMDs of eight waves, 512 registers a lane on each SIMD."""
    return Limits(
        multiprocessors=multiprocessors,
        warp_threads=64,
        block_threads=1024,
        multiprocessor_threads=2048,
        multiprocessor_blocks=32,
        thread_registers=512,
        block_registers=4 * 512 * 64,
        multiprocessor_registers=4 * 512 * 64,
        block_shared_bytes=shared_kib * _KIB,
        multiprocessor_shared_bytes=shared_kib * _KIB,
        reserved_shared_bytes=0,
        multiprocessor_barriers=32,
        l2_bytes=l2_bytes,
    )


_T = 1e12
_HOPPER: Mapping[str, float] = MappingProxyType(
    {"fp64": 66.9 * _T, "fp32": 66.9 * _T, "tf32": 494.7 * _T, "fp16": 989.4 * _T, "bf16": 989.4 * _T}
    | {"fp8": 1978.9 * _T, "int8": 1978.9 * _T}
)

GPUS: Mapping[str, Gpu] = MappingProxyType(
    {
        "a100": Gpu(
            "cuda:80",
            "NVIDIA A100-SXM4-80GB",
            80 * _GIB,
            _nvidia(108, 40 * _MIB, shared_kib=164, barriers=_NO_LIMIT),
            {"fp64": 19.5 * _T, "fp32": 19.5 * _T, "tf32": 156 * _T, "fp16": 312 * _T, "bf16": 312 * _T}
            | {"int8": 624 * _T},
            2.039e12,
            "NVIDIA A100 Tensor Core GPU data sheet",
        ),
        "a10": Gpu(
            "cuda:86",
            "NVIDIA A10",
            24 * _GIB,
            _nvidia(72, 6 * _MIB, shared_kib=100, threads=1536, blocks=16, barriers=_NO_LIMIT),
            {"fp32": 31.2 * _T, "tf32": 62.5 * _T, "fp16": 125 * _T, "bf16": 125 * _T, "int8": 250 * _T},
            6.0e11,
            "NVIDIA A10 data sheet",
        ),
        "l40s": Gpu(
            "cuda:89",
            "NVIDIA L40S",
            48 * _GIB,
            _nvidia(142, 96 * _MIB, shared_kib=100, threads=1536, blocks=24, barriers=_NO_LIMIT),
            {"fp32": 91.6 * _T, "tf32": 183 * _T, "fp16": 362 * _T, "bf16": 362 * _T, "fp8": 733 * _T}
            | {"int8": 733 * _T},
            8.64e11,
            "NVIDIA L40S data sheet",
        ),
        "h100": Gpu(
            "cuda:90",
            "NVIDIA H100 80GB HBM3",
            80 * _GIB,
            _nvidia(132, 50 * _MIB, shared_kib=228),
            _HOPPER,
            3.35e12,
            "NVIDIA H100 Tensor Core GPU data sheet, SXM",
        ),
        "h200": Gpu(
            "cuda:90",
            "NVIDIA H200",
            141 * _GIB,
            _nvidia(132, 60 * _MIB, shared_kib=228),
            _HOPPER,
            4.8e12,
            "NVIDIA H200 Tensor Core GPU data sheet, SXM",
        ),
        "b200": Gpu(
            "cuda:100",
            "NVIDIA B200",
            180 * _GIB,
            _nvidia(148, 126 * _MIB, shared_kib=228),
            {"fp64": 37 * _T, "fp32": 75 * _T, "tf32": 1125 * _T, "fp16": 2250 * _T, "bf16": 2250 * _T}
            | {"fp8": 4500 * _T, "int8": 4500 * _T},
            7.7e12,
            "NVIDIA DGX B200 data sheet",
        ),
        "mi300x": Gpu(
            "hip:gfx942",
            "AMD Instinct MI300X",
            192 * _GIB,
            _amd(304, 4 * _MIB, shared_kib=64),
            {"fp64": 163.4 * _T, "fp32": 163.4 * _T, "tf32": 653.7 * _T, "fp16": 1307.4 * _T, "bf16": 1307.4 * _T}
            | {"fp8": 2614.9 * _T, "int8": 2614.9 * _T},
            5.3e12,
            "AMD Instinct MI300X data sheet",
        ),
        "mi355x": Gpu(
            "hip:gfx950",
            "AMD Instinct MI355X",
            288 * _GIB,
            _amd(256, 4 * _MIB, shared_kib=160),
            {"fp64": 78.6 * _T, "fp32": 157.3 * _T, "fp16": 2516.6 * _T, "bf16": 2516.6 * _T, "fp8": 5033.2 * _T}
            | {"int8": 5033.2 * _T},
            8.0e12,
            "AMD Instinct MI355X data sheet",
        ),
    }
)
"""Known models by a short name; of several with one target, the first stands for it."""


def target_device(name: str) -> Device:
    """Return a GPU to compile for, which need not be present.

    Args:
        name: A target, `cuda:90` or `hip:gfx942`, which stands for its best known model, or a model, `h200`.

    Raises:
        TunerError: there is no such target; the message lists those there are.

    Example:
        >>> target_device("cuda:90").feature("multiprocessors"), target_device("h200").arch
        (132, 'sm_90')
    """
    for short, gpu in GPUS.items():
        if name.lower() in (short, gpu.target):
            return gpu.device()
    targets = ", ".join(dict.fromkeys(gpu.target for gpu in GPUS.values()))
    raise TunerError(f"unknown target {name!r}; known: {targets}; or a model: {', '.join(GPUS)}")


def known_gpu(device: Device) -> Gpu | None:
    """Return the model that `device` is, or None where the table does not have it.

    Example:
        >>> known_gpu(target_device("h200")).peak_bytes_per_second
        4800000000000.0
    """
    return next((gpu for gpu in GPUS.values() if (gpu.name, gpu.arch) == (device.name, device.arch)), None)


def data_sheet_peaks(device: Device, dtype: str) -> Peaks | None:
    """Return the peaks that the maker tells of a GPU, for arithmetic in `dtype`; None where the table has none.

    Example:
        >>> peaks = data_sheet_peaks(target_device("h100"), "bf16")
        >>> peaks.flops_per_second, peaks.levels[-1].bytes_per_second
        (989400000000000.0, 3350000000000.0)
    """
    gpu = known_gpu(device)
    if gpu is None or dtype not in gpu.peak_flops:
        return None
    memory = MemoryLevel("memory", gpu.memory_bytes, gpu.memory_bytes, gpu.peak_bytes_per_second, "data sheet")
    return Peaks(gpu.peak_flops[dtype], (memory,), gpu.source, 0.0)


def target_of(device: Device) -> str:
    """Return what a compiler is told of a GPU: `cuda:90`, `hip:gfx942`."""
    return f"{device.kind}:{device.arch.removeprefix('sm_')}"


def limits_of(device: Device) -> Limits:
    """Return the limits of a GPU, present or not.

    Raises:
        TunerError: the device lacks one, and so is no GPU.
    """
    found = tuple(map(device.features.get, Limits.__slots__))
    if set(map(type, found)) != {int}:
        found = tuple(map(device.feature, Limits.__slots__))  # which tells what is missing
    return _limits(found)


@functools.lru_cache(maxsize=64)
def _limits(values: tuple[int, ...]) -> Limits:
    """Return the same limits for the same values: search spaces ask for those of a device many times."""
    return Limits(*values)
