"""What is refused before it costs a second of a device's time: programs that cannot run there, or spill by far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.gpus import Limits
from tuner.kernels.gpu.binary import Binary, Resources
from tuner.kernels.gpu.occupancy import occupancy

__all__ = ["Pruning"]


@dataclass(frozen=True, slots=True)
class Pruning:
    """Which programs are not worth a device's time.

    Attributes:
        spill_bytes: Most bytes that a thread may spill. Small spills can win, since they may be outside of loops; a
            hundred registers in memory never did.
    """

    spill_bytes: int = 400

    def refusal(self, binaries: Sequence[Binary], limits: Limits) -> str:
        """Return why a program is refused, or an empty string.

        Example:
            >>> from tuner.gpus import limits_of, target_device
            >>> binary = Binary("add", "cuda:90", b"", (), Resources(128, 24, 300_000))
            >>> Pruning().refusal([binary], limits_of(target_device("h100")))
            'add: a block takes 300000 bytes of shared memory, and may take 232448'
        """
        reasons = (self._refusal(one.resources, limits) for one in binaries)
        return next((f"{one.entry}: {why}" for one, why in zip(binaries, reasons, strict=True) if why), "")

    def _refusal(self, used: Resources, limits: Limits) -> str:
        if used.threads > limits.block_threads:
            return f"a block has {used.threads} threads, and may have {limits.block_threads}"
        if used.shared_bytes > limits.block_shared_bytes:
            return f"a block takes {used.shared_bytes} bytes of shared memory, and may take {limits.block_shared_bytes}"
        if used.registers > limits.thread_registers:
            return f"a thread takes {used.registers} registers, and may take {limits.thread_registers}"
        held = occupancy(used, limits)
        if not held.blocks:
            return (
                f"no block fits on a multiprocessor: {used.threads} threads of {used.registers} registers, "
                f"{used.shared_bytes} bytes of shared memory, {used.barriers} barriers"
            )
        if used.spill_bytes > self.spill_bytes:
            return f"a thread spills {used.spill_bytes} bytes, more than {self.spill_bytes}"
        return ""
