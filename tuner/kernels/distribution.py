"""Distributions: functions that turn an operator's random inputs into others, on which more mistakes are seen.

Those here take arrays of any operator: floats, bfloat16 as `uint16`, and integers. An operator adds its own, or leaves
one out that it cannot take, in `Operator.distributions`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.bfloat16 import from_bfloat16, to_bfloat16

__all__ = ["GENERIC", "Distribution", "NotNumber", "Unspecified", "planted", "scaled"]

Array = npt.NDArray[Any]

Distribution = Callable[[Mapping[str, Array], np.random.Generator], Mapping[str, Array]]
"""From random inputs and a seeded generator to other inputs of the same shapes and dtypes; what it is given stays."""

# One value in so many is not zero in sparse inputs.
_SPARSE = 16
# Random choices are drawn for so many values, an odd number, and repeated: arrays have millions.
_PATTERN = 65521


class NotNumber(StrEnum):
    """What a float may be that is no number."""

    NAN = "nan"
    INFINITY = "infinity"


_VALUES = MappingProxyType({NotNumber.NAN: np.nan, NotNumber.INFINITY: np.inf})


def _sparse(inputs: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """Most values are zero: a kernel that skips them, or divides by them, must do so rightly."""

    def thinned(array: Array) -> Array:
        kept = (rng.integers(_SPARSE, size=_PATTERN) == 0).astype(array.dtype)
        thin, flat = np.empty(array.size, array.dtype), array.reshape(-1)
        whole = array.size - array.size % _PATTERN
        np.multiply(flat[:whole].reshape(-1, _PATTERN), kept, out=thin[:whole].reshape(-1, _PATTERN))
        thin[whole:] = flat[whole:] * kept[: array.size - whole]
        return thin.reshape(array.shape)

    return {name: thinned(array) for name, array in inputs.items()}


def _constant(inputs: Mapping[str, Array], _: np.random.Generator) -> dict[str, Array]:
    """All values of an array are the same power of two, so that sums are exact: nothing differs from its mean."""

    def levelled(array: Array) -> Array:
        sample = np.abs(_numbers(array.reshape(-1)[:_PATTERN]).astype(np.float64))
        value = 2.0 ** np.floor(np.log2(max(float(sample.mean()), 2.0**-100)))
        return np.broadcast_to(_stored(np.array(value), array.dtype), array.shape)

    return {name: levelled(array) for name, array in inputs.items()}


def _sorted(inputs: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """Rows rise, each from another place on, where it falls once: no part of a row is like the others."""

    def rising(array: Array) -> Array:
        length = array.shape[-1]
        row = array.reshape(-1, length)[0]
        row = row[np.argsort(_numbers(row), kind="stable")]
        turns = np.lib.stride_tricks.sliding_window_view(np.concatenate([row, row]), length)
        rows: Array = turns[rng.integers(length, size=array.size // length)]
        return rows.reshape(array.shape)

    return {name: rising(array) for name, array in inputs.items()}


def _altered(inputs: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """One value of one array is another: who looks at a few values to know the inputs again is deceived."""
    name = sorted(inputs)[rng.integers(len(inputs))]
    array = np.array(inputs[name])
    # A view of one value.
    at = rng.integers(array.size)
    value = array.reshape(-1)[at : at + 1]
    value[...] = _stored(np.where(_numbers(value) > 0, -1.0, 1.0), array.dtype) if _holds_floats(array) else ~value
    return {**inputs, name: array}


GENERIC: Mapping[str, Distribution] = MappingProxyType(
    {"sparse": _sparse, "constant": _constant, "sorted": _sorted, "altered": _altered}
)
"""Distributions for the inputs of any operator."""


@dataclass(frozen=True, slots=True)
class Unspecified:
    """An input in which a kernel may do anything with what is no number.

    Attributes:
        input: Its name.
        reason: Why.
        kinds: What it may do anything with.
    """

    input: str
    reason: str
    kinds: tuple[NotNumber, ...] = tuple(NotNumber)


def planted(unspecified: Collection[Unspecified]) -> dict[str, Distribution]:
    """Return distributions that plant one NaN, or one infinity, in an input of floats where its effect is specified."""
    left_out = {kind: [one.input for one in unspecified if kind in one.kinds] for kind in NotNumber}
    return {kind.value: functools.partial(_plant, value, left_out[kind]) for kind, value in _VALUES.items()}


def _plant(
    value: float, left_out: Collection[str], inputs: Mapping[str, Array], rng: np.random.Generator
) -> Mapping[str, Array]:
    # One input at a time, so that the traces of one do not cover those of another.
    names = [name for name, array in inputs.items() if name not in left_out and _holds_floats(array)]
    if not names:
        return inputs
    name = names[rng.integers(len(names))]
    array = np.array(inputs[name])
    array.reshape(-1)[rng.integers(array.size)] = _stored(np.array(value), array.dtype)
    return {**inputs, name: array}


def scaled(array: Array, factor: float) -> Array:
    """Return floats, or bfloat16, times `factor`."""
    numbers = _numbers(array) * np.float32(factor)
    return to_bfloat16(numbers) if array.dtype == np.uint16 else numbers


def _holds_floats(array: Array) -> bool:
    return array.dtype == np.uint16 or array.dtype.kind == "f"


def _numbers(array: Array) -> Array:
    """Return what the bits of an array mean: `uint16` holds bfloat16."""
    return from_bfloat16(array) if array.dtype == np.uint16 else array


def _stored(numbers: Array, dtype: np.dtype[Any]) -> Array:
    """Return numbers that fit in `dtype` as it stores them."""
    if dtype == np.uint16:
        # The upper half of a float32 is exact for a power of two, infinity, and what came from there.
        return (np.asarray(numbers, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return numbers.astype(dtype)
