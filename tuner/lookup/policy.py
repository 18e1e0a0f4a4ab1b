"""What a lookup may answer with where it has no fresh winner of this workload on this device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from tuner.types import Device

__all__ = ["Elsewhere", "Policy", "Stale", "family"]

_MAKERS = ("intel", "amd", "nvidia", "apple", "ampere", "arm")


class Stale(StrEnum):
    """What to do with winners that were proven under another compiler, driver, library or version of the kernel."""

    SERVE = "serve"
    SKIP = "skip"


class Elsewhere(StrEnum):
    """Winners of which other devices may be used; whether a config is valid here is always asked."""

    NEVER = "never"
    FAMILY = "family"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be served.

    Attributes:
        stale: Whether stale winners are.
        elsewhere: Whether those of other devices are: of the same maker and family of architectures, or of any that is
            of the same kind.
        doublings: How far a workload may be from the one that was asked for.
    """

    stale: Stale = Stale.SERVE
    elsewhere: Elsewhere = Elsewhere.FAMILY
    doublings: float = math.inf

    def admits(self, other: Device, here: Device) -> bool:
        """Return whether winners of another device may be used here.

        Example:
            >>> h100 = Device("cuda", "NVIDIA H100", "sm_90", 1, 80 << 30)
            >>> h200 = Device("cuda", "NVIDIA H200", "sm_90", 1, 141 << 30)
            >>> mi300 = Device("hip", "AMD Instinct MI300X", "gfx942", 1, 192 << 30)
            >>> Policy().admits(h200, h100), Policy().admits(mi300, h100)
            (True, False)
            >>> Policy(elsewhere=Elsewhere.ANY).admits(mi300, h100)
            True
        """
        match self.elsewhere:
            case Elsewhere.NEVER:
                return False
            case Elsewhere.FAMILY:
                return family(other) == family(here)
            case Elsewhere.ANY:
                return (other.kind == "cpu") == (here.kind == "cpu")


def family(device: Device) -> tuple[str, str, str, int]:
    """Return what devices share whose winners are likely to do for each other: kind, maker, architecture, and count.

    Architectures are of a family where they have the same major version: `sm_86` and `sm_89`, `gfx940` and `gfx942`.

    Example:
        >>> family(Device("cuda", "NVIDIA L4", "sm_89", 1, 24 << 30))
        ('cuda', 'nvidia', 'sm_8', 1)
    """
    name = device.name.lower()
    maker = {"cuda": "nvidia", "hip": "amd"}.get(device.kind) or next((one for one in _MAKERS if one in name), name)
    return device.kind, maker, _major(device.arch), device.count


def _major(arch: str) -> str:
    if arch.startswith("sm_"):
        digits = "".join(letter for letter in arch[3:] if letter.isdigit())
        return f"sm_{digits[:-1]}"
    return arch[:-1] if arch.startswith("gfx") else arch
