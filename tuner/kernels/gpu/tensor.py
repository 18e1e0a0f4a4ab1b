"""Tensors as data: shape, dtype, and how random values of them are drawn. Nothing here needs torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tuner.errors import TunerError

__all__ = ["DTYPES", "Dtype", "Tensor", "bytes_of"]


@dataclass(frozen=True, slots=True)
class Dtype:
    """A dtype under the names that everybody has for it.

    Attributes:
        bytes: Of one value.
        torch: torch's name.
        triton: Triton's name, in the types of its signatures.
        floating: Whether it holds fractions.
    """

    bytes: int
    torch: str
    triton: str
    floating: bool


DTYPES: Mapping[str, Dtype] = MappingProxyType(
    {
        "fp64": Dtype(8, "float64", "fp64", True),
        "fp32": Dtype(4, "float32", "fp32", True),
        "fp16": Dtype(2, "float16", "fp16", True),
        "bf16": Dtype(2, "bfloat16", "bf16", True),
        "fp8": Dtype(1, "float8_e4m3fn", "fp8e4nv", True),
        "int8": Dtype(1, "int8", "i8", False),
        "uint8": Dtype(1, "uint8", "u8", False),
        "int32": Dtype(4, "int32", "i32", False),
        "int64": Dtype(8, "int64", "i64", False),
    }
)
"""By the names that workloads use; fp8 has four bits of exponent and three of mantissa, and no infinity."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a call, contiguous, row by row.

    Attributes:
        shape: Its sizes.
        dtype: A name of `DTYPES`.
        scale: Standard deviation of random floats.
        low: Least random integer.
        high: Above the greatest random integer.
        draw: Draws values itself, from a torch generator and a torch device: indices that must differ, for one.

    Example:
        >>> Tensor((16, 4096), "bf16").bytes
        131072
    """

    shape: tuple[int, ...]
    dtype: str = "fp32"
    scale: float = 1.0
    low: int = -8
    high: int = 8
    draw: Callable[[Any, Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise TunerError(f"{self.dtype!r} is not a dtype; known: {', '.join(DTYPES)}")

    @property
    def count(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What they take."""
        return self.count * DTYPES[self.dtype].bytes


def bytes_of(*tensors: Mapping[str, Tensor]) -> int:
    """Return what all of these take: the compulsory traffic of a call that reads or writes each once."""
    return sum(tensor.bytes for group in tensors for tensor in group.values())
