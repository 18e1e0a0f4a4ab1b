"""How many blocks of a compiled function a multiprocessor holds at once, and why it may hold none.

NVIDIA: as the occupancy calculator of the CUDA toolkit computes it for architectures since 8.0: registers are given to
warps in units of 256 from four equal parts of the register file, shared memory to blocks in units of 128 bytes together
with what the system reserves. AMD: waves are bounded by the 512 vector registers of each lane of a SIMD, given in units
of 8, and by eight waves a SIMD; LDS is given in units of 512 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuner.gpus import Limits
from tuner.kernels.gpu.binary import Resources

__all__ = ["Occupancy", "occupancy"]

_PARTS = 4
_WARP_REGISTERS = 256
_SHARED_BYTES = 128
_AMD_WARP = 64
_AMD_LANE_REGISTERS = 8
_AMD_SHARED_BYTES = 512


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How many blocks a multiprocessor holds by each of its limits; the least of them is how many it holds.

    Attributes:
        by_threads: By its threads.
        by_registers: By its registers.
        by_shared: By its shared memory.
        by_blocks: By how many blocks it may hold at all.
        by_barriers: By its named barriers.
    """

    by_threads: int
    by_registers: int
    by_shared: int
    by_blocks: int
    by_barriers: int

    @property
    def blocks(self) -> int:
        """Blocks that a multiprocessor holds at once."""
        return min(self.by_threads, self.by_registers, self.by_shared, self.by_blocks, self.by_barriers)


def occupancy(resources: Resources, limits: Limits) -> Occupancy:
    """Return how many blocks with these resources a multiprocessor holds.

    Example:
        >>> from tuner.gpus import limits_of, target_device
        >>> occupancy(Resources(threads=256, registers=128, shared_bytes=100_000), limits_of(target_device("h100")))
        Occupancy(by_threads=8, by_registers=2, by_shared=2, by_blocks=32, by_barriers=64)
    """
    warps = -(-resources.threads // limits.warp_threads)
    return Occupancy(
        by_threads=_by_threads(resources, limits, warps),
        by_registers=_by_registers(resources, limits, warps),
        by_shared=_by_shared(resources, limits),
        by_blocks=limits.multiprocessor_blocks,
        by_barriers=limits.multiprocessor_barriers // max(1, resources.barriers),
    )


def _by_threads(resources: Resources, limits: Limits, warps: int) -> int:
    if resources.threads > limits.block_threads:
        return 0
    return limits.multiprocessor_threads // limits.warp_threads // warps


def _by_registers(resources: Resources, limits: Limits, warps: int) -> int:
    amd = limits.warp_threads == _AMD_WARP
    unit = _AMD_LANE_REGISTERS * _AMD_WARP if amd else _WARP_REGISTERS
    of_warp = _up(resources.registers * limits.warp_threads, unit)
    # A launch is refused as if every part of the register file had to take an equal share of the warps.
    if resources.registers > limits.thread_registers or of_warp * _up(warps, _PARTS) > limits.block_registers:
        return 0
    if not of_warp:
        return limits.multiprocessor_blocks
    return limits.multiprocessor_registers // _PARTS // of_warp * _PARTS // warps


def _by_shared(resources: Resources, limits: Limits) -> int:
    if resources.shared_bytes > limits.block_shared_bytes:
        return 0
    unit = _AMD_SHARED_BYTES if limits.warp_threads == _AMD_WARP else _SHARED_BYTES
    taken = _up(resources.shared_bytes + limits.reserved_shared_bytes, unit)
    return limits.multiprocessor_shared_bytes // taken if taken else limits.multiprocessor_blocks


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
