"""Toy tunables for tests: their times are formulas, and they fail on request."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from tuner.errors import BuildError, WorkloadError
from tuner.search_spaces import Parameter, SearchSpace
from tuner.types import Artifact, Build, Config, Device, Measurement, Sampling, Scalar, Status, Work, Workload

__all__ = ["FAULTS", "FAULTY", "FRAGILE", "PARABOLA", "Parabola"]

FAULTS = ("none", "compile", "build_crash", "build_hang", "crash", "hang", "wrong", "raise")


class Parabola:
    """Takes (1 + (X - N)^2) milliseconds by formula: fastest where X = N. Nothing is built and nothing is slept.

    Args:
        faults: The faults that configs may ask for; `none` alone makes every config work.
    """

    name = "parabola"
    version = "1"
    device_kinds = ("cpu",)
    workloads: Mapping[str, Workload] = {"small": Workload(N=3)}

    def __init__(self, faults: Sequence[str] = ("none",)) -> None:
        self._faults = tuple(faults)

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the workload: one positive integer N."""
        if set(fields) != {"N"} or not isinstance(fields["N"], int):
            raise WorkloadError(f"parabola takes one integer field N, not {dict(fields)}")
        return Workload(fields)

    def environment(self) -> Mapping[str, str]:
        """No tool enters the result."""
        return {}

    def search_space(self, workload: Workload, device: Device) -> SearchSpace:
        """X from 0 to 15, and a fault."""
        return SearchSpace([Parameter.integer("X", 0, 15), Parameter.categorical("FAULT", self._faults)])

    def default(self, workload: Workload, device: Device) -> Config:
        """X = 0, without a fault."""
        return Config(X=0, FAULT="none")

    def build_key(self, config: Config, workload: Workload, device: Device) -> str | None:
        """Only a fault of building needs a build."""
        return config.key if config["FAULT"] in ("compile", "build_crash", "build_hang") else None

    def build(self, config: Config, workload: Workload, device: Device) -> Artifact | None:
        """Fail as the config asks."""
        match config["FAULT"]:
            case "build_crash":
                os.abort()
            case "build_hang":
                time.sleep(3600)
        raise BuildError("parabola.cpp:1: error: asked to fail")

    def measure(self, builds: Sequence[Build], workload: Workload, sampling: Sampling) -> list[Measurement]:
        """Return samples from the formula, or fail as a config asks."""
        reference = _seconds(builds[0].config, workload)
        return [self._one(build.config, workload, sampling, reference) for build in builds]

    def work(self, workload: Workload) -> Work:
        """One flop and one byte."""
        return Work(1, 1)

    def edges(self, workload: Workload) -> Sequence[Workload]:
        """No workload is harder than another."""
        return ()

    def _one(self, config: Config, workload: Workload, sampling: Sampling, reference: float) -> Measurement:
        match config["FAULT"]:
            case "crash":
                os.abort()
            case "hang":
                time.sleep(3600)
            case "raise":
                raise ValueError("asked to raise")
            case "wrong":
                return Measurement(Status.CORRECTNESS, error="output 'out': asked to be wrong")
        rounds = sampling.rounds
        samples = {"seconds": (_seconds(config, workload),) * rounds, "reference_seconds": (reference,) * rounds}
        return Measurement(Status.CORRECT, samples)


def _seconds(config: Config, workload: Workload) -> float:
    return 1e-3 * (1 + (config.integer("X") - workload.integer("N")) ** 2)


PARABOLA = Parabola()
"""Every config works."""

FRAGILE = Parabola(("none", "compile", "crash", "wrong"))
"""Configs fail in the ways that take no time."""

FAULTY = Parabola(FAULTS)
"""Configs fail in every way there is."""
