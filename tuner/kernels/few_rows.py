"""The search space of products with few rows of activations: what kernels on `few_rows.hpp` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tuner.kernels.toolchains.cpp import thread_parameters
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Device, Workload

__all__ = ["MOST_ROWS", "few_rows_space", "too_many_rows"]

MOST_ROWS = 16
"""Rows of activations, beyond which a product is one of matrices."""

_FLOAT_BYTES = 4
# Tile registers, and rows of one.
_TILES, _TILE_ROWS = 8, 16
_FMA = Constraint.parse("UNIT == 'fma'")
_VECTORS = Constraint.parse("UNIT != 'tile'")


def too_many_rows(workload: Workload) -> str | None:
    """Return why a workload has too many rows of activations, or None."""
    rows = workload.integer("M")
    return f"M={rows} is more than {MOST_ROWS} rows; use a product of matrices" if rows > MOST_ROWS else None


def few_rows_space(
    weight_bytes: Callable[[Workload], int],
    units: Callable[[Workload, Device], Sequence[str]],
    digits: Callable[[Workload], str] = lambda _: "1",
    parameters: Callable[[Workload], Sequence[Parameter]] = lambda _: (),
) -> Callable[[Workload, Device], SearchSpace]:
    """Return a kernel's space.

    Args:
        weight_bytes: Bytes of a weight.
        units: What may multiply: `fma` first, and `dot` and `tile` where the device has them.
        digits: Columns that `dot` and `tile` make of a row of activations, as an expression over `parameters`.
        parameters: What the kernel has beside the shared parameters.
    """

    def space(workload: Workload, device: Device) -> SearchSpace:
        batch, columns = workload.integer("M"), workload.integer("K")
        # Weights in a 32-bit word.
        in_word = _FLOAT_BYTES // weight_bytes(workload)
        registers = device.feature("vector_registers")
        widest = device.feature("vector_bytes") // _FLOAT_BYTES
        # Half of a 64-byte register may win, since the full width can lower the clock; half of a shorter never does.
        lanes = (8, 16) if widest == 16 else (widest,)
        # The weights stream through the other half.
        packed_bytes = device.feature("l2_bytes") // 2

        batches = sorted({*(size for size in (1, 2, 4, 8, 16) if size < batch), batch})
        default_batch = max(size for size in batches if size <= 4)
        chunks = [*(size for size in (512, 1024, 2048, 4096) if size < columns), columns]
        default_chunk = max(size for size in chunks if size == chunks[0] or _FLOAT_BYTES * batch * size <= packed_bytes)
        # The widest that the device has.
        names = units(workload, device)
        step = f"(LANES * UNROLL * ({in_word} if WORDS else 1))"
        fitting = [
            Constraint.parse(
                f"UNIT != 'fma' or ROWS * BATCH * UNROLL + ROWS * (2 if WORDS else 1) + 1 <= {registers}",
                "the tile's sums, its weights and one vector of activations fit in the vector registers",
            ),
            Constraint.parse(
                f"UNIT != 'dot' or ROWS * BATCH * {digits(workload)} + ROWS + 1 <= {registers}",
                "the sums, the weights and one vector of activations fit in the vector registers",
            ),
        ]
        own = parameters(workload)
        defaults = {
            **{parameter.name: parameter.default for parameter in own},
            "UNIT": names[-1],
            "BATCH": default_batch,
            "UNROLL": 1,
            "WORDS": False,
        }
        # As many rows as fill the registers, up to four streams of weights.
        default_rows = next(
            rows for rows in (4, 3, 2, 1) if all(rule.check({**defaults, "ROWS": rows}) for rule in fitting)
        )
        column_tiles = f"(({batch} * {digits(workload)} + {_TILE_ROWS - 1}) // {_TILE_ROWS})"
        return SearchSpace(
            [
                Parameter.categorical("UNIT", names, default=names[-1]),
                *own,
                Parameter("LANES", lanes, default=widest),
                Parameter("ROWS", (1, 2, 3, 4, 6, 8), default=default_rows, when=_VECTORS),
                Parameter("BATCH", batches, default=default_batch, when=_VECTORS),
                Parameter("UNROLL", (1, 2, 4), default=1, when=_FMA),
                Parameter("CHUNK", chunks, default=default_chunk, when=_FMA),
                Parameter.boolean("PACK", default=True, when=_FMA),
                Parameter.categorical(
                    "WORDS",
                    (False, True) if in_word > 1 else (False,),
                    when=Constraint.parse("PACK and UNIT == 'fma'"),
                ),
                Parameter("TILES", (1, 2, 3), when=Constraint.parse("UNIT == 'tile'")),
                Parameter("PREFETCH", (0, 1, 2, 4), default=0),
                Parameter.categorical("LOCALITY", (3, 2), when=Constraint.parse("PREFETCH > 0")),
                *thread_parameters(device),
            ],
            [
                Constraint.parse(f"{columns} % {step} == 0", "the columns are a whole number of steps"),
                Constraint.parse(f"CHUNK % {step} == 0", "a chunk is a whole number of steps"),
                *fitting,
                Constraint.parse(
                    f"UNIT != 'tile' or TILES * {column_tiles} + TILES + 1 <= {_TILES}",
                    "the sums, the weights and one tile of activations fit in the tile registers",
                ),
                Constraint.parse(
                    f"not PACK or {_FLOAT_BYTES * batch} * CHUNK <= {packed_bytes}",
                    "the packed activations of a chunk take at most half of the L2 cache",
                ),
            ],
        )

    return space
