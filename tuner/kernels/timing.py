"""Interleaved timing: every round calls each kernel once, in alternating order, so that noise falls on all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tuner.kernels.check import Arguments
from tuner.types import Sampling

__all__ = ["interleave"]

# A sample shorter than this is several calls, or the clock and the caches decide it.
_SHORTEST_SAMPLE_SECONDS = 100e-6
# However slow a config is, a median needs some pairs.
_FEWEST_ROUNDS = 3


class _Timed(Protocol):
    def time(self, arguments: Arguments, calls: int) -> float: ...


def interleave(launchers: Sequence[_Timed], arguments: Arguments, sampling: Sampling) -> list[tuple[float, ...]]:
    """Return the seconds of one call of each launcher in every round; sample `i` of all belongs to round `i`.

    Two alternate (AB, BA, ...), more are shuffled in each round: nobody always runs with the caches that one of the
    others left, and all follow themselves equally often. Each sample is one call, or as many as reach 100 microseconds.

    Args:
        launchers: What to time; each has been called at least once.
        arguments: The arrays that all are called with.
        sampling: How many rounds, after how many seconds they end early (but not before the third), and the shuffle's
            seed.
    """
    calls = []
    for launcher in launchers:
        once = max(min(launcher.time(arguments, 1) for _ in range(2)), 1e-9)
        calls.append(max(1, math.ceil(_SHORTEST_SAMPLE_SECONDS / once)))
    samples: list[list[float]] = [[] for _ in launchers]
    order = np.arange(len(launchers))
    rng = np.random.default_rng(sampling.seed)
    deadline = time.perf_counter() + sampling.seconds
    for done in range(sampling.rounds):
        if done >= _FEWEST_ROUNDS and time.perf_counter() > deadline:
            break
        order = order[::-1] if len(order) <= 2 else rng.permutation(order)
        for i in order.tolist():
            samples[i].append(launchers[i].time(arguments, calls[i]) / calls[i])
    return [tuple(values) for values in samples]
