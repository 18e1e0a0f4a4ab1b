"""Workload fields that every operator takes and no kernel sees: how it is measured, and how exact it has to be.

They are absent unless given, so that the key of a plain workload stays what it was; they are no macros and enter no
build. A search space may read them: `rel_error` opens approximate variants.
"""

from __future__ import annotations

from collections.abc import Mapping

from tuner.errors import WorkloadError
from tuner.types import Cache, Scalar, Workload

__all__ = ["OPTIONS", "checked_options", "without_options"]

OPTIONS = ("cache", "rel_error")
"""`cache`: `cold` or `warm`, the default. `rel_error`: the largest error that is still right; see `Tolerance`."""


def checked_options(fields: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the options among `fields`, without those that are the default.

    Raises:
        WorkloadError: one has a value that is not taken.

    Example:
        >>> checked_options({"M": 4, "cache": "warm", "rel_error": 1e-2})
        {'rel_error': 0.01}
    """
    if fields.keys().isdisjoint(OPTIONS):
        return {}
    options: dict[str, Scalar] = {}
    if (cache := fields.get("cache", Cache.WARM)) not in list(Cache):
        raise WorkloadError(f"cache={cache!r} is not taken; choose one of {', '.join(Cache)}")
    if cache != Cache.WARM:
        options["cache"] = cache
    if "rel_error" in fields:
        error = fields["rel_error"]
        if not isinstance(error, float) or not 0 < error < 1:
            raise WorkloadError(
                f"rel_error={error!r} is not a number between 0 and 1; it is the largest absolute error over the "
                "largest true value, such as 0.01"
            )
        options["rel_error"] = error
    return options


def without_options(workload: Workload) -> Workload:
    """Return what a kernel sees of `workload`: its operator's own fields."""
    return Workload({name: value for name, value in workload.items() if name not in OPTIONS})
