"""What every tunable must do."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from tuner.devices import detect
from tuner.tunable import Tunable
from tuner.types import Build, Config, Device, Sampling, Status, Workload

__all__ = ["TunableContract"]


class TunableContract(ABC):
    """Subclass it and name a tunable and a small workload; pytest runs the rest.

    Example:
        >>> from tuner.testing.toys import PARABOLA
        >>> class TestParabola(TunableContract):
        ...     def tunable(self):
        ...         return PARABOLA
        ...     def workload_fields(self):
        ...         return {"N": 3}
        >>> TestParabola().test_the_default_is_valid()
    """

    configs = 4
    """How many random configs are built and measured, besides the default."""

    @abstractmethod
    def tunable(self) -> Tunable:
        """Return the tunable."""

    @abstractmethod
    def workload_fields(self) -> dict[str, int | str]:
        """Return the fields of a workload that takes milliseconds."""

    def device(self) -> Device:
        """Return the device to test on."""
        return detect("cpu")

    def _workload(self) -> Workload:
        return self.tunable().workload(self.workload_fields())

    def _build(self, config: Config) -> Build:
        return Build(config, self.tunable().build(config, self._workload(), self.device()))

    def test_the_default_is_valid(self) -> None:
        space = self.tunable().search_space(self._workload(), self.device())
        assert space.violated(self.tunable().default(self._workload(), self.device())) is None

    def test_named_workloads_are_valid_and_have_a_space(self) -> None:
        for name, workload in self.tunable().workloads.items():
            assert self.tunable().workload(workload) == workload, name
            assert self.tunable().search_space(workload, self.device()).size > 1, name
            work = self.tunable().work(workload)
            assert work.flops > 0, name
            assert work.bytes > 0, name

    def test_the_version_stays(self) -> None:
        assert self.tunable().version == self.tunable().version != ""

    def test_configs_are_correct_and_paired_with_the_first(self) -> None:
        tunable, workload = self.tunable(), self._workload()
        space = tunable.search_space(workload, self.device())
        configs = [tunable.default(workload, self.device()), *space.sample(np.random.default_rng(0), self.configs)]
        builds = [
            self._build(config) if tunable.build_key(config, workload, self.device()) else Build(config, None)
            for config in configs
        ]
        measurements = tunable.measure(builds, workload, Sampling(seed=1, rounds=3))
        for config, measurement in zip(configs, measurements, strict=True):
            assert measurement.status is Status.CORRECT, f"{config}: {measurement.error}"
            assert len(measurement.samples["seconds"]) == 3
        for measurement in measurements[1:]:
            assert len(measurement.samples["reference_seconds"]) == 3
