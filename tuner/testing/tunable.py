"""What every tunable must do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

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

    def _configs(self) -> list[Config]:
        """Return the default and some random configs."""
        space = self.tunable().search_space(self._workload(), self.device())
        default = self.tunable().default(self._workload(), self.device())
        return [default, *space.sample(np.random.default_rng(0), self.configs)]

    def _builds(self, configs: Sequence[Config], workload: Workload) -> list[Build]:
        tunable, device = self.tunable(), self.device()
        return [
            Build(
                config,
                tunable.build(config, workload, device) if tunable.build_key(config, workload, device) else None,
            )
            for config in configs
        ]

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
        configs = self._configs()
        builds = self._builds(configs, workload)
        measurements = tunable.measure(builds, workload, Sampling(seed=1, rounds=3))
        for config, measurement in zip(configs, measurements, strict=True):
            assert measurement.status is Status.CORRECT, f"{config}: {measurement.error}"
            assert len(measurement.samples["seconds"]) == 3
        for measurement in measurements[1:]:
            assert len(measurement.samples["reference_seconds"]) == 3

    def test_configs_are_right_on_every_distribution(self) -> None:
        """Also: the same bits twice, with other inputs in between; no access beyond an array; no NaN is lost."""
        configs, workload = self._configs(), self._workload()
        sampling = Sampling(seed=2, rounds=1, thorough=True)
        measurements = self.tunable().measure(self._builds(configs, workload), workload, sampling)
        for config, measurement in zip(configs, measurements, strict=True):
            assert measurement.status is Status.CORRECT, f"{config}: {measurement.error}"

    def test_edges_are_other_valid_workloads_on_which_the_default_is_right(self) -> None:
        tunable, here = self.tunable(), self._workload()
        edges = tunable.edges(here)
        assert here not in edges
        assert len(set(edges)) == len(edges)
        for workload in edges[:2]:
            assert tunable.workload(workload) == workload
            default = tunable.default(workload, self.device())
            [measurement] = tunable.measure(self._builds([default], workload), workload, Sampling(3, 1, thorough=True))
            assert measurement.status is Status.CORRECT, f"{workload}: {measurement.error}"
