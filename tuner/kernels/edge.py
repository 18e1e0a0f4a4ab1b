"""Edge shapes: small workloads beside a given one, whose sizes are no multiples of what kernels cut them into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tuner.types import Scalar

__all__ = ["edge_shapes"]

# Sizes that shrink a field, one for each, so that no two are alike: primes times the field's unit.
_FINE = (37, 43, 41, 53, 47)
_COARSE = (5, 7, 11, 13, 17)


def edge_shapes(fields: Mapping[str, Scalar], units: Mapping[str, int]) -> Iterator[dict[str, Scalar]]:
    """Yield workload fields, each with one size moved a little, or much; most have the other sizes shrunk.

    A size moves by its unit, so that it is no multiple of a power of two any more, and by two units, which suits the
    configs that want an even number of them. What the others are matters too: a config may be valid only where a size
    is what it was.

    Args:
        fields: The workload that they derive from.
        units: The sizes among them, and what each has to be a multiple of.

    Example:
        >>> next(edge_shapes({"M": 512, "N": 4096, "dtype": "bf16"}, {"M": 1, "N": 64}))
        {'M': 513, 'N': 448, 'dtype': 'bf16'}
    """
    sizes = {name: size for name in units if isinstance(size := fields[name], int)}
    shrunk = {
        name: min(size, units[name] * (_FINE if units[name] < _FINE[0] // 2 else _COARSE)[i % len(_FINE)])
        for i, (name, size) in enumerate(sizes.items())
    }
    seen: list[dict[str, Scalar]] = [dict(fields)]
    for steps in (1, -1, 2, None):
        for name, size in sizes.items():
            moved = shrunk[name] if steps is None else size + steps * units[name]
            for others in (shrunk, sizes):
                shape = {**fields, **others, name: moved}
                if moved > 0 and shape not in seen:
                    seen.append(shape)
                    yield shape
