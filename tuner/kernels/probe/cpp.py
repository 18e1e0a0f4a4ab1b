"""The probe of a CPU: built, loaded and run like a kernel, in the same workers; its results are rates."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.base import Field, Operator, Output
from tuner.kernels.toolchains.cpp import CppKernel
from tuner.search_spaces import Parameter, SearchSpace
from tuner.types import Build, Measurement, Sampling, Status, Work, Workload

__all__ = ["PROBE"]

_LEVELS = ("L1", "L2", "L3", "memory")
_PATTERNS = ("read", "prefetch", "triad", "stream")
# The columns of what the source returns.
_METRICS = ("flops", *(f"{level}_{pattern}" for level in _LEVELS for pattern in _PATTERNS))

# Nothing is tuned, but a space needs a parameter. More multiply-adds than two units with a latency of five steps can
# have under way; with what they share they fit in 16 registers.
_SPACE = SearchSpace([Parameter("CHAINS", (12,))])


def _nothing(_: Workload, __: Any) -> dict[str, npt.NDArray[Any]]:
    return {}


_OPERATOR = Operator(
    name="probe",
    fields=tuple(Field(name) for name in ("threads", "vector_bytes", *_LEVELS)),
    inputs=_nothing,
    outputs=lambda _: {"rates": Output((len(_METRICS),), "float64")},
    reference=_nothing,
    work=lambda _: Work(flops=0, bytes=0),
)


class _Probe(CppKernel):
    """Measures a device's highest rates; there is nothing to tune, to check against, or to pair.

    Its workload gives the threads, the bytes of a vector, and for each level of memory the bytes to go through. Samples
    are rates a second: `flops`, and for each level `L1_read` (loads), `L1_prefetch` (loads of what was prefetched),
    `L1_triad` (two loads, a store), `L1_stream` (the same, stored past the caches), in bytes.
    """

    def measure(self, builds: Sequence[Build], workload: Workload, sampling: Sampling) -> list[Measurement]:
        """Return the rates of every round, and the machine's load before the first."""
        return [self._rates(build, sampling) for build in builds]

    def _rates(self, build: Build, sampling: Sampling) -> Measurement:
        assert build.artifact is not None, "the probe is always built"
        resources: Mapping[str, float] = {"load": os.getloadavg()[0]}
        rounds = np.array([sampling.rounds], dtype=np.int64)
        rates = np.zeros((sampling.rounds, len(_METRICS)))
        self.load(build.artifact).function(rounds.ctypes.data, rates.ctypes.data)
        if not rates.all():
            return Measurement(Status.RUNTIME, error="the probe was given no memory, or no threads")
        samples = {name: tuple(rates[:, column].tolist()) for column, name in enumerate(_METRICS)}
        return Measurement(Status.CORRECT, samples, resources=resources)


PROBE = _Probe(_OPERATOR, Path(__file__).with_name("probe.cpp"), _SPACE, lambda _: ("-pthread",))
"""What `tuner.peaks` measures with on a CPU."""
