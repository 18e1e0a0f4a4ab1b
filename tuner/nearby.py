"""How near two workloads are: what decides which winners are worth a try elsewhere."""

from __future__ import annotations

import math

from tuner.types import Scalar, Workload

__all__ = ["NEARBY", "distance"]

NEARBY = "nearby"
"""Name of the resource by which a trial says of which workload its config was the best."""


def distance(one: Workload, other: Workload) -> float:
    """Return how many doublings lie between two workloads; infinite where they are not of one kind.

    Numeric fields are compared by their logarithm: 64 and 128 rows are as far apart as 1024 and 2048, and the distances
    of several fields add up as in space (root of the sum of squares). Everything else has to match.

    Example:
        >>> distance(Workload(M=1, N=1024, dtype="bf16"), Workload(M=8, N=16384, dtype="bf16"))
        5.0
        >>> distance(Workload(M=1, dtype="bf16"), Workload(M=1, dtype="fp32"))
        inf
    """
    if set(one) != set(other):
        return math.inf
    return math.hypot(*(_doublings(value, other[name]) for name, value in one.items()))


def _doublings(one: Scalar, other: Scalar) -> float:
    if one == other and type(one) is type(other):
        return 0.0
    if isinstance(one, bool | str) or isinstance(other, bool | str) or one <= 0 or other <= 0:
        return math.inf
    return abs(math.log2(one / other))
