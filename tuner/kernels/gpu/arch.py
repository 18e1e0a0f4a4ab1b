"""What architectures have: search spaces ask here."""

from __future__ import annotations

from tuner.types import Device

__all__ = ["capability", "has_fp8", "has_tensor_memory", "has_tensor_memory_accelerator"]

_HOPPER = 90
_BLACKWELL, _BLACKWELL_SMALL = 100, 120
_ADA = 89
_FP8_ON_AMD = ("gfx950",)


def capability(device: Device) -> int:
    """Return the compute capability of an NVIDIA GPU, 90 for 9.0; 0 for others.

    Example:
        >>> from tuner.gpus import target_device
        >>> capability(target_device("cuda:100")), capability(target_device("mi300x"))
        (100, 0)
    """
    return int(device.arch.removeprefix("sm_")) if device.kind == "cuda" else 0


def has_tensor_memory_accelerator(device: Device) -> bool:
    """Return whether tiles of tensors can be loaded by descriptors, by a unit of their own."""
    return capability(device) >= _HOPPER


def has_tensor_memory(device: Device) -> bool:
    """Return whether sums of matrix products are kept in a memory of their own, as on Blackwell for data centres."""
    return _BLACKWELL <= capability(device) < _BLACKWELL_SMALL


def has_fp8(device: Device) -> bool:
    """Return whether matrix units multiply eight-bit floats of four bits of exponent, as OCP defines them."""
    return capability(device) >= _ADA or device.arch in _FP8_ON_AMD
