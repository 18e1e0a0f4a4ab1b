"""Winners to look up in tests."""

from __future__ import annotations

from typing import Any

from tuner.lookup import Proof
from tuner.types import Config, Device, Scalar, State, Workload

GPU = Device("cuda", "NVIDIA H100", "sm_90", 1, 80 << 30, {"l2_bytes": 50 << 20}, {"triton": "3.6.0", "driver": "580"})
OTHER = Device("cuda", "NVIDIA H200", "sm_90", 1, 141 << 30, {"l2_bytes": 60 << 20}, {"triton": "3.6.0"})
OLDER = Device("cuda", "NVIDIA A100", "sm_80", 1, 80 << 30, {"l2_bytes": 40 << 20}, {"triton": "3.6.0"})
AMD = Device("hip", "AMD Instinct MI300X", "gfx942", 1, 192 << 30, {}, {"triton": "3.6.0"})


def proof(
    number: int = 1, block: int = 64, *, kernel: str = "triton:matmul", device: Device = GPU, **fields: Any
) -> Proof:
    """Return a winner with `BLOCK=block`; what is in `fields` and no attribute is its workload."""
    names = ("version", "state", "speedup", "interval", "default", "measured_at")
    own = {name: fields.pop(name) for name in names if name in fields}
    workload: dict[str, Scalar] = fields or {"M": 16, "N": 4096, "dtype": "bf16"}
    return Proof(
        **{
            "id": number,
            "campaign": "c0ffee00",
            "kernel": kernel,
            "version": "v1",
            "workload": Workload(workload),
            "device": device,
            "config": Config(BLOCK=block, num_warps=4),
            "default": Config(BLOCK=32, num_warps=4),
            "speedup": 1.25,
            "interval": (1.2, 1.3),
            "confidence": 0.99,
            "rounds": 150,
            "measured_at": "2026-01-01T00:00:00+00:00",
            "state": State.PROMOTED,
            **own,
        }
    )
