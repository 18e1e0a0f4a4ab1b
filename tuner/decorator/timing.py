"""How calls are timed while tuning in place, in Triton's words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tuner.errors import TunerError

__all__ = ["Clock", "Timing"]

Clock = Callable[[Callable[[], Any]], float]
"""Returns how many seconds a call takes."""

_QUANTILES = (0.5, 0.2, 0.8)
"""What Triton asks a benchmark for; the first is what it goes by."""
_SECONDS_PER_MILLISECOND = 1e-3
_WARMUP_MILLISECONDS, _REP_MILLISECONDS = 2, 10


@dataclass(frozen=True, slots=True)
class Timing:
    """Triton's own words for it.

    Attributes:
        do_bench: Takes a function without arguments and `quantiles`, and returns these of its times in milliseconds,
            the median first; None for Triton's benchmark, and the wall clock where the function is no kernel.
        warmup: For how many milliseconds Triton's benchmark runs before it measures.
        rep: For how many it measures.
        use_cuda_graph: Whether launches are captured in a CUDA graph, which is timed.
    """

    do_bench: Callable[..., Any] | None = None
    warmup: float = _WARMUP_MILLISECONDS
    rep: float = _REP_MILLISECONDS
    use_cuda_graph: bool = False

    @classmethod
    def of(
        cls,
        do_bench: Callable[..., Any] | None,
        warmup: float | None,
        rep: float | None,
        use_cuda_graph: bool,
        *,
        is_kernel: bool,
    ) -> Timing:
        """Return what the decorator's arguments say.

        Raises:
            TunerError: they say two things, a value is not taken, or the function is no kernel.
        """
        given = {name: value for name, value in (("warmup", warmup), ("rep", rep)) if value is not None}
        words = [*given, *(["use_cuda_graph"] if use_cuda_graph else [])]
        if words and do_bench is not None:
            raise TunerError(f"{' and '.join(words)} and do_bench each say how to measure; leave one of them out")
        if words and not is_kernel:
            raise TunerError(
                f"{' and '.join(words)}: these are of Triton's benchmark of a kernel on a GPU; a plain function is "
                "timed by the wall clock, or by do_bench: leave them out"
            )
        if do_bench is not None and not callable(do_bench):
            raise TunerError(f"do_bench={do_bench!r} is not a function")
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise TunerError(f"{name}={value!r} is not a positive number of milliseconds")
        return cls(do_bench, use_cuda_graph=bool(use_cuda_graph), **given)

    def own_clock(self) -> Clock | None:
        """Return the clock that `do_bench` is, None where there is none."""
        bench = self.do_bench
        if bench is None:
            return None

        def seconds(call: Callable[[], Any]) -> float:
            told = bench(call, quantiles=_QUANTILES)
            return _SECONDS_PER_MILLISECOND * float(told[0] if isinstance(told, list | tuple) else told)

        return seconds
